//! Platform configuration registers of the SHA-256 bank: what was started since the machine was.

use crate::command::Command;
use crate::constants::{ALG_SHA256, DIGEST, SESSION_AUDIT};
use crate::error::Error;
use crate::keys::selection;
use crate::session::Use;
use crate::tpm::{Call, Entity, Tpm};
use crate::transport::Transport;
use crate::wire::{Reader, Writer};

/// Most digests that a TPM gives at once (`TPML_DIGEST`).
const MOST_AT_ONCE: u32 = 8;

impl<T: Transport> Tpm<T> {
    /// Extends a PCR: it becomes the hash of what it was and of `digest`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn extend(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), Error> {
        let register = Entity::fixed(u32::from(pcr));
        let entities = [&register];
        let parameters = Writer::new().u32(1).u16(ALG_SHA256).bytes(digest);
        let call = Call::new(Command::PcrExtend, &entities, parameters);
        self.with_session(|tpm, session| {
            tpm.protected(&call, &mut [Use { session, attributes: 0 }], |_| Some(()))
        })
    }

    /// What is in these PCRs, in their order.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read_pcrs(&mut self, pcrs: &[u8]) -> Result<Vec<(u8, [u8; 32])>, Error> {
        let mut left: Vec<u8> = pcrs.to_vec();
        left.sort_unstable();
        left.dedup();
        self.with_session(|tpm, session| {
            let mut values = Vec::new();
            while !left.is_empty() {
                let asked = selection(&left)?;
                let call = Call::new(Command::PcrRead, &[], Writer::new().bytes(&asked));
                let mut sessions = [Use { session, attributes: SESSION_AUDIT }];
                let (given, digests) =
                    tpm.protected(&call, &mut sessions, |reader| read_values(reader, &left))?;
                if given.is_empty() {
                    return Err(Error::Unexpected("no sha-256 bank, or no such pcr"));
                }
                left.retain(|pcr| !given.contains(pcr));
                values.extend(given.into_iter().zip(digests));
            }
            values.sort_unstable_by_key(|(pcr, _)| *pcr);
            Ok(values)
        })
    }
}

/// Which PCRs of those `asked` for are told, and what is in them.
fn read_values(reader: &mut Reader<'_>, asked: &[u8]) -> Option<(Vec<u8>, Vec<[u8; 32]>)> {
    reader.u32()?;
    let mut given = Vec::new();
    if reader.u32()? != 1 {
        return None;
    }
    reader.expect_u16(ALG_SHA256)?;
    let bits = usize::from(reader.u8()?);
    for (place, byte) in reader.take(bits)?.iter().enumerate() {
        let first = u8::try_from(place * 8).ok()?;
        given.extend((0..8).filter(|bit| byte & 1 << bit != 0).map(|bit| first + bit));
    }
    let count = reader.u32()?;
    if count > MOST_AT_ONCE || count as usize != given.len() || given.iter().any(|pcr| !asked.contains(pcr)) {
        return None;
    }
    let digests = (0..count).map(|_| reader.within(DIGEST, Reader::array)).collect::<Option<Vec<_>>>()?;
    Some((given, digests))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bits: u8, digests: u32) -> Vec<u8> {
        let front = Writer::new().u32(0).u32(1).u16(ALG_SHA256).u8(3).bytes(&[bits, 0, 0]).u32(digests);
        (0..digests).fold(front, |bytes, _| bytes.sized(&[7; 32])).done()
    }

    fn read(bytes: &[u8]) -> Option<Vec<u8>> {
        Reader::whole(bytes, |reader| read_values(reader, &[0, 1])).map(|(given, _)| given)
    }

    #[test]
    fn values_that_were_not_asked_for_or_are_missing_are_none() {
        assert_eq!(read(&values(0b11, 2)), Some(vec![0, 1]));
        assert_eq!(read(&values(0b01, 1)), Some(vec![0]));
        assert_eq!(read(&values(0b11, 1)), None);
        assert_eq!(read(&values(0b01, 2)), None);
        assert_eq!(read(&values(0b100, 1)), None);
    }
}
