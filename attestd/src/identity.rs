//! The TPM, for all parts of the daemon: one command after the other, and opened anew after an answer that leaves unknown
//! what it holds.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tpm::{Device, Error, KeyId, KeyInfo, MOST_BYTES, Name, Tpm, Transport};

/// The device that the kernel has for one process: what is loaded over it is ours alone.
pub const TPM: &str = "/dev/tpmrm0";
/// The PCRs that are quoted: the firmware's, systemd-stub's, the packages'.
pub const QUOTED: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13];
/// What stands for the device among the ids of apps, which have a dot.
pub const DEVICE: &str = "device";

/// A transport of any kind.
pub struct Way(Box<dyn Transport + Send>);

impl Transport for Way {
    fn exchange(&mut self, command: &[u8], answer: &mut [u8; MOST_BYTES]) -> io::Result<usize> {
        self.0.exchange(command, answer)
    }
}

/// Opens a way to the TPM.
type Opening = Box<dyn FnMut() -> io::Result<Box<dyn Transport + Send>> + Send>;

struct Inner {
    open: Opening,
    tpm: Option<Tpm<Way>>,
    expected: Option<Name>,
}

/// The TPM. Each clone is the same.
#[derive(Clone)]
pub struct Identity(Arc<Mutex<Inner>>);

impl Identity {
    /// The board's.
    pub fn of_board() -> Self {
        Self::behind(|| Ok(Box::new(Device::open(Path::new(TPM))?)))
    }

    /// The one that `open` leads to.
    pub fn behind(open: impl FnMut() -> io::Result<Box<dyn Transport + Send>> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Inner { open: Box::new(open), tpm: None, expected: None })))
    }

    /// From now on only the TPM with this storage root key is talked to.
    pub fn expect(&self, name: Name) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.expected = Some(name);
        if let Some(tpm) = &mut inner.tpm {
            tpm.expect_storage_key(name);
        }
    }

    /// Has the TPM do something.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn with<R>(&self, act: impl FnOnce(&mut Tpm<Way>) -> Result<R, Error>) -> Result<R, Error> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tpm = match inner.tpm.take() {
            Some(tpm) => tpm,
            None => {
                let mut tpm = Tpm::open(Way((inner.open)().map_err(Error::Transport)?));
                if let Some(name) = inner.expected {
                    tpm.expect_storage_key(name);
                }
                tpm
            }
        };
        let done = act(&mut tpm);
        let unknown = matches!(&done, Err(Error::Transport(_) | Error::Malformed(_) | Error::Forged(_)));
        inner.tpm = (!unknown).then_some(tpm);
        done
    }

    /// An app's key: of the installation with this uid, which no other ever has.
    pub fn key_id(id: &str, uid: u32) -> KeyId {
        KeyId::new(id, uid.into())
    }

    /// Its public part.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn key(&self, id: KeyId) -> Result<KeyInfo, Error> {
        self.with(|tpm| tpm.app_key(id))
    }
}
