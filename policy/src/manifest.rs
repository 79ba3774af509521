//! The checker: claims to facts, and a manifest that only this file can make.
//!
//! Holding a [`Manifest`] proves that every value was checked and fits under the board's ceiling it was checked
//! against. Holding a [`SystemManifest`] proves besides that somebody called [`check_system`], which is for files of
//! the verified image and for nothing else: it is the only road to a capability.

use crate::board::Board;
use crate::capability;
use crate::claims::*;
use crate::facts::{Facts, Profile, Restart, SystemGrant};
use crate::name::{Argument, EnvName};
use crate::place::{AbsolutePath, Device, DeviceClass};
use crate::problem::{Invalid, Problem};
use crate::read::{Reader, read};
use crate::rules;
use crate::{AppId, Bytes, CpuPercent, Duration, Version};
use std::collections::BTreeMap;
use std::str::FromStr;
use toml::Spanned;

/// Defaults: small, so that an app that needs more says so where its user can read it.
const MEMORY: Bytes = Bytes::mebibytes(16);
const CPU: &str = "20%";
const TASKS: u32 = 16;
const STORAGE: Bytes = Bytes::mebibytes(0);
const TMP: Bytes = Bytes::mebibytes(1);
const OPEN_FILES: u32 = 256;
const STOP_TIMEOUT: Duration = Duration::seconds(5);

/// An app's manifest, checked. Two are equal when they say the same, wherever their lines are.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub(crate) facts: Facts,
    pub(crate) lines: BTreeMap<String, u32>,
}

impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        self.facts == other.facts
    }
}

impl Eq for Manifest {}

impl Manifest {
    /// The app's identity.
    pub fn id(&self) -> &AppId {
        &self.facts.id
    }

    /// The app's version.
    pub fn version(&self) -> Version {
        self.facts.version
    }

    /// Whether the app has names to resolve.
    pub fn resolves(&self) -> bool {
        self.facts.resolves()
    }

    /// Facts that did not come as text, held against the same rules. The key and fault of the first broken one else.
    pub(crate) fn from_facts(facts: Facts, ceiling: &Board, system: bool) -> Result<Self, Invalid> {
        match rules::broken(&facts, ceiling, system).into_iter().next() {
            Some(broken) => Err(Invalid::new(format!("{}: {}", broken.key, broken.message), broken.help)),
            None => Ok(Self { facts, lines: BTreeMap::new() }),
        }
    }
}

/// The manifest of one of the image's own boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemManifest(pub(crate) Manifest);

impl SystemManifest {
    /// The manifest without the proof; compiling *this* grants nothing from `[system]`.
    pub fn manifest(&self) -> &Manifest {
        &self.0
    }
}

/// Checks an app's manifest against the board's ceiling. The text is hostile.
///
/// On failure: everything that is wrong with it, by line, at most [`crate::PROBLEMS_MAX`].
pub fn check(text: &str, ceiling: &Board) -> Result<Manifest, Vec<Problem>> {
    check_as(text, ceiling, false)
}

/// Checks a manifest that is part of the image. `[system]` is allowed, and the id must lie below `os.gabion`.
pub fn check_system(text: &str, ceiling: &Board) -> Result<SystemManifest, Vec<Problem>> {
    check_as(text, ceiling, true).map(SystemManifest)
}

fn check_as(text: &str, ceiling: &Board, system: bool) -> Result<Manifest, Vec<Problem>> {
    let mut reader = Reader::new(text);
    let claimed = read(&mut reader);
    let facts = claimed.and_then(|claimed| Checker { reader: &mut reader }.facts(&claimed));
    if let Some(facts) = &facts {
        for broken in rules::broken(facts, ceiling, system) {
            // What could not be read left a hole behind: its consequences are not further faults.
            if reader.problems.iter().any(|known| known.key.starts_with(&broken.key)) {
                continue;
            }
            reader.fault_of_key(&broken.key, broken.message, broken.help);
        }
    }
    let lines = reader.lines();
    match facts {
        Some(facts) if reader.problems.is_empty() => Ok(Manifest { facts, lines }),
        _ => {
            reader.problems.sort();
            reader.problems.dedup();
            Err(reader.problems)
        }
    }
}

