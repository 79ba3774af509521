//! Arguments to try a rule with: some that it lets through, and for each of its conditions some with just that one
//! broken. What a profile reaches is what any of these reaches.

use super::rule::{Check, Test, When};

/// A value that satisfies every check on one argument.
fn satisfying(checks: &[Check], arg: u8) -> Option<u64> {
    let on_arg = || checks.iter().filter(|check| check.arg == arg);
    let candidates = on_arg().flat_map(|check| match check.test {
        Test::Is(value) | Test::Masked { value, .. } => vec![value],
        Test::OneOf(values) => values.to_vec(),
        Test::IsNot(_) | Test::Null => vec![0, 1, 2],
    });
    let candidates: Vec<u64> = candidates.chain([0]).map(u64::from).collect();
    let alone = |value: u64| on_arg().all(|check| check.holds(&[value; 6]));
    candidates.into_iter().find(|value| alone(*value))
}

/// Values around one check: each breaks it or comes near to breaking it.
fn mutated(check: Check) -> Vec<u64> {
    match check.test {
        Test::Is(value) | Test::IsNot(value) => {
            let value = u64::from(value);
            vec![value, value ^ 1, value + 1, value | 1 << 32, value ^ 1 << 31]
        }
        Test::OneOf(values) => {
            let wide: Vec<u64> = values.iter().map(|value| u64::from(*value)).collect();
            let around = |value: u64| [value, value ^ 1, value + 1, value | 1 << 32, value ^ 1 << 31];
            wide.into_iter().flat_map(around).chain([u64::MAX]).collect()
        }
        Test::Masked { mask, value } => {
            let bits = (0..32).filter(|bit| mask >> bit & 1 == 1).map(|bit| u64::from(value ^ 1 << bit));
            bits.chain([u64::from(value | !mask), u64::from(value) | 0xffff_ffff << 32]).collect()
        }
        Test::Null => vec![0, 1, 1 << 31, 1 << 32, u64::MAX],
    }
}

/// Arguments to try any call with.
pub(super) fn anything() -> [[u64; 6]; 3] {
    [[0; 6], [u64::MAX; 6], [1, 2, 3, 4, 5, 6]]
}

/// Argument vectors that tell the rule's conditions apart.
pub(super) fn probes(when: &When) -> Vec<[u64; 6]> {
    let mut probes = anything().to_vec();
    let When::Args(_, alternatives) = when else { return probes };
    for all in alternatives {
        let mut good = [0; 6];
        for check in all {
            // A rule that nothing can satisfy allows nothing; the tests find it by that.
            set(&mut good, check.arg, satisfying(all, check.arg).unwrap_or(u64::MAX));
        }
        probes.push(good);
        for check in all {
            probes.extend(mutated(*check).into_iter().flat_map(|value| {
                let mut bad = good;
                set(&mut bad, check.arg, value);
                // Alternatives that each refuse one value refuse only what has all of these.
                let mut worse = bad;
                for other in alternatives.iter().flatten().filter(|other| other.arg != check.arg) {
                    if let Test::IsNot(refused) = other.test {
                        set(&mut worse, other.arg, refused.into());
                    }
                }
                [bad, worse]
            }));
        }
    }
    probes
}

fn set(args: &mut [u64; 6], arg: u8, value: u64) {
    if let Some(place) = args.get_mut(usize::from(arg)) {
        *place = value;
    }
}
