//! Signing keys: Ed25519, each in a file of its own that a passphrase seals.
//!
//! What an attacker controls: nothing without the passphrase; whoever has the file alone has the public part, and 600,000
//! rounds of PBKDF2 for each guess.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use tuf::envelope::Signature;
use tuf::hex;
use tuf::key::Key;

use crate::error::Error;
use crate::seal::{self, Sealer};

pub use crate::seal::ROUNDS;

/// The longest file that is read.
const FILE_MAX: usize = 64 << 10;

/// A key's file. A file without the sealed part is a key of somebody else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFile {
    /// The public part.
    pub public: Key,
    /// The other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    private: Option<Private>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Private {
    salt: String,
    rounds: NonZeroU32,
    sealed: String,
}

/// A key that signs.
pub struct Signer {
    id: String,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}

/// What metadata calls a key: the SHA-256 of its canonical form.
///
/// # Errors
/// Never, for a key.
pub fn id_of(key: &Key) -> Result<String, Error> {
    let form = |error: serde_json::Error| Error::Asked(error.to_string());
    let canonical = tuf::canonical::of(&serde_json::to_string(key).map_err(form)?).map_err(form)?;
    Ok(hex::encode(ring::digest::digest(&ring::digest::SHA256, &canonical).as_ref()))
}

impl KeyFile {
    /// Makes a key. [`ROUNDS`], but in tests.
    ///
    /// # Errors
    /// No chance.
    pub fn make(passphrase: &str, rounds: NonZeroU32) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| Error::Random)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| Error::Random)?;
        let salt = seal::random()?;
        let public = Key::ed25519(pair.public_key().as_ref());
        let id = id_of(&public)?;
        let sealed = Sealer::of_passphrase(passphrase, &salt, rounds)?.seal(&id, pkcs8.as_ref())?;
        let sealed = hex::encode(&sealed);
        Ok(Self { public, private: Some(Private { salt: hex::encode(&salt), rounds, sealed }) })
    }

    /// Reads a key's file.
    ///
    /// # Errors
    /// It is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        if bytes.len() > FILE_MAX {
            return Err(Error::Content(path.to_owned(), "too long for a key".to_owned()));
        }
        let file: Self = serde_json::from_slice(&bytes).map_err(Error::content(path))?;
        if file.public.verifier().is_none() {
            return Err(Error::Content(
                path.to_owned(),
                "a key of no kind that devices understand".to_owned(),
            ));
        }
        Ok(file)
    }

    /// Writes it, for its owner alone, where nothing is yet.
    ///
    /// # Errors
    /// Something is, or the disk.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).map_err(Error::content(path))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io(path))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io(path))
    }

    /// What metadata calls it.
    ///
    /// # Errors
    /// Never, for a key.
    pub fn id(&self) -> Result<String, Error> {
        id_of(&self.public)
    }

    /// A key of somebody else.
    pub fn of_public(public: Key) -> Self {
        Self { public, private: None }
    }

    /// The public part alone.
    pub fn to_public(&self) -> Self {
        Self { public: self.public.clone(), private: None }
    }

    /// Opens it; `path` is where it was read.
    ///
    /// # Errors
    /// The passphrase is another, the file was altered, or it is somebody else's key.
    pub fn open(&self, passphrase: &str, path: &Path) -> Result<Signer, Error> {
        let somebody_elses =
            || Error::Content(path.to_owned(), "the public part of a key signs nothing".to_owned());
        let private = self.private.as_ref().ok_or_else(somebody_elses)?;
        let id = self.id()?;
        private
            .open(passphrase, &id)
            .map(|pair| Signer { id, pair })
            .ok_or_else(|| Error::Passphrase(path.to_owned()))
    }
}

impl Private {
    fn open(&self, passphrase: &str, id: &str) -> Option<Ed25519KeyPair> {
        let salt: [u8; 16] = hex::decode(&self.salt)?.try_into().ok()?;
        let sealed = hex::decode(&self.sealed)?;
        let pkcs8 = Sealer::of_passphrase(passphrase, &salt, self.rounds).ok()?.open(id, &sealed).ok()?;
        Ed25519KeyPair::from_pkcs8(&pkcs8).ok()
    }
}

impl Signer {
    /// Makes a key that no file has, with its private part (PKCS#8), which whoever makes it keeps sealed.
    ///
    /// # Errors
    /// No chance.
    pub fn make() -> Result<(Self, Vec<u8>), Error> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Error::Random)?;
        Ok((Self::of(pkcs8.as_ref())?, pkcs8.as_ref().to_vec()))
    }

    /// Of such a private part.
    ///
    /// # Errors
    /// It is none.
    pub fn of(private: &[u8]) -> Result<Self, Error> {
        let wrong = |_| Error::Asked("the private part of a key is damaged".to_owned());
        let pair = Ed25519KeyPair::from_pkcs8(private).map_err(wrong)?;
        Ok(Self { id: id_of(&Key::ed25519(pair.public_key().as_ref()))?, pair })
    }

    /// The public part.
    pub fn public(&self) -> Key {
        Key::ed25519(self.pair.public_key().as_ref())
    }

    /// What metadata calls its key.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn sign(&self, canonical: &[u8]) -> Signature {
        Signature { keyid: self.id.clone(), sig: hex::encode(self.pair.sign(canonical).as_ref()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_opens_with_its_passphrase_and_for_its_public_part_alone() -> Result<(), Error> {
        let mut key = KeyFile::make("passphrase", NonZeroU32::MIN)?;
        let path = Path::new("key");
        assert_eq!(key.open("passphrase", path)?.id(), key.id()?);
        assert!(matches!(key.open("another", path), Err(Error::Passphrase(_))));
        key.public = KeyFile::make("passphrase", NonZeroU32::MIN)?.public;
        assert!(matches!(key.open("passphrase", path), Err(Error::Passphrase(_))));
        Ok(())
    }
}
