//! TPM 2.0 for the identity daemon: keys, quotes, credentials, sealed secrets, over anything that carries commands.
//!
//! The attacker sits between us and the chip, or is the chip's answer: every byte that comes back is read strictly and
//! within bounds, whatever authorises goes through a salted HMAC session whose HMAC is checked on the answer too, and every
//! secret is encrypted on its way. What stays possible for him is to keep us from being answered, and, where nobody has
//! seen this TPM before, to be it (see [`Tpm::expect_storage_key`]).
//!
//! Nothing is kept: keys come of the TPM's seeds and the templates in [`public`], and are flushed again. Deliberately not
//! here: what the quotes mean, who may sign with which key, and when to try again.

#![forbid(unsafe_code)]

mod activate;
pub mod answer;
mod command;
mod constants;
mod crypto;
mod error;
mod keys;
mod nv;
mod pcr;
pub mod pcrsig;
pub mod policy_key;
pub mod public;
mod response_code;
mod seal;
mod session;
mod sign;
mod tpm;
mod transport;
pub mod wire;

pub use command::Command;
pub use constants::MOST_BYTES;
pub use error::Error;
pub use keys::{Ek, KeyId, KeyInfo};
pub use policy_key::PolicyKey;
pub use public::{Name, Public};
pub use response_code::{Condition, ResponseCode};
pub use seal::{MOST_SECRET, Sealed, SignedPolicy};
pub use sign::{Attested, read_signature};
pub use tpm::Tpm;
pub use transport::{Device, Transport};
