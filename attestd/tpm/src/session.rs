//! HMAC and policy sessions (part 1, clauses 17 to 21): what makes a command and its answer authentic, and their first
//! parameters secret, to whoever is on the bus.
//!
//! The session key comes from a salt that only the TPM with the private key of the storage root key can read. Every
//! authorisation value that we use is empty, so the session key alone is the HMAC's key, of policy sessions too: an empty
//! one, whose HMAC would be none, there is not.
//!
//! Limit: an interposer who answers `CreatePrimary` with a key of his own is the TPM, as far as a session can tell. Who has
//! seen the right key before can say which one it was ([`Tpm::expect_storage_key`](crate::Tpm::expect_storage_key)).

use zeroize::Zeroizing;

use crate::answer::SessionAnswer;
use crate::constants::{DIGEST, SESSION_AUDIT_EXCLUSIVE, SESSION_CONTINUE, SESSION_DECRYPT, SESSION_ENCRYPT};
use crate::crypto::{self, Digest};
use crate::error::Error;
use crate::wire::Writer;

/// A session that the TPM has begun.
pub(crate) struct Session {
    pub(crate) handle: u32,
    key: Zeroizing<Digest>,
    /// The TPM's last nonce.
    theirs: Digest,
    /// Ours of the command under way.
    ours: Digest,
}

impl Session {
    /// The session that came of `salt` and both first nonces.
    pub(crate) fn new(handle: u32, salt: &Digest, ours: Digest, theirs: Digest) -> Self {
        let key = crypto::kdfa(salt, "ATH", &theirs, &ours, 256);
        Self { handle, key, theirs, ours }
    }

    /// A new nonce for the next command.
    pub(crate) fn turn(&mut self) -> Result<(), Error> {
        self.ours = crypto::random()?;
        Ok(())
    }

    /// Encrypts the first parameter of a command.
    pub(crate) fn encrypt(&self, parameter: &mut [u8]) {
        crypto::encrypt(&crypto::kdfa(&*self.key, "CFB", &self.ours, &self.theirs, 256), parameter);
    }

    /// Decrypts the first parameter of an answer, once [`Session::check`] has taken it.
    pub(crate) fn decrypt(&self, parameter: &mut [u8]) {
        crypto::decrypt(&crypto::kdfa(&*self.key, "CFB", &self.theirs, &self.ours, 256), parameter);
    }

    /// `TPMS_AUTH_COMMAND` for the command with this `cpHash`.
    ///
    /// A session that encrypts is always the first of its command: the first one's HMAC would have to cover its nonce too
    /// (part 1, clause 19.6.5), and the TPM refuses a command where it does not.
    pub(crate) fn authorise(&self, command: &Digest, attributes: u8) -> Vec<u8> {
        let attributes = attributes | SESSION_CONTINUE;
        let hmac = crypto::hmac(&*self.key, &[command, &self.ours, &self.theirs, &[attributes]]);
        Writer::new().u32(self.handle).sized(&self.ours).u8(attributes).sized(&hmac).done()
    }

    /// Whether the TPM wrote the answer with this `rpHash` to the command with these `attributes`, and if so its nonce is
    /// the next.
    pub(crate) fn check(&mut self, answer: &Digest, said: &SessionAnswer<'_>, attributes: u8) -> bool {
        let asked = attributes | SESSION_CONTINUE;
        let Ok(theirs) = <[u8; DIGEST]>::try_from(said.nonce) else { return false };
        if said.attributes & !SESSION_AUDIT_EXCLUSIVE != asked {
            return false;
        }
        let parts: [&[u8]; 4] = [answer, &theirs, &self.ours, &[said.attributes]];
        let is_good = crypto::is_hmac(&*self.key, &parts, said.hmac);
        if is_good {
            self.theirs = theirs;
        }
        is_good
    }
}

/// What goes along with a command: a session and what it is to do.
pub(crate) struct Use<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) attributes: u8,
}

impl Use<'_> {
    pub(crate) fn encrypts_command(&self) -> bool {
        self.attributes & SESSION_DECRYPT != 0
    }

    pub(crate) fn encrypts_answer(&self) -> bool {
        self.attributes & SESSION_ENCRYPT != 0
    }
}
