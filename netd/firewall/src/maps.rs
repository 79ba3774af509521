//! The tables' descriptors, as they travel from `sandboxd` to `netd`: in the order of [`TABLES`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{fmt, io};

use sys::bpf::map::{Form, Kind, Map};

use crate::program::{TABLES, Table};
use crate::tables::{App, Key, Rule, UID_BYTES};

/// All tables.
#[derive(Debug)]
pub struct Maps {
    /// [`App`] by uid.
    pub apps: Map,
    /// [`Rule`] by [`Key`].
    pub rules: Map,
    /// UDP that is under way, by uid and place.
    pub flows: Map,
    /// How much each app was told of.
    pub paces: Map,
    /// The ring of refusals.
    pub refusals: Map,
}

/// Descriptors that are not the firewall's tables.
#[derive(Debug)]
pub enum MapsError {
    /// It can't be looked at.
    Open(Table, io::Error),
    /// Its form is another.
    Form(Table, Form),
}

/// Size of a key of the table of flows: uid and place.
const SLOT_BYTES: usize = 8;
/// Size of its value.
const FLOW_BYTES: usize = 32;
const TELLER_BYTES: u32 = 8;
const PACE_BYTES: u32 = 16;

impl Maps {
    /// The tables behind these descriptors, each of the form that it must have.
    ///
    /// # Errors
    /// A descriptor of something else.
    pub fn open(fds: [OwnedFd; TABLES.len()]) -> Result<Self, MapsError> {
        let [apps, rules, flows, paces, refusals] = fds;
        Ok(Self {
            apps: open(Table::Apps, apps)?,
            rules: open(Table::Rules, rules)?,
            flows: open(Table::Flows, flows)?,
            paces: open(Table::Paces, paces)?,
            refusals: open(Table::Refusals, refusals)?,
        })
    }

    /// Their descriptors, in the order in which they travel.
    pub fn fds(&self) -> [BorrowedFd<'_>; TABLES.len()] {
        TABLES.map(|table| self.table(table).as_fd())
    }

    /// One of them.
    pub fn table(&self, table: Table) -> &Map {
        match table {
            Table::Apps => &self.apps,
            Table::Rules => &self.rules,
            Table::Flows => &self.flows,
            Table::Paces => &self.paces,
            Table::Refusals => &self.refusals,
        }
    }
}

/// The form of a table. They fill as they are used, but the two that bound what an app makes the kernel keep.
pub(crate) const fn form(table: Table) -> Form {
    match table {
        Table::Apps => hash(UID_BYTES, App::BYTES, 4096),
        Table::Rules => hash(Key::BYTES, Rule::BYTES, 65_536),
        Table::Flows => hash(SLOT_BYTES, FLOW_BYTES, 32_768),
        Table::Paces => Form { kind: Kind::RecentHash, key: TELLER_BYTES, value: PACE_BYTES, entries: 1024 },
        Table::Refusals => Form { kind: Kind::Ring, key: 0, value: 0, entries: 64 * 1024 },
    }
}

const fn hash(key: usize, value: usize, entries: u32) -> Form {
    Form { kind: Kind::Hash, key: key as u32, value: value as u32, entries }
}

fn open(table: Table, fd: OwnedFd) -> Result<Map, MapsError> {
    let map = Map::open(fd).map_err(|e| MapsError::Open(table, e))?;
    if map.form() == form(table) { Ok(map) } else { Err(MapsError::Form(table, map.form())) }
}

impl fmt::Display for MapsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(table, _) => write!(f, "the firewall's table {table:?} can't be looked at"),
            Self::Form(table, form) => write!(f, "the firewall's table {table:?} has another form: {form:?}"),
        }
    }
}

impl std::error::Error for MapsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(_, e) => Some(e),
            Self::Form(..) => None,
        }
    }
}