/// Turns claims into facts, value by value, and notes what cannot be.
struct Checker<'r, 't> {
    reader: &'r mut Reader<'t>,
}

impl Checker<'_, '_> {
    /// `None` when something without a default is missing or wrong; other faults leave the default in place, so that
    /// the rules can still look at the rest.
    fn facts(&mut self, claimed: &ClaimedManifest) -> Option<Facts> {
        let ClaimedManifest { app, resources, process, network, lifecycle, .. } = claimed;
        let id = self.required("app.id", "\"com.example.thermostat\"", app.id.as_ref());
        let version = self.required("app.version", "\"1.0.0\"", app.version.as_ref());
        let exec = self.exec(app.exec.as_ref());
        Some(Facts {
            memory: self.optional("resources.memory", resources.memory.as_ref()).unwrap_or(MEMORY),
            cpu: self
                .optional("resources.cpu", resources.cpu.as_ref())
                .or_else(|| CPU.parse::<CpuPercent>().ok())?,
            tasks: self.count("resources.tasks", resources.tasks.as_ref()).unwrap_or(TASKS),
            storage: self.optional("resources.storage", resources.storage.as_ref()).unwrap_or(STORAGE),
            tmp: self.optional("resources.tmp", resources.tmp.as_ref()).unwrap_or(TMP),
            open_files: self
                .count("resources.open_files", resources.open_files.as_ref())
                .unwrap_or(OPEN_FILES),
            profile: self.optional("process.profile", process.profile.as_ref()).unwrap_or(Profile::Default),
            jit: process.jit.as_ref().is_some_and(|jit| *jit.get_ref()),
            sysv_shm: process.sysv_shm.as_ref().is_some_and(|shm| *shm.get_ref()),
            environment: self.environment(&process.environment),
            working_directory: self.directory(process.working_directory.as_ref())?,
            connect: self.list("network.connect", network.connect.as_ref()),
            listen: self.list("network.listen", network.listen.as_ref()),
            private: self.list("network.private", network.private.as_ref()),
            devices: self.devices(&claimed.devices),
            uses: self.table("uses", &claimed.uses),
            provides: self.table("provides", &claimed.provides),
            restart: self
                .optional("lifecycle.restart", lifecycle.restart.as_ref())
                .unwrap_or(Restart::OnFailure),
            watchdog: self.optional("lifecycle.watchdog", lifecycle.watchdog.as_ref()),
            stop_timeout: self
                .optional("lifecycle.stop_timeout", lifecycle.stop_timeout.as_ref())
                .unwrap_or(STOP_TIMEOUT),
            notify: lifecycle.notify.as_ref().is_some_and(|notify| *notify.get_ref()),
            system: self.system(claimed.system.as_ref()),
            id: id?,
            version: version?,
            program: exec.as_ref()?.0.clone(),
            arguments: exec?.1,
        })
    }

