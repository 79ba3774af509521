//! What goes wrong between us and a TPM.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::command::Command;
use crate::response_code::{Condition, ResponseCode};

/// Why a command has brought nothing.
///
/// After [`Error::Transport`], [`Error::Malformed`] or [`Error::Forged`] nobody knows what the TPM holds: close the
/// device and open it again, which has the kernel's resource manager flush whatever was left.
#[derive(Debug)]
pub enum Error {
    /// The device can't be written or read.
    Transport(io::Error),
    /// The TPM says no.
    Refused(Command, ResponseCode),
    /// The answer is not one to this command.
    Malformed(Command),
    /// The answer's HMAC is wrong: the bus changed it, or somebody on it.
    Forged(Command),
    /// The answer is well-formed, and not what was asked for.
    Unexpected(&'static str),
    /// What the caller has handed in can't be sent.
    Argument(&'static str),
    /// The system has no random numbers for us.
    NoRandom,
    /// None of the signed policies is for the state that this machine is in.
    NoSignedPolicy,
}

impl Error {
    /// What the TPM's refusal asks for, if it is one.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        match self {
            Self::Refused(_, code) => Some(code.condition()),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(_) => write!(f, "can't talk to the tpm"),
            Self::Refused(command, code) => write!(f, "{command}: {code}"),
            Self::Malformed(command) => write!(f, "{command}: the answer is malformed"),
            Self::Forged(command) => write!(f, "{command}: the answer was altered on its way"),
            Self::Unexpected(what) => write!(f, "the tpm has answered with {what}"),
            Self::Argument(what) => write!(f, "{what}"),
            Self::NoRandom => write!(f, "the system has no random numbers"),
            Self::NoSignedPolicy => write!(f, "no signed policy is for the state that this machine is in"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Transport(error) => Some(error),
            _ => None,
        }
    }
}
