//! May this app ask this.

use policy::Host;

use super::Kind;
use crate::apps::AppPolicy;

/// What is done with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is the box's own host.
    Local,
    /// Its addresses are looked up.
    Ask {
        /// The name as in the manifest.
        host: Host,
        /// Whether it may have private addresses.
        private: bool,
    },
    /// The name is granted, and nothing of this type is ever answered.
    Nothing,
    /// The manifest does not name it.
    NotListed,
}

/// Decides on `name` (lower case, without the last dot). `kind` is `None` for whatever is no address.
pub fn decide(policy: &AppPolicy, name: &str, kind: Option<Kind>) -> Decision {
    if name == "localhost" {
        return if kind.is_some() { Decision::Local } else { Decision::Nothing };
    }
    let named = |host: &Host| host.as_str() == name;
    let host = policy.connect.iter().map(|to| to.host()).find(|host| named(host) && host.is_name());
    match (host, kind) {
        (None, _) => Decision::NotListed,
        (Some(_), None) => Decision::Nothing,
        (Some(host), Some(_)) => Decision::Ask { host: host.clone(), private: policy.private.contains(host) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> AppPolicy {
        let connect = ["a.example:1/tcp", "b.example:2/udp", "a.example:3/udp", "192.0.2.1:1/tcp"];
        AppPolicy {
            uid: 10_000,
            id: "com.example.a".to_owned(),
            connect: connect.map(|to| to.parse().unwrap()).to_vec(),
            listen: Vec::new(),
            private: vec!["b.example".parse().unwrap()],
        }
    }

    #[test]
    fn name_of_the_manifest_is_asked() {
        let asked = decide(&policy(), "a.example", Some(Kind::A));
        assert_eq!(asked, Decision::Ask { host: "a.example".parse().unwrap(), private: false });
        assert!(matches!(
            decide(&policy(), "b.example", Some(Kind::Aaaa)),
            Decision::Ask { private: true, .. }
        ));
    }

    #[test]
    fn name_that_is_not_named_whole_is_not_listed() {
        for name in ["c.example", "x.a.example", "example", "a.example.evil.example", "", "192.0.2.1"] {
            assert_eq!(decide(&policy(), name, Some(Kind::A)), Decision::NotListed, "{name}");
            assert_eq!(decide(&policy(), name, None), Decision::NotListed, "{name}");
        }
    }

    #[test]
    fn what_is_no_address_is_answered_with_nothing() {
        assert_eq!(decide(&policy(), "a.example", None), Decision::Nothing);
        assert_eq!(decide(&policy(), "localhost", None), Decision::Nothing);
        assert_eq!(decide(&policy(), "localhost", Some(Kind::A)), Decision::Local);
    }
}
