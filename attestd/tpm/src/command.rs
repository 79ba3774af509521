//! The commands in use: their names and codes (part 2, clause 6.5.2).

use std::fmt;

macro_rules! commands {
    ($($name:ident = $code:literal),* $(,)?) => {
        /// A command, by its name in part 3 of the TPM 2.0 Library.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the standard's")]
        pub enum Command { $($name = $code),* }

        impl Command {
            /// `TPM_CC`.
            #[must_use]
            pub fn code(self) -> u32 {
                self as u32
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

commands! {
    NvUndefineSpace = 0x122,
    NvDefineSpace = 0x12a,
    CreatePrimary = 0x131,
    NvIncrement = 0x134,
    ActivateCredential = 0x147,
    Certify = 0x148,
    NvRead = 0x14e,
    PolicySecret = 0x151,
    Create = 0x153,
    Load = 0x157,
    Quote = 0x158,
    Sign = 0x15d,
    Unseal = 0x15e,
    FlushContext = 0x165,
    LoadExternal = 0x167,
    NvReadPublic = 0x169,
    PolicyAuthorize = 0x16a,
    StartAuthSession = 0x176,
    VerifySignature = 0x177,
    GetCapability = 0x17a,
    GetRandom = 0x17b,
    PcrRead = 0x17e,
    PolicyPcr = 0x17f,
    PcrExtend = 0x182,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TPM2_{}", self.name())
    }
}