    fn parsed<T: FromStr<Err = Invalid>>(&mut self, key: &str, claim: &Spanned<String>) -> Option<T> {
        match claim.get_ref().parse() {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.reader.fault(claim.span(), key, invalid.message, invalid.help);
                None
            }
        }
    }

    fn optional<T: FromStr<Err = Invalid>>(
        &mut self,
        key: &str,
        claim: Option<&Spanned<String>>,
    ) -> Option<T> {
        self.parsed(key, claim?)
    }

    fn required<T: FromStr<Err = Invalid>>(
        &mut self,
        key: &str,
        example: &str,
        claim: Option<&Spanned<String>>,
    ) -> Option<T> {
        if claim.is_none() {
            self.missing(key, example);
        }
        self.optional(key, claim)
    }

    /// Says that a key is missing, unless it is there and its value was already found faulty.
    fn missing(&mut self, key: &str, example: &str) {
        if self.reader.has(key) {
            return;
        }
        let (table, name) = key.split_once('.').unwrap_or(("", key));
        self.reader.fault_of_key(key, "missing", format!("write `{name} = {example}` below [{table}]"));
    }

    fn count(&mut self, key: &str, claim: Option<&Spanned<i64>>) -> Option<u32> {
        let claim = claim?;
        let count = u32::try_from(*claim.get_ref()).ok();
        if count.is_none() {
            self.reader.fault(
                claim.span(),
                key,
                format!("{} is not a count", claim.get_ref()),
                "write a whole number from 1",
            );
        }
        count
    }

    fn exec(&mut self, claim: Option<&Texts>) -> Option<(AbsolutePath, Vec<Argument>)> {
        let Some((program, arguments)) = claim.and_then(|list| list.get_ref().split_first()) else {
            match claim {
                Some(list) => self.reader.fault(
                    list.span(),
                    "app.exec",
                    "names no program",
                    "write [\"/bin/thermostat\"]",
                ),
                None => self.missing("app.exec", "[\"/bin/thermostat\"]"),
            }
            return None;
        };
        let program = self.parsed("app.exec[0]", program);
        let arguments =
            (1..).zip(arguments).map(|(index, claim)| self.parsed(&format!("app.exec[{index}]"), claim));
        let arguments: Option<Vec<Argument>> = arguments.collect();
        Some((program?, arguments?))
    }

    fn directory(&mut self, claim: Option<&Spanned<String>>) -> Option<AbsolutePath> {
        let claimed = self.optional("process.working_directory", claim);
        claimed.or_else(|| "/".parse().ok())
    }

    fn environment(
        &mut self,
        claims: &BTreeMap<Spanned<String>, Spanned<String>>,
    ) -> BTreeMap<EnvName, Argument> {
        let mut environment = BTreeMap::new();
        for (name, value) in claims {
            let key = "process.environment";
            if let (Some(name), Some(value)) = (self.parsed(key, name), self.parsed(key, value)) {
                environment.insert(name, value);
            }
        }
        environment
    }

    fn list<T: FromStr<Err = Invalid>>(&mut self, key: &str, claim: Option<&Texts>) -> Vec<T> {
        let elements = claim.into_iter().flat_map(|list| list.get_ref()).enumerate();
        elements.filter_map(|(index, element)| self.parsed(&format!("{key}[{index}]"), element)).collect()
    }

    fn table<N, T>(&mut self, table: &str, claims: &TextTable) -> BTreeMap<N, Vec<T>>
    where
        N: FromStr<Err = Invalid> + Ord,
        T: FromStr<Err = Invalid>,
    {
        let mut entries = BTreeMap::new();
        for (name, claim) in claims {
            let list = self.list(&format!("{table}.\"{}\"", name.get_ref()), Some(claim));
            if let Some(name) = self.parsed(table, name) {
                entries.insert(name, list);
            }
        }
        entries
    }

    fn devices(&mut self, claimed: &ClaimedDevices) -> Vec<Device> {
        let ClaimedDevices { serial, gpio, i2c, spi, tpm, developer } = claimed;
        let mut devices = Vec::new();
        let lists = [serial, gpio, i2c, spi, tpm, developer];
        for (class, list) in DeviceClass::ALL.into_iter().zip(lists) {
            for claim in list.iter().flat_map(|list| list.get_ref()) {
                match Device::new(class, claim.get_ref()) {
                    Ok(device) => devices.push(device),
                    Err(invalid) => {
                        let key = format!("devices.{}", class.key());
                        self.reader.fault(claim.span(), &key, invalid.message, invalid.help);
                    }
                }
            }
        }
        devices
    }

    fn system(&mut self, claimed: Option<&ClaimedSystem>) -> Option<SystemGrant> {
        let claimed = claimed?;
        let host_pids = claimed.host_pids.as_ref().is_some_and(|claim| *claim.get_ref());
        let on_demand = claimed.on_demand.as_ref().is_some_and(|claim| *claim.get_ref());
        let network = claimed.network.as_ref().is_some_and(|claim| *claim.get_ref());
        let filter = self.optional("system.filter", claimed.filter.as_ref());
        let mut grant = SystemGrant { capabilities: 0, host_pids, network, on_demand, filter };
        for claim in claimed.capabilities.iter().flat_map(|list| list.get_ref()) {
            match capability::number(claim.get_ref()) {
                Ok(number) => grant.capabilities |= 1 << number,
                Err(invalid) => {
                    self.reader.fault(claim.span(), "system.capabilities", invalid.message, invalid.help)
                }
            }
        }
        Some(grant)
    }
}
