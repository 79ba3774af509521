//! A TPM, and how one command after another is given to it.
//!
//! Whatever is loaded is flushed before the call that loaded it returns, whether it went well or not; of two errors the
//! first is told. The storage root key alone stays: every session is salted to it.

use zeroize::Zeroizing;

use crate::answer::{self, HEADER};
use crate::command::Command;
use crate::constants::{ALG_AES, ALG_CFB, ALG_SHA256, RH_NULL};
use crate::constants::{
    CAP_HANDLES, CAP_TPM_PROPERTIES, DIGEST, HT_HMAC_SESSION, HT_POLICY_SESSION, HT_TRANSIENT, MOST_BYTES,
    RS_PW, SE_HMAC, SE_POLICY, SESSION_CONTINUE, ST_NO_SESSIONS, ST_SESSIONS,
};
use crate::crypto;
use crate::error::Error;
use crate::public::{self, Name, Public};
use crate::session::{Session, Use};
use crate::transport::Transport;
use crate::wire::{Reader, Writer};

/// How often a command is sent again to a TPM that is busy; with the doubling pauses of [`Transport::pause`] some eight
/// seconds.
const MOST_ATTEMPTS: u32 = 10;

/// Most handles that are read at once when leftovers are looked for. No TPM has more places.
const MOST_HANDLES: u32 = 64;

/// A TPM 2.0.
pub struct Tpm<T> {
    transport: T,
    storage: Option<Loaded>,
    /// The name that the storage root key has to have.
    expected: Option<Name>,
}

/// Something in the TPM that a command names.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) handle: u32,
    /// Its name: what the HMAC of a command covers. Of hierarchies, PCRs and sessions that is the handle.
    name: Vec<u8>,
}

impl Entity {
    /// A hierarchy, PCR or session.
    pub(crate) fn fixed(handle: u32) -> Self {
        Self { handle, name: handle.to_be_bytes().to_vec() }
    }

    pub(crate) fn named(handle: u32, name: &Name) -> Self {
        Self { handle, name: name.to_vec() }
    }
}

/// A key that is loaded.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) entity: Entity,
    pub(crate) public: Public,
}

/// One command before sessions are added.
pub(crate) struct Call<'a> {
    pub(crate) command: Command,
    pub(crate) entities: &'a [&'a Entity],
    /// Wiped afterwards: there may be a secret among them.
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    /// Whether its answer begins with a handle.
    pub(crate) loads: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(command: Command, entities: &'a [&'a Entity], parameters: Writer) -> Self {
        Self { command, entities, parameters: Zeroizing::new(parameters.done()), loads: false }
    }

    pub(crate) fn loading(command: Command, entities: &'a [&'a Entity], parameters: Writer) -> Self {
        Self { loads: true, ..Self::new(command, entities, parameters) }
    }

    fn malformed(&self) -> Error {
        Error::Malformed(self.command)
    }

    /// What the HMAC of a command covers (part 1, clause 16.7).
    fn hash(&self) -> crypto::Digest {
        let code = self.command.code().to_be_bytes();
        let names = self.entities.iter().map(|entity| &entity.name[..]);
        crypto::sha256(&[&[&code[..]], &names.collect::<Vec<_>>()[..], &[&self.parameters]].concat())
    }

    fn message(&self, sessions: &[Vec<u8>]) -> Vec<u8> {
        let area = sessions.concat();
        let length = HEADER
            + 4 * self.entities.len()
            + if sessions.is_empty() { 0 } else { 4 + area.len() }
            + self.parameters.len();
        let tag = if sessions.is_empty() { ST_NO_SESSIONS } else { ST_SESSIONS };
        // The lengths are far below four gigabytes: `Tpm::send` refuses what is longer than a buffer.
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut message = Writer::new().u16(tag).u32(size(length)).u32(self.command.code());
        for entity in self.entities {
            message = message.u32(entity.handle);
        }
        if !sessions.is_empty() {
            message = message.u32(size(area.len())).bytes(&area);
        }
        message.bytes(&self.parameters).done()
    }
}

