//! Who may call whom on the bus: from the plans of all boxes to the verdict of each listening socket. Pure.
//!
//! A capability needs two yeses: the caller's manifest names the interface and its methods; and the server's names
//! the caller, or it is the system's own interface, for which the policy table has spoken when the caller's manifest
//! was checked. An interface has one server on a device: the box with the lowest uid, which is the one that was
//! there first; others are told so.
//!
//! What holds: a verdict is never wider than the plans that are known; while a manifest is still to be read it may be
//! undecided, which lets callers wait instead of failing.

use std::collections::BTreeMap;

use bus::control::{Grant, Key, Limits, Verdict};
use policy::Plan;

/// Connections of a box to the system's interfaces, when it has no others: what they make `appsd` hold is shared by all.
const SYSTEM_CONNECTIONS: u16 = 16;

/// Longest message to one of the system's interfaces, bytes. All apps share their server, whose memory is small, and
/// no call has more to say than names and a reason.
const SYSTEM_MESSAGE_BYTES: u32 = 8 * 1024;

/// A box as far as the bus is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The app's id.
    pub app: String,
    /// Whether it is one of the image's own.
    pub system: bool,
    /// Interfaces it calls, with the methods.
    pub uses: BTreeMap<String, Vec<String>>,
    /// Interfaces it serves, with the ids of the apps that may call; none for the system's own interfaces.
    pub provides: BTreeMap<String, Vec<String>>,
}

impl Party {
    /// The box of a plan.
    pub fn of(plan: &Plan) -> Self {
        let sorted = |list: &Vec<String>| {
            let mut list = list.clone();
            list.sort();
            list
        };
        Self {
            app: plan.id.to_string(),
            system: plan.system.is_some(),
            uses: plan.uses.iter().map(|(name, methods)| (name.clone(), sorted(methods))).collect(),
            provides: plan.provides.iter().cloned().collect(),
        }
    }
}

/// The answer to "may this app call that, and why?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Whether it may.
    pub allowed: bool,
    /// The line that says so, or the line that would.
    pub because: String,
}

/// All boxes on the bus.
#[derive(Debug, Default)]
pub struct Grants {
    parties: BTreeMap<u32, Party>,
    complete: bool,
}

impl Grants {
    /// Adds a box, in place of one of the same number. Gives the interfaces that another box serves already.
    pub fn add(&mut self, uid: u32, party: Party) -> Vec<(String, String)> {
        let taken = party.provides.keys().filter_map(|interface| {
            let (holder, other) = self.server(interface)?;
            (holder < uid).then(|| (interface.clone(), other.app.clone()))
        });
        let taken = taken.collect();
        self.parties.insert(uid, party);
        taken
    }

    /// Takes a box away.
    pub fn remove(&mut self, uid: u32) {
        self.parties.remove(&uid);
    }

    /// What boxes serve, and which.
    pub fn served(&self) -> impl Iterator<Item = (&String, &u32)> {
        self.parties.iter().flat_map(|(uid, party)| party.provides.keys().map(move |name| (name, uid)))
    }

    /// Every manifest was read: what is not there now is not there.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether [`Grants::complete`] was said.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The boxes.
    pub fn parties(&self) -> impl Iterator<Item = (u32, &Party)> {
        self.parties.iter().map(|(uid, party)| (*uid, party))
    }

    /// A box.
    pub fn party(&self, uid: u32) -> Option<&Party> {
        self.parties.get(&uid)
    }

    /// Who serves `interface`.
    pub fn server(&self, interface: &str) -> Option<(u32, &Party)> {
        let serving = |party: &&Party| party.provides.contains_key(interface);
        self.parties.iter().find(|(_, party)| serving(party)).map(|(uid, party)| (*uid, party))
    }

    /// The verdict of every socket at which a box calls.
    pub fn verdicts(&self) -> BTreeMap<Key, Verdict> {
        let mut all = BTreeMap::new();
        for (&uid, party) in &self.parties {
            for (interface, methods) in &party.uses {
                let key = Key { uid, interface: interface.clone() };
                all.insert(key, self.verdict(party, interface, methods));
            }
        }
        all
    }

    fn verdict(&self, caller: &Party, interface: &str, methods: &[String]) -> Verdict {
        match self.refusal(caller, interface) {
            Some(why) if self.complete => Verdict::Refused(why),
            Some(_) => Verdict::Undecided,
            // An app that has yet to be read may turn out to be the one that serves it.
            None if !self.complete && !policy::bus::is_system_interface(interface) => Verdict::Undecided,
            None => match self.server(interface) {
                Some((server, _)) => {
                    Verdict::Granted(Grant { server, methods: methods.to_vec(), limits: limits(interface) })
                }
                None => Verdict::Undecided,
            },
        }
    }

