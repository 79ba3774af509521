//! Who may sign which targets: the delegations of a role that a path falls under, in their order.

use ring::digest::{SHA256, digest};

use crate::envelope::Authority;
use crate::hex;
use crate::metadata::{DelegatedRole, Delegations, RoleKeys, SuccinctRoles};
use crate::name;

/// A role that may speak of a path.
#[derive(Clone, Debug)]
pub struct Delegate {
    /// What it is called.
    pub role: String,
    /// Who may sign for it, says its delegator.
    pub authority: Authority,
    /// Whether nobody else is asked after it.
    pub terminating: bool,
}

/// The roles that may speak of `path`, in the order in which they are asked; none after one that is terminating.
pub fn of(delegations: &Delegations, path: &str) -> Vec<Delegate> {
    let mut found: Vec<Delegate> = Vec::new();
    let digest = hex::encode(digest(&SHA256, path.as_bytes()).as_ref());
    if let Some(succinct) = &delegations.succinct_roles {
        let keys = RoleKeys { keyids: succinct.keyids.clone(), threshold: succinct.threshold };
        let authority = Authority::of(&delegations.keys, &keys);
        found.extend(bin(succinct, path).map(|role| Delegate { role, authority, terminating: true }));
        return found;
    }
    for role in delegations.roles.iter().flatten().filter(|role| covers(role, path, &digest)) {
        let keys = RoleKeys { keyids: role.keyids.clone(), threshold: role.threshold };
        let authority = Authority::of(&delegations.keys, &keys);
        found.push(Delegate { role: role.name.clone(), authority, terminating: role.terminating });
        if role.terminating {
            break;
        }
    }
    found
}

fn covers(role: &DelegatedRole, path: &str, digest: &str) -> bool {
    let patterns = role.paths.iter().flatten();
    let prefixes = role.path_hash_prefixes.iter().flatten();
    patterns.into_iter().any(|pattern| name::matches(pattern, path))
        || prefixes.into_iter().any(|prefix| !prefix.is_empty() && digest.starts_with(prefix.as_str()))
}

/// 4.5: the role is chosen by the first bits of the path's SHA-256; its name ends with them, in hexadecimal of one length.
fn bin(roles: &SuccinctRoles, path: &str) -> Option<String> {
    let bits = roles.bit_length;
    if !(1..=32).contains(&bits) {
        return None;
    }
    let digest = digest(&SHA256, path.as_bytes());
    let first = u32::from_be_bytes(*digest.as_ref().first_chunk()?);
    let (bin, digits) = (first >> (32 - bits), bits.div_ceil(4) as usize);
    Some(format!("{}-{bin:0digits$x}", roles.name_prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bin_is_what_the_reference_implementation_says() {
        let mut roles = SuccinctRoles {
            keyids: Vec::new(),
            threshold: 1,
            bit_length: 8,
            name_prefix: "delegated".to_owned(),
        };
        // SHA-256 of "a" begins with ca978112.
        for (bits, name) in
            [(8, "delegated-ca"), (1, "delegated-1"), (5, "delegated-19"), (32, "delegated-ca978112")]
        {
            roles.bit_length = bits;
            assert_eq!(bin(&roles, "a").as_deref(), Some(name));
        }
        roles.bit_length = 33;
        assert_eq!(bin(&roles, "a"), None);
    }
}
