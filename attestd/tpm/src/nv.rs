//! NV indices: what the manufacturer has put there, and counters that only go up.

use crate::command::Command;
use crate::constants::{ALG_SHA256, RH_OWNER};
use crate::error::Error;
use crate::public::{self, Name};
use crate::response_code::Condition;
use crate::session::Use;
use crate::tpm::{Call, Entity, Tpm};
use crate::transport::Transport;
use crate::wire::{Reader, Writer};

/// `TPMA_NV` of a counter that the owner increments and reads: `OWNERWRITE`, `TPM_NT_COUNTER`, `OWNERREAD`, `NO_DA`.
const COUNTER: u32 = 0x02 | 0x10 | 0x2_0000 | 0x200_0000;
/// `TPMA_NV_AUTHREAD`: the index's own authorisation, which is empty, reads it.
const AUTH_READ: u32 = 0x4_0000;
/// `TPMA_NV_WRITTEN`.
const WRITTEN: u32 = 0x2000_0000;

/// The handles that the TCG has left to the owner.
const OWNERS: std::ops::RangeInclusive<u32> = 0x0180_0000..=0x01bf_ffff;

/// The least that every TPM gives at one read, for those that do not say.
const LEAST_CHUNK: u32 = 512;

struct Index {
    entity: Entity,
    attributes: u32,
    size: u16,
}

impl<T: Transport> Tpm<T> {
    /// What is at an index that anybody may read, in reads of at most `chunk` bytes; `None` if nothing is, or nothing that
    /// was written.
    pub(crate) fn nv_contents(
        &mut self,
        index: u32,
        most: u16,
        chunk: Option<u32>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(index) = self.nv_public(index)? else { return Ok(None) };
        if index.attributes & WRITTEN == 0 || index.size == 0 {
            return Ok(None);
        }
        if index.size > most || index.attributes & AUTH_READ == 0 {
            return Err(Error::Unexpected("an index that is too long, or not for everybody"));
        }
        let chunk = u16::try_from(chunk.unwrap_or(LEAST_CHUNK).clamp(1, 1024)).unwrap_or(1);
        let reader = index.entity.clone();
        let mut bytes = Vec::new();
        while let Some(left) = index.size.checked_sub(bytes.len() as u16).filter(|left| *left > 0) {
            let offset = bytes.len() as u16;
            bytes.extend(self.nv_read(&reader, &index, left.min(chunk), offset)?);
        }
        Ok(Some(bytes))
    }

    /// Makes a counter at an index of the owner's. Its first value is one more than any counter of this TPM has ever had.
    ///
    /// # Errors
    /// See [`Error`]; [`Condition::Exists`] if there is something.
    pub fn define_counter(&mut self, index: u32) -> Result<(), Error> {
        if !OWNERS.contains(&index) {
            return Err(Error::Argument("the index is not one of the owner's"));
        }
        let public = Writer::new().u32(index).u16(ALG_SHA256).u32(COUNTER).sized(&[]).u16(8).done();
        self.as_owner(Command::NvDefineSpace, None, Writer::new().sized(&[]).sized(&public))?;
        self.increment_counter(index)
    }

    /// Adds one to a counter.
    ///
    /// # Errors
    /// See [`Error`]; [`Condition::Absent`] if there is none.
    pub fn increment_counter(&mut self, index: u32) -> Result<(), Error> {
        let counter = self.counter(index)?;
        self.as_owner(Command::NvIncrement, Some(&counter.entity), Writer::new())
    }

    /// What a counter says, and the TPM's word for it.
    ///
    /// # Errors
    /// See [`Error`]; [`Condition::Absent`] if there is none.
    pub fn read_counter(&mut self, index: u32) -> Result<u64, Error> {
        let counter = self.counter(index)?;
        let bytes = self.nv_read(&Entity::fixed(RH_OWNER), &counter, 8, 0)?;
        Reader::whole(&bytes, Reader::u64).ok_or(Error::Malformed(Command::NvRead))
    }

    /// Removes a counter. One that is made again begins above what any has had.
    ///
    /// # Errors
    /// See [`Error`]; [`Condition::Absent`] if there is none.
    pub fn undefine_counter(&mut self, index: u32) -> Result<(), Error> {
        let counter = self.counter(index)?;
        self.as_owner(Command::NvUndefineSpace, Some(&counter.entity), Writer::new())
    }

    fn as_owner(
        &mut self,
        command: Command,
        entity: Option<&Entity>,
        parameters: Writer,
    ) -> Result<(), Error> {
        let owner = Entity::fixed(RH_OWNER);
        let entities: Vec<&Entity> = std::iter::once(&owner).chain(entity).collect();
        let call = Call::new(command, &entities, parameters);
        self.with_session(|tpm, session| {
            tpm.protected(&call, &mut [Use { session, attributes: 0 }], |_| Some(()))
        })
    }

    fn counter(&mut self, index: u32) -> Result<Index, Error> {
        let absent = Error::Refused(Command::NvReadPublic, crate::ResponseCode(0x18b));
        let found = self.nv_public(index)?.ok_or(absent)?;
        if found.attributes & !WRITTEN != COUNTER || found.size != 8 {
            return Err(Error::Unexpected("an index that is no counter of ours"));
        }
        Ok(found)
    }

    /// An index's public area; `None` if there is no such index. Anybody on the bus may have written it, but what follows
    /// is authorised for the name that comes of it, and refused by the TPM if that is not the index's.
    fn nv_public(&mut self, index: u32) -> Result<Option<Index>, Error> {
        let entity = Entity::fixed(index);
        let entities = [&entity];
        let call = Call::new(Command::NvReadPublic, &entities, Writer::new());
        let result = self.plain(&call, |reader| read_public(reader, index));
        match result {
            Ok((name, attributes, size)) => {
                Ok(Some(Index { entity: Entity::named(index, &name), attributes, size }))
            }
            Err(error) if error.condition() == Some(Condition::Absent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn nv_read(&mut self, reader: &Entity, index: &Index, size: u16, offset: u16) -> Result<Vec<u8>, Error> {
        let entities = [reader, &index.entity];
        let call = Call::new(Command::NvRead, &entities, Writer::new().u16(size).u16(offset));
        self.with_session(|tpm, session| {
            let mut sessions = [Use { session, attributes: 0 }];
            tpm.protected(&call, &mut sessions, |reader| {
                reader.sized(size.into()).filter(|bytes| bytes.len() == usize::from(size)).map(<[u8]>::to_vec)
            })
        })
    }
}

/// `TPM2B_NV_PUBLIC` and its name.
fn read_public(reader: &mut Reader<'_>, index: u32) -> Option<(Name, u32, u16)> {
    let bytes = reader.sized(128)?;
    let name = public::name(bytes);
    let (attributes, size) = Reader::whole(bytes, |reader| {
        (reader.u32()? == index).then_some(())?;
        reader.expect_u16(ALG_SHA256)?;
        let attributes = reader.u32()?;
        reader.sized(64)?;
        Some((attributes, reader.u16()?))
    })?;
    (reader.sized(66)? == name).then_some((name, attributes, size))
}
