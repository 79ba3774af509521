//! Names: apps, bus interfaces, methods, environment variables, versions.
//!
//! A value of one of these types satisfies its grammar, however it was made: from a manifest, from bytes off a
//! socket, in code. An attacker chooses the text; every grammar is a small ASCII set with a length bound, so that a
//! name can go into a path, a cgroup name, a log line or a socket name without quoting.

use crate::problem::{Invalid, quote};

/// Longest app id in bytes. It becomes a directory name, a cgroup name and a host name (64 is `HOST_NAME_MAX`).
const APP_ID_MAX: usize = 64;
/// Longest interface name in bytes. It becomes a file name under `/run/bus` and part of a socket address (108 bytes).
const INTERFACE_NAME_MAX: usize = 80;

/// Makes a newtype over `String` that only its grammar's function can let through.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Invalid;
            fn from_str(text: &str) -> Result<Self, $crate::Invalid> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::Invalid;
            fn try_from(text: String) -> Result<Self, $crate::Invalid> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use checked_text;

checked_text! {
    /// An app's identity for ever: reverse DNS, lower case, at most 64 bytes, at least three labels
    /// (`com.example.thermostat`).
    AppId, check_app_id
}

impl AppId {
    /// Whether the id is one of the system's own (`os.gabion.…`), which no app may carry.
    pub fn is_system(&self) -> bool {
        self.0.starts_with("os.gabion.")
    }
}

checked_text! {
    /// A varlink interface name: reverse DNS with at least two dots (`os.gabion.Certificate`), at most 80 bytes.
    InterfaceName, check_interface
}

checked_text! {
    /// A varlink method name: `[A-Z][A-Za-z0-9]*`, at most 64 bytes.
    MethodName, check_method
}

checked_text! {
    /// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 64 bytes, none that Gabion sets itself.
    EnvName, check_env_name
}

checked_text! {
    /// One argument or environment value: any UTF-8 without NUL, at most 4096 bytes.
    Argument, check_argument
}

fn check_app_id(text: &str) -> Result<(), Invalid> {
    let example = "write a reverse domain name in lower case, as \"com.example.thermostat\"";
    let fault = |what: &str| Err(Invalid::new(format!("{} {what}", quote(text)), example));
    if text.len() > APP_ID_MAX {
        return Err(Invalid::new(format!("an id of {} bytes", text.len()), "use at most 64 bytes"));
    }
    if text.split('.').count() < 3 {
        return fault("has fewer than three parts");
    }
    if text.split('.').any(|label| !is_label(label)) {
        return fault("has a part that is not made of a-z, 0-9 and inner '-', starting with a letter");
    }
    Ok(())
}

/// A label of an app id: a letter, then letters, digits and `-`, not ending in `-`.
fn is_label(label: &str) -> bool {
    label.starts_with(|c: char| c.is_ascii_lowercase())
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn check_interface(text: &str) -> Result<(), Invalid> {
    let example = "write a varlink interface name, as \"os.gabion.Certificate\"";
    let well_formed = text.len() <= INTERFACE_NAME_MAX
        && text.split('.').count() >= 3
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    if well_formed {
        return Ok(());
    }
    Err(Invalid::new(format!("{} is not an interface name", quote(text)), example))
}

fn check_method(text: &str) -> Result<(), Invalid> {
    let well_formed = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if well_formed {
        return Ok(());
    }
    let help = if text == "*" {
        "name each method: there is no wildcard"
    } else {
        "write a method name, as \"GetChain\""
    };
    Err(Invalid::new(format!("{} is not a method name", quote(text)), help))
}

/// Set by the builder of the box: a manifest that set them would lie to `sd_notify`.
const RESERVED_ENV: [&str; 5] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"];

fn check_env_name(text: &str) -> Result<(), Invalid> {
    let well_formed = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !well_formed {
        let help = "use letters, digits and '_', at most 64, not starting with a digit";
        return Err(Invalid::new(format!("{} is not a variable name", quote(text)), help));
    }
    if RESERVED_ENV.contains(&text) {
        let help = "remove it: set `[lifecycle] watchdog` or `notify`, and Gabion sets the variable";
        return Err(Invalid::new(format!("{text} is set by Gabion itself"), help));
    }
    Ok(())
}

fn check_argument(text: &str) -> Result<(), Invalid> {
    if text.len() > 4096 {
        return Err(Invalid::new(format!("a text of {} bytes", text.len()), "use at most 4096 bytes"));
    }
    if text.contains('\0') {
        return Err(Invalid::new("a NUL character inside a text", "remove the \\u0000"));
    }
    Ok(())
}

/// `MAJOR.MINOR.PATCH`, each 0 to 4294967295; ordered as numbers, since versions never go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl std::str::FromStr for Version {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut numbers = text.split('.').map(version_number);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(Invalid::new(
                format!("{} is not a version", quote(text)),
                "write three numbers, as \"1.4.0\"",
            )),
        }
    }
}

/// One number of a version: digits only, no leading zero, so that a version has one spelling.
fn version_number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_id_reverse_dns_is_accepted() {
        for good in ["com.example.thermostat", "os.gabion.worker", "a.b.c", "io.x-y.z9"] {
            assert!(good.parse::<AppId>().is_ok(), "{good}");
        }
    }

    #[test]
    fn app_id_nonsense_is_refused() {
        let long = format!("a.b.{}", "c".repeat(61));
        for bad in [
            "",
            "thermostat",
            "a.b",
            "com.Example.x",
            "com..x",
            "../../etc",
            "a.b.c/",
            "a.b.-c",
            "a.b.9",
            &long,
        ] {
            assert!(bad.parse::<AppId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_and_method_grammar_holds() {
        assert!("os.gabion.Certificate".parse::<InterfaceName>().is_ok());
        for bad in ["Certificate", "os..C", "os.gabion.C/x", ".os.gabion", "os.gabion.*"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
        }
        assert!("GetChain".parse::<MethodName>().is_ok());
        for bad in ["*", "getChain", "", "Get Chain"] {
            assert!(bad.parse::<MethodName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn env_name_reserved_is_refused() {
        assert!("TZ".parse::<EnvName>().is_ok());
        assert!("NOTIFY_SOCKET".parse::<EnvName>().is_err());
        assert!("A=B".parse::<EnvName>().is_err());
    }

    #[test]
    fn version_spelling_is_unique_and_ordered() {
        assert!("1.10.0".parse::<Version>().unwrap() > "1.9.0".parse::<Version>().unwrap());
        for bad in ["1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.4294967296", "+1.2.3", ""] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
        assert_eq!("1.4.0".parse::<Version>().unwrap().to_string(), "1.4.0");
    }
}
