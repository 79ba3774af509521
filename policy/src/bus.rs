//! The system's own interfaces: every method, and whose manifest may name it.
//!
//! A method that has no entry here can be named by nobody, so it is refused to everybody: an interface file that
//! gains a method gives it to no one until somebody decides. That the table and `bus/interfaces` agree is a test of
//! `tests/conformance`.

use crate::name::{InterfaceName, MethodName};
use crate::problem::{Invalid, nearest};

/// Whose manifest may name a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Any app's: the method tells or changes nothing of others, or its user sees the line and decides.
    Apps,
    /// Only those of the image's own boxes: it shows or changes other apps.
    System,
}

type Methods = &'static [(&'static str, Audience)];

use Audience::{Apps, System};

const TABLE: &[(&str, Methods)] = &[
    (
        "os.gabion.Apps",
        &[
            ("List", System),
            ("GetStatus", System),
            ("Start", System),
            ("Stop", System),
            ("Restart", System),
            ("Wipe", System),
            ("GetLog", System),
            ("FollowLog", System),
            ("ExportLog", System),
        ],
    ),
    ("os.gabion.Audit", &[("List", System), ("Follow", System)]),
    ("os.gabion.Bus", &[("List", System), ("Why", System), ("Monitor", System)]),
    (
        "os.gabion.Certificate",
        &[("GetChain", Apps), ("GetAuthorities", Apps), ("Sign", Apps), ("Attest", Apps)],
    ),
    ("os.gabion.Crashes", &[("List", System), ("Follow", System)]),
    (
        "os.gabion.Developer",
        &[
            ("Begin", System),
            ("Put", System),
            ("Install", System),
            ("Carry", System),
            ("Remove", System),
            ("List", System),
            ("Leave", System),
            ("Stats", System),
            ("Debug", System),
            ("DebugInput", System),
        ],
    ),
    ("os.gabion.Device", &[("GetInfo", Apps)]),
    ("os.gabion.Identity", &[("GetStatus", System)]),
    (
        "os.gabion.Network",
        &[
            ("GetStatus", Apps),
            ("Resolve", Apps),
            ("ListInterfaces", Apps),
            ("ListOwnRules", Apps),
            ("ListRules", System),
            ("WhyConnect", System),
            ("Configure", System),
        ],
    ),
    ("os.gabion.Permit", &[("GetStatus", System), ("Take", System), ("Leave", System)]),
    ("os.gabion.Power", &[("Reboot", Apps), ("PowerOff", Apps)]),
    ("os.gabion.Time", &[("GetStatus", Apps)]),
    (
        "os.gabion.Update",
        &[
            ("GetStatus", Apps),
            ("CheckNow", Apps),
            ("Defer", Apps),
            ("Resume", Apps),
            ("Watch", Apps),
            ("Rollback", System),
        ],
    ),
];

/// Whether `interface` is one of the system's own, known or not.
pub fn is_system_interface(interface: &str) -> bool {
    interface.starts_with("os.gabion.")
}

/// Every method of the system that anybody may be granted: interface, method, audience.
pub fn methods() -> impl Iterator<Item = (&'static str, &'static str, Audience)> {
    TABLE
        .iter()
        .flat_map(|(interface, methods)| methods.iter().map(move |(name, who)| (*interface, *name, *who)))
}

/// Whether a manifest may name the method of an interface, the system's or not; the fault and remedy if not.
/// `system`: it is one of the image's.
///
/// # Errors
/// No manifest of this kind may.
pub fn may_name(interface: &str, method: &str, system: bool) -> Result<(), Invalid> {
    let (interface, method): (InterfaceName, MethodName) = (interface.parse()?, method.parse()?);
    if is_system_interface(interface.as_str()) { grantable(&interface, &method, system) } else { Ok(()) }
}

/// Whether a manifest may name the system's method; the fault and remedy if not. `system`: it is one of the image's.
pub(crate) fn grantable(interface: &InterfaceName, method: &MethodName, system: bool) -> Result<(), Invalid> {
    let Some((_, known)) = TABLE.iter().find(|(name, _)| *name == interface.as_str()) else {
        let names = TABLE.iter().map(|(name, _)| *name);
        return Err(unknown("the system has no such interface", interface.as_str(), names));
    };
    match known.iter().find(|(name, _)| *name == method.as_str()) {
        Some((_, Apps)) => Ok(()),
        Some((_, System)) if system => Ok(()),
        Some((_, System)) => Err(Invalid::new(
            format!("\"{method}\" shows or changes other apps, so no app may have it"),
            "remove it; the device's owner calls it with `gabion bus call`",
        )),
        None => Err(unknown(
            &format!("{interface} has no method \"{method}\""),
            method.as_str(),
            known.iter().map(|(n, _)| *n),
        )),
    }
}

fn unknown(message: &str, name: &str, known: impl Iterator<Item = &'static str> + Clone) -> Invalid {
    let help = match nearest(name, known.clone()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write one of \"{}\"", known.collect::<Vec<_>>().join("\", \"")),
    };
    Invalid::new(message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grantable_by_audience() {
        assert_eq!(may_name("os.gabion.Certificate", "Sign", false), Ok(()));
        assert!(may_name("os.gabion.Apps", "Stop", false).unwrap_err().message.contains("no app"));
        assert_eq!(may_name("os.gabion.Apps", "Stop", true), Ok(()));
    }

    #[test]
    fn unknown_interface_or_method_is_refused_to_everybody() {
        for system in [false, true] {
            assert!(may_name("os.gabion.Ap", "List", system).unwrap_err().help.contains("os.gabion.Apps"));
            assert!(may_name("os.gabion.Apps", "Lisd", system).unwrap_err().help.contains("\"List\""));
            assert!(may_name("os.gabion.Nothing", "Call", system).is_err());
        }
    }

    #[test]
    fn others_interfaces_may_be_named_and_what_is_no_name_may_not() {
        assert_eq!(may_name("com.example.Any", "Thing", false), Ok(()));
        assert!(may_name("com.example.Any", "thing\"]", false).is_err());
        assert!(may_name("any", "Thing", true).is_err());
    }

    #[test]
    fn table_names_each_method_once() {
        let mut all: Vec<_> = methods().map(|(interface, method, _)| (interface, method)).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
