//! Whose repository it is: what is kept of it belongs to the root that the image, or the device's owner, gave.
//!
//! An image that was updated brings a newer root of the same repository, and one that went back an older: what is kept stays, or
//! somebody could show the past again. A root that none of those before leads to is another owner's repository: what was kept of
//! the other one is of no use, and begun anew.

use ring::digest::{SHA256, digest};
use tuf::envelope::{Authority, Envelope};
use tuf::metadata::{Role, Root};
use tuf::store::Store;
use tuf::{Client, Limits, hex, name};

use crate::state::State;

/// Where metadata is kept, and which roots were given.
const FOLDER: &str = "tuf";
const GIVEN: &str = "given-roots";
/// Roots that are remembered, and the length of that file, bytes.
const GIVEN_MAX: usize = 16;
const GIVEN_BYTES: u64 = 4096;

/// What is kept of the repository.
///
/// # Errors
/// Why there is none, for people.
pub fn store(state: &State) -> Result<Store, String> {
    let facts = state.facts.borrow();
    let given = facts.trust.as_ref().ok_or("the device has no root of a repository: no update-root.json")?;
    let folder = state.disk.path(FOLDER);
    let failed = |e: std::io::Error| format!("the storage of updates: {e}");
    let store = Store::open(&folder).map_err(failed)?;
    let this = hex::encode(digest(&SHA256, given).as_ref());
    let known = state.disk.read(GIVEN, GIVEN_BYTES).unwrap_or_default();
    let mut known: Vec<String> = String::from_utf8_lossy(&known).lines().map(str::to_owned).collect();
    if !known.contains(&this) {
        let kept = store.read(&name::kept(Role::Root.name()), Limits::default().root).map_err(failed)?;
        if !kept.is_some_and(|kept| leads_to(&kept, given)) {
            store.keep_only(std::iter::empty()).map_err(failed)?;
            known.clear();
        }
        known.truncate(GIVEN_MAX - 1);
        known.push(this);
        state.disk.write(GIVEN, known.join("\n").as_bytes()).map_err(failed)?;
    }
    Client::init(&store, given).map_err(|e| format!("update-root.json: {e}"))?;
    Ok(store)
}

/// Whether the keys of the root that is kept have signed another.
fn leads_to(kept: &[u8], given: &[u8]) -> bool {
    let read = || -> Option<bool> {
        let root: Root = Envelope::read(kept).ok()?.parse().ok()?;
        let authority = Authority::of(&root.keys, root.roles.get(Role::Root.name())?);
        Some(Envelope::read(given).ok()?.signed_by(&authority).is_ok())
    };
    read().unwrap_or(false)
}
