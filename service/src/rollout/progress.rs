//! How far a device is with a deployment that has several releases, and apps that are to go.

use evidence::reference::version;
use service_api::updates::{Check, Stage};
use std::cmp::Ordering;

/// The subject that no app can be: an app's id has dots.
pub(super) const SYSTEM: &str = "os";

/// What a release is for, an app's id or the system's, and its version, by its target.
pub fn subject(target: &str) -> (&str, &str) {
    let (path, file) = target.rsplit_once('/').unwrap_or(("", target));
    let version = file.strip_suffix(".json").unwrap_or(file);
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["apps", _, app] => (app, version),
        _ => (SYSTEM, version),
    }
}

/// How far a release is, by what the device last said of it and what it runs now.
///
/// What runs and was not said to be on trial is complete: a device that had it before has nothing to say of it. So is what is older
/// than what runs: no device takes it, and none would ever say so.
pub fn standing(check: &Check, target: &str, said: Option<Stage>) -> Option<Stage> {
    match (said, against(check, target)) {
        (Some(Stage::RolledBack), _) => said,
        (_, Some(Ordering::Greater)) => Some(Stage::Complete),
        (Some(Stage::Trial), _) => said,
        (_, Some(Ordering::Equal)) => Some(Stage::Complete),
        // It was complete and is gone: as if it had not begun.
        (Some(Stage::Complete), _) => None,
        _ => said,
    }
}

/// Whether a device runs a release, or a newer one.
pub(super) fn runs(check: &Check, target: &str) -> bool {
    matches!(against(check, target), Some(Ordering::Equal | Ordering::Greater))
}

/// How what runs compares with a release; none if it is an app that the device has not.
fn against(check: &Check, target: &str) -> Option<Ordering> {
    let running = match subject(target) {
        (SYSTEM, _) => Some(check.os.as_str()),
        (app, _) => {
            check.apps.iter().find(|running| running.app.as_str() == app).map(|app| app.version.as_str())
        }
    };
    running.map(|running| version(running).cmp(&version(subject(target).1)))
}

/// How far the removal of an app is: it is done when the device no longer has it, and a device says nothing of it until then.
pub fn removal(check: &Check, app: &str) -> Option<Stage> {
    check.apps.iter().all(|running| running.app.as_str() != app).then_some(Stage::Complete)
}

/// How far all of them are together.
pub fn overall(stages: &[Option<Stage>]) -> Option<Stage> {
    let any = |stage| stages.contains(&Some(stage));
    if any(Stage::RolledBack) {
        return Some(Stage::RolledBack);
    }
    if any(Stage::Failed) {
        return Some(Stage::Failed);
    }
    if stages.iter().all(|stage| *stage == Some(Stage::Complete)) {
        return Some(Stage::Complete);
    }
    stages.iter().flatten().copied().filter(|stage| *stage != Stage::Complete).max()
}