    /// Why the server's side says no, if it does.
    fn refusal(&self, caller: &Party, interface: &str) -> Option<String> {
        let Some((_, server)) = self.server(interface) else {
            return Some(format!("no box on this device provides {interface}"));
        };
        if policy::bus::is_system_interface(interface) {
            return None;
        }
        let named = server.provides.get(interface).is_some_and(|apps| apps.contains(&caller.app));
        (!named).then(|| {
            format!(
                "the manifest of {} would have to name \"{}\" below [provides] \"{interface}\"",
                server.app, caller.app
            )
        })
    }

    /// May the box of `app` call `method` of `interface`?
    pub fn why(&self, app: &str, interface: &str, method: &str) -> Why {
        let no = |because: String| Why { allowed: false, because };
        let Some(caller) = self.parties.values().find(|party| party.app == app) else {
            return no(format!("no box on this device is called {app}"));
        };
        let named = caller.uses.get(interface).map(Vec::as_slice).unwrap_or_default();
        if !named.iter().any(|known| known == method) {
            return no(missing(caller, interface, named, method));
        }
        match self.refusal(caller, interface) {
            Some(why) => no(why),
            None => Why { allowed: true, because: line(interface, named) },
        }
    }
}

/// What a manifest lacks, and the line that would help if one can.
fn missing(caller: &Party, interface: &str, named: &[String], method: &str) -> String {
    if let Err(invalid) = policy::bus::may_name(interface, method, caller.system) {
        return invalid.message;
    }
    let mut wanted = named.to_vec();
    wanted.push(method.to_owned());
    wanted.sort();
    let wanted = line(interface, &wanted);
    match named {
        [] => format!("its manifest would have to say {wanted}"),
        _ => format!("its manifest says {}, and would have to say {wanted}", line(interface, named)),
    }
}

fn line(interface: &str, methods: &[String]) -> String {
    format!("[uses] \"{interface}\" = [\"{}\"]", methods.join("\", \""))
}

