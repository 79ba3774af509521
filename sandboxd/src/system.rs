//! The system's own boxes: plans compiled when the image was built, in its verified root.
//!
//! Their uids are fixed here, not handed out, so that a device without storage still has its system, and an image
//! update never shifts them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use policy::{Board, Plan};

/// The manifest worker's id.
pub const WORKER: &str = "os.gabion.worker";
/// The bus's router.
pub const ROUTER: &str = "os.gabion.bus";
/// What serves the system's interfaces on the bus and asks sandboxd.
pub const DESK: &str = "os.gabion.apps";
/// What manages the network.
pub const NETD: &str = "os.gabion.net";
/// What has the TPM: the device's identity, and the key of its storage.
pub const ATTESTD: &str = "os.gabion.attest";
/// What renews the system and the apps.
pub const UPDATED: &str = "os.gabion.update";
/// What lets a developer in while there is a permit.
pub const DOOR: &str = "os.gabion.door";
/// The first uid of a box.
pub const FIRST_UID: u32 = 1000;
/// Uids of the system's boxes. Below the apps' ([`crate::registry::FIRST_UID`]), above a distribution's daemons.
const UIDS: [(&str, u32); 9] = [
    (WORKER, 1000),
    ("os.gabion.testagent", 1001),
    (ROUTER, 1002),
    (NETD, 1003),
    (UPDATED, 1004),
    (ATTESTD, 1005),
    (DESK, 1006),
    ("os.gabion.devport", 1007),
    (DOOR, 1008),
];
/// Longest plan file read, bytes.
const PLAN_MAX: u64 = policy::PLAN_MAX as u64;

/// The uid of the system box `id`.
pub fn uid(id: &str) -> Option<u32> {
    UIDS.iter().find(|(known, _)| *known == id).map(|(_, uid)| *uid)
}

/// The system box that has `uid`.
pub fn owner(uid: u32) -> Option<&'static str> {
    UIDS.iter().find(|(_, known)| *known == uid).map(|(id, _)| *id)
}

/// A system box as the image has it.
#[derive(Debug)]
pub struct SystemBox {
    /// Its fixed uid.
    pub uid: u32,
    /// Its root directory.
    pub root: PathBuf,
    /// Its plan.
    pub plan: Plan,
}

/// The ids of the system boxes in `dir`, the worker first.
pub fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(id) = name.to_str().and_then(|n| n.strip_suffix(".plan")) {
            ids.push(id.to_owned());
        }
    }
    ids.sort_by_key(|id| (id != WORKER, id.clone()));
    Ok(ids)
}

/// Reads the plan of `id`. The error is a message for the console.
pub fn load(dir: &Path, id: &str) -> Result<SystemBox, String> {
    let uid = uid(id).ok_or("it has no uid; add one to sandboxd/src/system.rs")?;
    let path = dir.join(format!("{id}.plan"));
    if fs::metadata(&path).map_err(|e| e.to_string())?.len() > PLAN_MAX {
        return Err("its plan is too long".to_owned());
    }
    let bytes = fs::read(&path).map_err(|e| e.to_string())?;
    let plan = Plan::decode_system(&bytes, &Board::default()).map_err(|e| e.to_string())?;
    if plan.id.as_str() != id {
        return Err(format!("its plan is that of {}", plan.id));
    }
    Ok(SystemBox { uid, root: dir.join(id), plan })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_distinct_and_no_apps() {
        let mut uids: Vec<u32> = UIDS.iter().map(|(_, uid)| *uid).collect();
        uids.dedup();
        assert_eq!(uids.len(), UIDS.len());
        assert!(uids.iter().all(|uid| (1000..crate::registry::FIRST_UID).contains(uid)));
        assert_eq!(owner(1000), Some(WORKER));
    }
}