impl<T: Transport> Tpm<T> {
    /// A TPM behind `transport`. Nothing is sent yet.
    pub fn open(transport: T) -> Self {
        Self { transport, storage: None, expected: None }
    }

    /// From now on only a TPM whose storage root key has this name is talked to: another's is refused, and so is that of
    /// somebody on the bus.
    pub fn expect_storage_key(&mut self, name: Name) {
        self.expected = Some(name);
    }

    /// The name of the storage root key, for [`Tpm::expect_storage_key`] after the next boot.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn storage_key(&mut self) -> Result<Name, Error> {
        Ok(self.storage()?.public.name())
    }

    /// Flushes the storage root key, and gives the transport back.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn close(mut self) -> Result<T, Error> {
        if let Some(storage) = self.storage.take() {
            self.flush(storage.entity.handle)?;
        }
        Ok(self.transport)
    }

    /// Flushes every object and session that this TPM holds, whoever left it. Not needed behind the kernel's resource
    /// manager, which has nobody's leftovers.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn flush_leftovers(&mut self) -> Result<(), Error> {
        self.storage = None;
        // Loaded sessions have the first byte of HMAC sessions, whatever they are (part 3, clause 30.2, table 225).
        for kind in [HT_TRANSIENT, HT_HMAC_SESSION] {
            for handle in self.handles(kind)? {
                self.flush(handle)?;
            }
        }
        Ok(())
    }

    /// `TPM2_GetCapability` of one property; `None` if this TPM does not have it.
    pub(crate) fn property(&mut self, property: u32) -> Result<Option<u32>, Error> {
        let parameters = Writer::new().u32(CAP_TPM_PROPERTIES).u32(property).u32(1);
        self.plain(&Call::new(Command::GetCapability, &[], parameters), |reader| {
            reader.u8()?;
            (reader.u32()? == CAP_TPM_PROPERTIES).then_some(())?;
            let value = match reader.u32()? {
                0 => None,
                1 => Some((reader.u32()?, reader.u32()?)),
                _ => return None,
            };
            // A TPM without it answers with the next one.
            Some(value.filter(|(number, _)| *number == property).map(|(_, value)| value))
        })
    }

    fn handles(&mut self, kind: u8) -> Result<Vec<u32>, Error> {
        let parameters = Writer::new().u32(CAP_HANDLES).u32(u32::from(kind) << 24).u32(MOST_HANDLES);
        self.plain(&Call::new(Command::GetCapability, &[], parameters), |reader| {
            reader.u8()?;
            (reader.u32()? == CAP_HANDLES).then_some(())?;
            let count = reader.u32()?;
            (count <= MOST_HANDLES).then_some(())?;
            (0..count).map(|_| reader.u32()).collect()
        })
    }

    /// The storage root key, made if it is not there.
    pub(crate) fn storage(&mut self) -> Result<Loaded, Error> {
        if let Some(storage) = &self.storage {
            return Ok(storage.clone());
        }
        let template = public::storage();
        let hierarchy = Entity::fixed(template.hierarchy);
        let call_entities = [&hierarchy];
        let call =
            Call::loading(Command::CreatePrimary, &call_entities, crate::keys::primary_parameters(&template));
        // No session can be salted yet: an empty password, and what comes back is whoever's on the bus.
        let password = Writer::new().u32(RS_PW).sized(&[]).u8(SESSION_CONTINUE).sized(&[]).done();
        let bytes = self.send(&call, &call.message(&[password]))?;
        let answer = answer::split(&bytes, true, 1)
            .ok_or_else(|| call.malformed())?
            .map_err(|code| Error::Refused(call.command, code))?;
        let handle = answer.handle.filter(|handle| handle >> 24 == u32::from(HT_TRANSIENT));
        let handle = handle.ok_or_else(|| call.malformed())?;
        let public = Reader::whole(answer.parameters, |reader| crate::keys::read_primary(reader, &template));
        let is_expected = |public: &Public| self.expected.is_none_or(|name| name == public.name());
        let wrong = match public {
            None => call.malformed(),
            Some(public) if !is_expected(&public) => {
                Error::Unexpected("another storage root key: it is another tpm, or one that was cleared")
            }
            Some(public) => {
                let loaded = Loaded { entity: Entity::named(handle, &public.name()), public };
                self.storage = Some(loaded.clone());
                return Ok(loaded);
            }
        };
        // The first error is the one that says what is wrong.
        let _ = self.flush(handle);
        Err(wrong)
    }

    /// Runs `act` with an object that is loaded, and flushes it.
    pub(crate) fn with<R>(
        &mut self,
        handle: u32,
        act: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let result = act(self);
        let flushed = self.flush(handle);
        let value = result?;
        flushed.map(|()| value)
    }

    /// Runs `act` with a session for authorisation and encryption.
    pub(crate) fn with_session<R>(
        &mut self,
        act: impl FnOnce(&mut Self, &mut Session) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_any_session(SE_HMAC, act)
    }

    /// Runs `act` with a policy session.
    pub(crate) fn with_policy<R>(
        &mut self,
        act: impl FnOnce(&mut Self, &mut Session) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_any_session(SE_POLICY, act)
    }

    fn with_any_session<R>(
        &mut self,
        kind: u8,
        act: impl FnOnce(&mut Self, &mut Session) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut session = self.start(kind)?;
        self.with(session.handle, |tpm| act(tpm, &mut session))
    }

    fn start(&mut self, kind: u8) -> Result<Session, Error> {
        let storage = self.storage()?;
        let peer = storage.public.point().ok_or(Error::Unexpected("a key that is not on its curve"))?;
        let (salt, (x, y)) = crypto::salt(peer)?;
        let ours: [u8; DIGEST] = crypto::random()?;
        let parameters = Writer::new()
            .sized(&ours)
            .sized(&Writer::new().sized(&x).sized(&y).done())
            .u8(kind)
            .u16(ALG_AES)
            .u16(128)
            .u16(ALG_CFB)
            .u16(ALG_SHA256);
        // Bound to nothing: no authorisation value of ours could add to the key.
        let unbound = Entity::fixed(RH_NULL);
        let entities = [&storage.entity, &unbound];
        let call = Call::loading(Command::StartAuthSession, &entities, parameters);
        let first = if kind == SE_HMAC { HT_HMAC_SESSION } else { HT_POLICY_SESSION };
        let (handle, theirs) =
            self.plain_loading(&call, first, |reader| reader.within(DIGEST, Reader::array::<DIGEST>))?;
        Ok(Session::new(handle, &salt, ours, theirs))
    }

    pub(crate) fn flush(&mut self, handle: u32) -> Result<(), Error> {
        // The handle is a parameter here.
        self.plain(&Call::new(Command::FlushContext, &[], Writer::new().u32(handle)), |_| Some(()))
    }

    /// A command that needs neither authorisation nor secrecy, and whose answer may be anybody's.
    pub(crate) fn plain<R>(
        &mut self,
        call: &Call<'_>,
        read: impl FnOnce(&mut Reader<'_>) -> Option<R>,
    ) -> Result<R, Error> {
        let (_, parameters) = self.run(call, &mut [])?;
        Reader::whole(&parameters, read).ok_or_else(|| call.malformed())
    }

    /// The same for one that loads what has a handle of this `kind`.
    pub(crate) fn plain_loading<R>(
        &mut self,
        call: &Call<'_>,
        kind: u8,
        read: impl FnOnce(&mut Reader<'_>) -> Option<R>,
    ) -> Result<(u32, R), Error> {
        self.loading(call, &mut [], kind, read)
    }

    /// A command with sessions.
    pub(crate) fn protected<R>(
        &mut self,
        call: &Call<'_>,
        sessions: &mut [Use<'_>],
        read: impl FnOnce(&mut Reader<'_>) -> Option<R>,
    ) -> Result<R, Error> {
        let (_, parameters) = self.run(call, sessions)?;
        Reader::whole(&parameters, read).ok_or_else(|| call.malformed())
    }

    /// The same for one that loads what has a handle of this `kind`. If what comes with the handle can't be read, the
    /// handle is flushed.
    pub(crate) fn loading<R>(
        &mut self,
        call: &Call<'_>,
        sessions: &mut [Use<'_>],
        kind: u8,
        read: impl FnOnce(&mut Reader<'_>) -> Option<R>,
    ) -> Result<(u32, R), Error> {
        let (handle, parameters) = self.run(call, sessions)?;
        let handle = handle.filter(|handle| handle >> 24 == u32::from(kind));
        let handle = handle.ok_or_else(|| call.malformed())?;
        if let Some(value) = Reader::whole(&parameters, read) {
            return Ok((handle, value));
        }
        // The first error is the one that says what is wrong.
        let _ = self.flush(handle);
        Err(call.malformed())
    }

    fn run(
        &mut self,
        call: &Call<'_>,
        sessions: &mut [Use<'_>],
    ) -> Result<(Option<u32>, Zeroizing<Vec<u8>>), Error> {
        let mut sent = Call { command: call.command, parameters: call.parameters.clone(), ..*call };
        for used in &mut *sessions {
            used.session.turn()?;
            if used.encrypts_command() {
                let parameter = first(&mut sent.parameters).ok_or(Error::Argument("nothing to encrypt"))?;
                used.session.encrypt(parameter);
            }
        }
        let hash = sent.hash();
        let areas: Vec<Vec<u8>> =
            sessions.iter().map(|used| used.session.authorise(&hash, used.attributes)).collect();
        let bytes = self.send(call, &sent.message(&areas))?;
        let answer = answer::split(&bytes, call.loads, sessions.len())
            .ok_or_else(|| call.malformed())?
            .map_err(|code| Error::Refused(call.command, code))?;
        let code = call.command.code().to_be_bytes();
        let hash = crypto::sha256(&[&[0; 4], &code, answer.parameters]);
        // Every session is checked, so that none stays behind the TPM's.
        let mut is_forged = false;
        for (used, said) in sessions.iter_mut().zip(&answer.sessions) {
            is_forged |= !used.session.check(&hash, said, used.attributes);
        }
        if is_forged {
            return Err(Error::Forged(call.command));
        }
        let mut parameters = Zeroizing::new(answer.parameters.to_vec());
        for used in sessions.iter().filter(|used| used.encrypts_answer()) {
            used.session.decrypt(first(&mut parameters).ok_or_else(|| call.malformed())?);
        }
        Ok((answer.handle, parameters))
    }

    /// Sends a message, again while the TPM is busy.
    fn send(&mut self, call: &Call<'_>, message: &[u8]) -> Result<Vec<u8>, Error> {
        if message.len() > MOST_BYTES {
            return Err(Error::Argument("more than fits into a command"));
        }
        let mut buffer = [0; MOST_BYTES];
        for attempt in 0.. {
            let length = self.transport.exchange(message, &mut buffer).map_err(Error::Transport)?;
            let bytes = buffer.get(..length).ok_or_else(|| call.malformed())?;
            // A refusal looks the same whatever the command.
            let is_again = matches!(answer::split(bytes, false, 0), Some(Err(code)) if code.is_again());
            if !is_again || attempt + 1 >= MOST_ATTEMPTS {
                return Ok(bytes.to_vec());
            }
            self.transport.pause(attempt);
        }
        Err(call.malformed())
    }
}

/// The bytes of the first parameter, if it is a `TPM2B`.
fn first(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let size = Reader::new(parameters).u16()?;
    parameters.get_mut(2..2 + usize::from(size))
}
