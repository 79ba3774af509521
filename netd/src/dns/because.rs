//! Why an answer is what it is, told to whoever asked: Extended DNS Errors (RFC 8914). Libraries and `dig` show them, so that
//! what is refused names the line of the manifest that would allow it.

use std::net::IpAddr;

use super::address::Class;
use super::trouble::{Fault, Trouble};

/// An extended error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// The registry's number.
    pub code: u16,
    /// For people.
    pub text: String,
}

/// "Other Error".
const OTHER: u16 = 0;
/// "Not Ready".
const NOT_READY: u16 = 14;
/// "Blocked": by a policy of whoever answers.
const BLOCKED: u16 = 15;
/// "Prohibited": who asks may not.
const PROHIBITED: u16 = 18;
/// "No Reachable Authority".
const UNABLE: u16 = 22;
/// "Network Error".
const NETWORK: u16 = 23;

impl Because {
    /// The manifest does not name `host`, which is empty if what was asked for can not be a host's name.
    pub fn not_listed(host: &str) -> Self {
        let text = match host.parse::<policy::Host>() {
            Ok(_) => {
                format!("the manifest does not name it; add below [network]: connect = [\"{host}:PORT/tcp\"]")
            }
            Err(_) => "no name of a host".to_owned(),
        };
        Self { code: PROHIBITED, text }
    }

    /// `host` leads to an address of a class that the app may not be told.
    pub fn kept_back(host: &str, address: IpAddr, class: Class) -> Self {
        let text = match class {
            Class::Never(what) => format!("it is {address}: {what}, which no name may lead an app to"),
            Class::Open | Class::Private => format!(
                "it is {address}, of a private network; if it is meant to be, add below [network]: \
                 private = [\"{host}\"]"
            ),
        };
        Self { code: BLOCKED, text }
    }

    /// The app asks for too many names at once.
    pub fn too_many() -> Self {
        Self { code: OTHER, text: "too many questions are under way".to_owned() }
    }

    /// The firewall did not take the addresses, so the app could not reach them.
    pub fn not_learnt() -> Self {
        Self {
            code: OTHER,
            text: "its addresses could not be allowed; see the log of os.gabion.net".to_owned(),
        }
    }

    /// No server said anything that can be used.
    pub fn failed(trouble: &Trouble) -> Self {
        let code = match trouble {
            Trouble::NoServer | Trouble::Unsettled => NOT_READY,
            Trouble::Server(_, Fault::Unable) => UNABLE,
            Trouble::Server(..) => NETWORK,
        };
        Self { code, text: trouble.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_says_the_line_that_would_allow_it_if_there_is_one() {
        let text = |because: Because| because.text;
        assert!(text(Because::not_listed("a.example")).contains("connect = [\"a.example:PORT/tcp\"]"));
        assert!(!text(Because::not_listed("")).contains("connect"));
        let private = Because::kept_back("a.example", [10, 0, 0, 1].into(), Class::Private);
        assert!(text(private).contains("private = [\"a.example\"]"));
        let never = Because::kept_back("a.example", [127, 0, 0, 1].into(), Class::Never("loopback"));
        assert!(!text(never.clone()).contains("private") && text(never).contains("loopback"));
    }
}
