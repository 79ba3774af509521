//! What a TPM says when it refuses (`TPM_RC`, part 2, clause 6.6), and what is to be done about it.
//!
//! A code is 12 bits of the TPM's own; above them the kernel's resource manager says that it wrote the code itself, which
//! it does for commands that the chip does not have.

use std::fmt;

/// A code other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseCode(pub u32);

/// What to do about a [`ResponseCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The TPM was busy, tests itself or wants the command once more. This crate has asked again for some seconds.
    Again,
    /// Too many wrong authorisations: nothing with an authorisation that may be guessed works until the lockout is over.
    Lockout,
    /// The authorisation is wrong: somebody has set one for a hierarchy or an object, where we use none.
    WrongAuthorisation,
    /// The policy is not fulfilled: this is not the state that it names, or not the key.
    PolicyFailed,
    /// A PCR was extended since the policy was looked at.
    PcrChanged,
    /// All places for objects or sessions are taken: something holds handles that it did not flush.
    NoPlace,
    /// There is nothing at this handle or index.
    Absent,
    /// There is something at this index already.
    Exists,
    /// The blob was made by another TPM, or before this one was cleared, or it is damaged.
    Foreign,
    /// Nobody has sent `TPM2_Startup`: the firmware has not seen this TPM.
    NotStarted,
    /// The TPM has failed its self-test; only a reset may help.
    Failed,
    /// The TPM wants firmware before anything else.
    Upgrade,
    /// NV memory can't be written now.
    NvUnavailable,
    /// The machine has to be reset first.
    Reboot,
    /// The chip does not know this command, algorithm or curve.
    Unsupported,
    /// Anything else: a mistake of ours, or somebody's on the bus.
    Other,
}

impl ResponseCode {
    /// What is to be done.
    #[must_use]
    pub fn condition(self) -> Condition {
        // The resource manager's layer, with TPM_RC_COMMAND_CODE.
        if self.0 >> 16 == 11 && self.0 & 0xfff == 0x143 {
            return Condition::Unsupported;
        }
        if self.0 >> 12 != 0 {
            return Condition::Other;
        }
        if self.0 & 0x080 != 0 {
            return format_one(self.0 & 0x3f);
        }
        match self.0 {
            0x908 | 0x90a | 0x920 | 0x922 => Condition::Again,
            0x921 => Condition::Lockout,
            0x902..=0x906 => Condition::NoPlace,
            // TPM_RC_REFERENCE_H0 and its kin: the handle in that place is not loaded.
            0x910..=0x91e | 0x14a => Condition::Absent,
            0x14c => Condition::Exists,
            0x149 => Condition::WrongAuthorisation,
            0x126 => Condition::PolicyFailed,
            0x128 => Condition::PcrChanged,
            0x923 => Condition::NvUnavailable,
            0x100 => Condition::NotStarted,
            0x101 => Condition::Failed,
            0x12d => Condition::Upgrade,
            0x130 => Condition::Reboot,
            0x143 => Condition::Unsupported,
            _ => Condition::Other,
        }
    }

    /// Whether the same command may be sent again as it is: the TPM has done nothing, and the nonces have not moved.
    pub(crate) fn is_again(self) -> bool {
        self.condition() == Condition::Again
    }
}

/// Codes that also name a parameter, handle or session; that part is masked out.
fn format_one(number: u32) -> Condition {
    match number {
        0x0e | 0x22 => Condition::WrongAuthorisation,
        0x1d | 0x24 => Condition::PolicyFailed,
        0x1f => Condition::Foreign,
        0x0b => Condition::Absent,
        0x03 | 0x12 | 0x16 | 0x26 => Condition::Unsupported,
        _ => Condition::Other,
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.condition() {
            Condition::Again => "the tpm is still busy: try again later",
            Condition::Lockout => {
                "the tpm is locked out after wrong authorisations: wait for its recovery time, or reset the lockout"
            }
            Condition::WrongAuthorisation => {
                "the authorisation is wrong: somebody has set one for a hierarchy or object of this tpm"
            }
            Condition::PolicyFailed => {
                "the policy is not fulfilled: this is not the boot state that was signed"
            }
            Condition::PcrChanged => "a pcr was extended meanwhile: begin anew",
            Condition::NoPlace => {
                "no place for another object or session: something keeps handles it has not flushed"
            }
            Condition::Absent => "there is nothing at this handle or index",
            Condition::Exists => "the index is defined already",
            Condition::Foreign => {
                "the blob is damaged, or of another tpm, or of this one before it was cleared"
            }
            Condition::NotStarted => "the tpm was not started: the firmware does not know it",
            Condition::Failed => "the tpm has failed its self-test: reset the machine",
            Condition::Upgrade => "the tpm waits for a firmware upgrade",
            Condition::NvUnavailable => "the tpm's memory can't be written now: try again later",
            Condition::Reboot => "the tpm wants the machine to be reset",
            Condition::Unsupported => "the tpm does not have this command, algorithm or curve",
            Condition::Other => "the tpm has refused",
        };
        write!(f, "{advice} (response code {:#05x}", self.0)?;
        match self.0 {
            code if code >> 12 != 0 || code & 0x080 == 0 => write!(f, ")"),
            code if code & 0x040 != 0 => write!(f, ", parameter {})", code >> 8 & 0xf),
            code if code & 0x800 != 0 => write!(f, ", session {})", code >> 8 & 7),
            code => write!(f, ", handle {})", code >> 8 & 7),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_with_a_place_are_told_without_it() {
        for code in [0x98e, 0x9a2, 0xaa2] {
            assert_eq!(ResponseCode(code).condition(), Condition::WrongAuthorisation, "{code:#x}");
        }
        assert!(ResponseCode(0x98e).to_string().ends_with("(response code 0x98e, session 1)"));
        assert!(ResponseCode(0x2d5).to_string().ends_with("(response code 0x2d5, parameter 2)"));
        assert!(ResponseCode(0x18b).to_string().ends_with("(response code 0x18b, handle 1)"));
    }

    #[test]
    fn only_codes_after_which_nothing_was_done_are_sent_again() {
        let again: Vec<u32> = (1..0x1000).filter(|code| ResponseCode(*code).is_again()).collect();
        assert_eq!(again, [0x908, 0x90a, 0x920, 0x922]);
    }

    #[test]
    fn codes_of_other_layers_are_not_taken_for_the_chips() {
        assert_eq!(ResponseCode(0x000b_0143).condition(), Condition::Unsupported);
        assert_eq!(ResponseCode(0x000b_0922).condition(), Condition::Other);
    }
}
