//! A repository that was carried here: on a disk that was put in, or by a developer.
//!
//! What an attacker controls: all of it. It chooses among what was signed, as the service does, and has no say in anything else:
//! it removes nothing, and opens and closes no windows. Whether disks are taken at all is the owner's word; of
//! developers, that they are let in.

use std::fs::File;

use bus::update_link::Came;
use serde::Deserialize;
use service_api::updates::{APPS_MAX, Answer};
use service_api::{Few, Text};
use tuf::archive::Archive;

/// See the module.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Metadata and targets.
    pub archive: Archive,
    /// How it came.
    pub came: Came,
    releases: Few<Text<256>, APPS_MAX>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    releases: Few<Text<256>, APPS_MAX>,
}

impl Carried {
    /// On this disk, or in this file.
    ///
    /// # Errors
    /// Why it is none, for people.
    pub fn open(disk: File, came: Came) -> Result<Self, String> {
        let archive = Archive::open(disk).map_err(|e| e.to_string())?;
        let list = archive.list().map_err(|e| e.to_string())?;
        let list: List = serde_json::from_slice(&list).map_err(|e| e.to_string())?;
        Ok(Self { archive, came, releases: list.releases })
    }

    /// What it is for, as the service would say it.
    pub fn answer(&self) -> Answer {
        Answer {
            generation: 0,
            order: None,
            repository: Text::default(),
            releases: self.releases.clone(),
            remove: Few::default(),
            windows: Few::default(),
            check_after_s: u32::MAX,
            permit: Text::default(),
        }
    }
}
