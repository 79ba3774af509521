//! Why a permit is not taken, as people on the console and at the other end of a call read it.

use std::fmt;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What came is none, and what is wrong with it.
    Form(&'static str),
    /// Somebody else signed it, or it was altered.
    Signature,
    /// Another catalog is named in it than the one that signed.
    Catalog,
    /// It is for this device.
    Device(String),
    /// It has ended.
    Expired,
    /// It was issued later than it is now.
    Early,
    /// A newer one was taken, or this one and then it was ended.
    Used,
    /// The time is not known, so nobody can say whether it has ended.
    NoClock,
    /// The device belongs to nobody whose permits would count.
    NoCatalog,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(why) => write!(f, "it is no permit: {why}"),
            Self::Signature => f.write_str("it is not signed by this device's catalog, or it was altered"),
            Self::Catalog => f.write_str("it names another catalog than the one that signed it"),
            Self::Device(device) => write!(f, "it is for another device, {device}"),
            Self::Expired => f.write_str("it has ended"),
            Self::Early => f.write_str(
                "it was issued later than it is now: this device's clock or the one of its service is wrong",
            ),
            Self::Used => f.write_str("it was used before: it was ended, or a newer one took its place"),
            Self::NoClock => f.write_str("this device's clock is not set yet"),
            Self::NoCatalog => f.write_str("this device belongs to no catalog yet"),
        }
    }
}

impl std::error::Error for Refusal {}
