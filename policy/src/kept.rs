//! A plan kept beside its manifest in the verified app store, so that a boot need not read the manifest again.
//!
//! Whoever builds a store makes it from each good manifest. It counts only for the very text that lies beside it and
//! for the policy that made it; anything else is as if it were not there, and the manifest is read by the worker.
//! What is inside is decoded like the worker's answer: as from a hostile sender.
//!
//! ```text
//! 8 bytes "GabKept\x01" · 16 hex digits: the policy · u32 length of the text (little-endian) · the text · the plan
//! ```

use crate::board::Board;
use crate::manifest::check;
use crate::plan::compile;
use crate::read::TEXT_MAX;
use crate::wire::PLAN_MAX;

const MAGIC: &[u8] = b"GabKept\x01";
/// Which policy this is: a hash of its sources (`build.rs`).
pub const POLICY: &str = env!("GABION_POLICY");
/// Longest kept plan, bytes.
pub const KEPT_MAX: usize = TEXT_MAX + PLAN_MAX + 64;

/// What is kept for `text`; `None` when the manifest has a problem: to say it is the device's part.
pub fn keep(text: &str) -> Option<Vec<u8>> {
    let plan = compile(&check(text, &Board::default()).ok()?).encode();
    let length = u32::try_from(text.len()).ok()?.to_le_bytes();
    Some([MAGIC, POLICY.as_bytes(), &length, text.as_bytes(), &plan].concat())
}

/// The encoded plan in `kept`, if this policy made it from exactly `text`.
pub fn kept_plan<'a>(kept: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let rest = kept.strip_prefix(MAGIC)?.strip_prefix(POLICY.as_bytes())?;
    let (length, rest) = rest.split_first_chunk()?;
    let (made_from, plan) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (made_from == text).then_some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    const TEXT: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";

    #[test]
    fn kept_plan_of_the_same_text_is_the_workers() {
        let kept = keep(TEXT).unwrap();
        let plan = kept_plan(&kept, TEXT.as_bytes()).unwrap();
        assert_eq!(plan, compile(&check(TEXT, &Board::default()).unwrap()).encode());
        assert!(Plan::decode(plan, &Board::default()).is_ok());
        assert!(kept.len() <= KEPT_MAX);
    }

    #[test]
    fn kept_plan_of_another_text_or_policy_is_none() {
        let mut kept = keep(TEXT).unwrap();
        let other = TEXT.replace("1.0.0", "1.0.1");
        assert_eq!(kept_plan(&kept, other.as_bytes()), None);
        assert_eq!(kept_plan(&kept, b""), None);
        kept[MAGIC.len()] ^= 1;
        assert_eq!(kept_plan(&kept, TEXT.as_bytes()), None);
    }

    #[test]
    fn kept_cut_short_is_none_or_no_plan() {
        let kept = keep(TEXT).unwrap();
        for n in 0..kept.len() {
            let plan = kept_plan(&kept[..n], TEXT.as_bytes());
            assert!(plan.is_none_or(|plan| Plan::decode(plan, &Board::default()).is_err()), "{n}");
        }
    }

    #[test]
    fn manifest_with_a_problem_is_not_kept() {
        assert_eq!(keep("[app]\nnonsense = 1\n"), None);
    }
}
