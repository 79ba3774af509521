//! The weak build, for tests alone (see `sys::weak`): which layers a box is to lack, and leaving out those of ours.
//!
//! A file `weak` in an app's directory in the store names them. It is read by a test's build alone, which says so on the
//! console; in any other it is a file like others.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::unistd::{Gid, Uid, chown};
use sys::weak::{MARK, Missing};

use crate::builder::Place;
use crate::cgroup::Limits;
use crate::console::say;
use crate::problem::{BoxError, Step};

/// The layers that the app in the store's directory `app` is to lack.
pub fn missing(app: &Path) -> Result<Missing, BoxError> {
    let text = match fs::read_to_string(app.join("weak")) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Missing::default()),
        Err(e) => return Err(BoxError::step(Step::Root, e)),
    };
    say(format_args!("{MARK}: {} lacks {}", app.display(), text.trim()));
    Missing::parse(&text)
        .ok_or_else(|| BoxError::step(Step::Root, io::Error::other("not the name of a layer")))
}

/// Takes from the box's surroundings what its missing layers would be: its limits, its quota, its owner.
pub fn weakened(mut place: Place<'_>) -> Result<Place<'_>, BoxError> {
    if place.missing.has("cgroup") {
        place.limits = Limits::NotEnforced;
    }
    if let Some(storage) = place.storage {
        let open = || -> io::Result<()> {
            if place.missing.has("quota") {
                // 0 is no limit.
                sys::quota::set_limit(fs::File::open(storage)?.as_fd(), place.uid, 0, 0)?;
            }
            if place.missing.has("uid") {
                chown(storage, Some(Uid::from_raw(0)), Some(Gid::from_raw(0)))?;
            }
            Ok(())
        };
        open().map_err(|e| BoxError::step(Step::Quota, e))?;
    }
    Ok(place)
}
