//! Putting the firewall on the cgroup above all boxes, before the first of them starts.
//!
//! What holds: after [`attach_or_find`] every hook has its program, and all of them share the tables it returns. Nothing
//! is pinned: the cgroup holds the programs and the programs their tables, so rules outlive every process of ours, and a
//! `sandboxd` that was restarted finds them again. What it finds must be the programs that it would load, by the kernel's
//! digest of their instructions; anything else is replaced by new ones with empty tables, which allow nothing.

use std::os::fd::{AsFd, BorrowedFd};
use std::{fmt, io};

use sys::bpf::map::Map;
use sys::bpf::program::{NotLoaded, Place, Program, attached};

use crate::maps::{Maps, form};
use crate::program::{Hook, LICENCE, PROGRAMS, TABLES, Table};

/// Why there is no firewall. No box with a network may start then.
#[derive(Debug)]
pub enum AttachError {
    /// A table can't be made.
    Table(Table, io::Error),
    /// A program was not taken.
    Load(Hook, NotLoaded),
    /// A program can't be put there.
    Attach(Hook, io::Error),
    /// The kernel does not say what is there.
    Query(Hook, io::Error),
}

/// The firewall on the cgroup with this directory (`/sys/fs/cgroup/apps`): the one that is there, or a new one with empty
/// tables. Send [`Maps::fds`] to `netd`.
///
/// # Errors
/// The first step that failed. What was there before is then still there, or replaced by programs that allow nothing.
pub fn attach_or_find(cgroup: BorrowedFd<'_>) -> Result<Maps, AttachError> {
    let maps = make_maps()?;
    let mut programs = Vec::new();
    for program in PROGRAMS {
        let tables: Vec<_> =
            program.tables.iter().map(|(at, table)| (*at, maps.table(*table).as_fd())).collect();
        let loaded = Program::load(name(program.hook), place(program.hook), program.code, &tables, LICENCE);
        programs.push((program.hook, loaded.map_err(|e| AttachError::Load(program.hook, e))?));
    }
    if let Some(found) = find(cgroup, &programs, &maps)? {
        return Ok(found);
    }
    for (hook, program) in &programs {
        program.attach(cgroup, place(*hook)).map_err(|e| AttachError::Attach(*hook, e))?;
    }
    Ok(maps)
}

fn make_maps() -> Result<Maps, AttachError> {
    let make = |table| Map::new(table_name(table), form(table)).map_err(|e| AttachError::Table(table, e));
    let [apps, rules, flows, paces, refusals] = TABLES;
    Ok(Maps {
        apps: make(apps)?,
        rules: make(rules)?,
        flows: make(flows)?,
        paces: make(paces)?,
        refusals: make(refusals)?,
    })
}

/// The tables of the programs that are attached, if those are ours at each hook and share one set of tables.
fn find(cgroup: BorrowedFd<'_>, ours: &[(Hook, Program)], new: &Maps) -> Result<Option<Maps>, AttachError> {
    let mut shared: [Option<u32>; TABLES.len()] = [None; TABLES.len()];
    for (hook, program) in ours {
        let query = |e| AttachError::Query(*hook, e);
        let [id] = attached(cgroup, place(*hook)).map_err(query)?[..] else { return Ok(None) };
        let there = Program::by_id(id).and_then(|there| there.about()).map_err(query)?;
        let here = program.about().map_err(query)?;
        if there.tag != here.tag || there.maps.len() != here.maps.len() {
            return Ok(None);
        }
        for table in tables_in_order(*hook) {
            let Some(at) = tables_in_order(*hook).iter().position(|other| *other == table) else { continue };
            let (Some(id), Some(slot)) = (there.maps.get(at), shared.get_mut(table as usize)) else {
                return Ok(None);
            };
            if *slot.get_or_insert(*id) != *id {
                return Ok(None);
            }
        }
    }
    let mut fds = Vec::new();
    for (id, table) in shared.into_iter().zip(TABLES) {
        let Some(id) = id else { return Ok(None) };
        let map = Map::by_id(id).map_err(|e| AttachError::Table(table, e))?;
        if map.form() != new.table(table).form() {
            return Ok(None);
        }
        fds.push(map);
    }
    let Ok([apps, rules, flows, paces, refusals]) = <[Map; TABLES.len()]>::try_from(fds) else {
        return Ok(None);
    };
    Ok(Some(Maps { apps, rules, flows, paces, refusals }))
}

/// The tables of a program as the kernel numbers them: by their first use.
fn tables_in_order(hook: Hook) -> Vec<Table> {
    let mut order = Vec::new();
    for (_, table) in
        PROGRAMS.iter().filter(|program| program.hook == hook).flat_map(|program| program.tables)
    {
        if !order.contains(table) {
            order.push(*table);
        }
    }
    order
}

fn place(hook: Hook) -> Place {
    match hook {
        Hook::Create => Place::Create,
        Hook::Bind4 => Place::Bind4,
        Hook::Bind6 => Place::Bind6,
        Hook::Connect4 => Place::Connect4,
        Hook::Connect6 => Place::Connect6,
        Hook::Sendmsg4 => Place::Sendmsg4,
        Hook::Sendmsg6 => Place::Sendmsg6,
        Hook::Egress => Place::Egress,
        Hook::Ingress => Place::Ingress,
    }
}

/// The names are for people who list the kernel's programs.
fn name(hook: Hook) -> &'static str {
    match hook {
        Hook::Create => "gabion_create",
        Hook::Bind4 => "gabion_bind4",
        Hook::Bind6 => "gabion_bind6",
        Hook::Connect4 => "gabion_connect4",
        Hook::Connect6 => "gabion_connect6",
        Hook::Sendmsg4 => "gabion_sendmsg4",
        Hook::Sendmsg6 => "gabion_sendmsg6",
        Hook::Egress => "gabion_egress",
        Hook::Ingress => "gabion_ingress",
    }
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Apps => "gabion_apps",
        Table::Rules => "gabion_rules",
        Table::Flows => "gabion_flows",
        Table::Paces => "gabion_paces",
        Table::Refusals => "gabion_refusals",
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table, _) => write!(f, "the firewall's table {table:?} can't be made or opened"),
            Self::Load(hook, _) => write!(f, "the firewall's program {hook:?} can't be loaded"),
            Self::Attach(hook, _) => write!(f, "the firewall's program {hook:?} can't be put on the cgroup"),
            Self::Query(hook, _) => {
                write!(f, "the kernel does not say what is at the firewall's hook {hook:?}")
            }
        }
    }
}

impl std::error::Error for AttachError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Table(_, e) | Self::Attach(_, e) | Self::Query(_, e) => Some(e),
            Self::Load(_, e) => Some(e),
        }
    }
}