fn limits(interface: &str) -> Limits {
    let usual = Limits::default();
    let system = policy::bus::is_system_interface(interface);
    match system {
        true => Limits { message_bytes: SYSTEM_MESSAGE_BYTES, connections: SYSTEM_CONNECTIONS, ..usual },
        false => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn party(app: &str, uses: &[(&str, &[&str])], provides: &[(&str, &[&str])]) -> Party {
        let table = |list: &[(&str, &[&str])]| {
            let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
            list.iter().map(|(name, names)| ((*name).to_owned(), owned(names))).collect()
        };
        Party {
            app: app.into(),
            system: app.starts_with("os."),
            uses: table(uses),
            provides: table(provides),
        }
    }

    fn verdict(grants: &Grants, uid: u32, interface: &str) -> Verdict {
        grants.verdicts().remove(&Key { uid, interface: interface.into() }).unwrap()
    }

    #[test]
    fn verdict_of_the_system_is_given_at_once() {
        let mut grants = Grants::default();
        grants.add(10_000, party("com.example.a", &[("os.gabion.Time", &["GetStatus"])], &[]));
        assert_eq!(verdict(&grants, 10_000, "os.gabion.Time"), Verdict::Undecided);
        grants.add(1006, party("os.gabion.apps", &[], &[("os.gabion.Time", &[])]));
        let Verdict::Granted(grant) = verdict(&grants, 10_000, "os.gabion.Time") else { panic!() };
        assert_eq!((grant.server, grant.methods), (1006, vec!["GetStatus".to_owned()]));
    }

    #[test]
    fn verdict_between_apps_needs_both_manifests() {
        let mut grants = Grants::default();
        let temperature: &[(&str, &[&str])] = &[("com.example.Temperature", &["Get"])];
        grants.add(10_000, party("com.example.display", temperature, &[]));
        grants.add(10_001, party("com.example.thief", temperature, &[]));
        let provides: &[(&str, &[&str])] = &[("com.example.Temperature", &["com.example.display"])];
        grants.add(10_002, party("com.example.sensor", &[], provides));
        assert_eq!(verdict(&grants, 10_000, "com.example.Temperature"), Verdict::Undecided);
        grants.complete();
        assert!(matches!(verdict(&grants, 10_000, "com.example.Temperature"), Verdict::Granted(_)));
        let Verdict::Refused(why) = verdict(&grants, 10_001, "com.example.Temperature") else { panic!() };
        assert!(why.contains("com.example.sensor") && why.contains("com.example.thief"), "{why}");
    }

    #[test]
    fn refusal_with_the_longest_names_is_a_message_to_the_router() {
        let (thief, sensor) = (format!("com.example.{:t<52}", ""), format!("com.example.{:s<52}", ""));
        let interface = format!("com.example.{:I<68}", "");
        let mut grants = Grants::default();
        grants.add(10_000, party(&thief, &[(&interface, &["Get"])], &[]));
        grants.add(10_001, party(&sensor, &[], &[(&interface, &["com.example.display"])]));
        grants.complete();
        let verdict = verdict(&grants, 10_000, &interface);
        assert!(matches!(verdict, Verdict::Refused(_)));
        let key = Key { uid: 10_000, interface };
        let message = bus::control::ToRouter::Listen { key, app: thief, system: false, verdict };
        assert_eq!(bus::control::ToRouter::decode(&message.encode()), Some(message));
    }

    #[test]
    fn server_is_the_first_and_the_second_is_told() {
        let mut grants = Grants::default();
        let provides: &[(&str, &[&str])] = &[("com.example.T", &["com.example.x"])];
        assert!(grants.add(10_000, party("com.example.a", &[], provides)).is_empty());
        let taken = grants.add(10_001, party("com.example.b", &[], provides));
        assert_eq!(taken, [("com.example.T".to_owned(), "com.example.a".to_owned())]);
        assert_eq!(grants.server("com.example.T").unwrap().0, 10_000);
    }

    #[test]
    fn why_names_the_line_that_grants_or_would() {
        let mut grants = Grants::default();
        grants.add(1006, party("os.gabion.apps", &[], &[("os.gabion.Power", &[])]));
        grants.add(10_000, party("com.example.a", &[("os.gabion.Power", &["Reboot"])], &[]));
        grants.complete();
        assert!(grants.why("com.example.a", "os.gabion.Power", "Reboot").allowed);
        let why = |interface: &str, method: &str| {
            let why = grants.why("com.example.a", interface, method);
            assert!(!why.allowed);
            why.because
        };
        assert!(
            why("os.gabion.Power", "PowerOff")
                .ends_with("[uses] \"os.gabion.Power\" = [\"PowerOff\", \"Reboot\"]")
        );
        assert!(why("os.gabion.Time", "GetStatus").ends_with("[uses] \"os.gabion.Time\" = [\"GetStatus\"]"));
        assert!(grants.why("com.example.b", "os.gabion.Power", "Reboot").because.contains("no box"));
        // No line would help.
        assert!(why("os.gabion.Power", "Sleep").contains("no method \"Sleep\""));
        assert!(why("os.gabion.Apps", "Stop").contains("no app may have it"));
    }

    type Sketch = (Vec<(u8, u8)>, Vec<(u8, Vec<u8>)>);

    fn sketched(boxes: &[Sketch]) -> Grants {
        let mut grants = Grants::default();
        for (uid, (uses, provides)) in (10_000..).zip(boxes) {
            let mut party = party(&format!("com.example.a{}", uid - 10_000), &[], &[]);
            for (interface, method) in uses {
                party.uses.entry(format!("com.example.I{interface}")).or_default().push(format!("M{method}"));
            }
            for (interface, apps) in provides {
                let apps = apps.iter().map(|a| format!("com.example.a{a}")).collect();
                party.provides.insert(format!("com.example.I{interface}"), apps);
            }
            grants.add(uid, party);
        }
        grants
    }

    fn boxes() -> impl Strategy<Value = Vec<Sketch>> {
        let uses = proptest::collection::vec((0_u8..3, 0_u8..3), 0..3);
        let provides = proptest::collection::vec((0_u8..3, proptest::collection::vec(0_u8..4, 0..3)), 0..2);
        proptest::collection::vec((uses, provides), 1..5)
    }

    proptest! {
        #[test]
        fn nothing_is_granted_that_both_manifests_do_not_name(boxes in boxes(), complete: bool) {
            let mut grants = sketched(&boxes);
            if complete {
                grants.complete();
            }
            for (key, verdict) in grants.verdicts() {
                let Verdict::Granted(grant) = verdict else { continue };
                let (caller, server) = (grants.party(key.uid).unwrap(), grants.party(grant.server).unwrap());
                prop_assert!(complete);
                prop_assert_eq!(&grant.methods, &caller.uses[&key.interface]);
                prop_assert!(server.provides[&key.interface].contains(&caller.app));
                for method in &grant.methods {
                    let why = grants.why(&caller.app, &key.interface, method);
                    prop_assert!(why.allowed, "{}", why.because);
                }
            }
        }
    }
}
