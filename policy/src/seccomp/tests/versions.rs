//! A profile's version changes with its rules.

use super::super::profiles;
use super::facts_of;
use crate::facts::Profile;

/// Each version's rules as one number: FNV-1a over their description, with every grant.
#[cfg(target_arch = "x86_64")]
const RULES: [(Profile, u32, u64); 3] = [
    (Profile::Strict, 2, 0xc2c50c9af6afe52a),
    (Profile::Default, 3, 0xb44813ade85d4dd2),
    (Profile::NetworkServer, 4, 0xa45c8c5e920d91be),
];

#[cfg(target_arch = "x86_64")]
#[test]
fn profile_changed_rules_have_a_new_version() {
    let grants = "[network]\nlisten = [\"1/tcp\", \"1/udp\"]\n[devices]\nserial = [\"/dev/ttyS1\"]\n\
                  gpio = [\"/dev/gpiochip0\"]\ni2c = [\"/dev/i2c-0\"]\nspi = [\"/dev/spidev0.0\"]\n";
    for (profile, version, hash) in RULES {
        let alone = profiles::allowed(&facts_of(profile, false, "", false));
        let granted = profiles::allowed(&facts_of(profile, false, grants, true));
        let now = format!("{alone:?}{granted:?}").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert!(
            (version, hash) == (profile.version(), now),
            "the rules of {profile} changed: raise Profile::version, and write ({}, {now:#018x}) here",
            profile.version()
        );
    }
}
