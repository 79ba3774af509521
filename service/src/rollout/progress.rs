//! How far a device is with a deployment that has several releases.

use service_api::updates::{Check, Stage};

/// The subject that no app can be: an app's id has dots.
const SYSTEM: &str = "os";

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
/// What runs and was not said to be on trial is complete: a device that had it before has nothing to say of it.
pub fn standing(check: &Check, target: &str, said: Option<Stage>) -> Option<Stage> {
    let runs = match subject(target) {
        (SYSTEM, version) => check.os.as_str() == version,
        (app, version) => check
            .apps
            .iter()
            .any(|running| running.app.as_str() == app && running.version.as_str() == version),
    };
    match said {
        Some(Stage::Trial | Stage::RolledBack) => said,
        _ if runs => Some(Stage::Complete),
        // It was complete and is gone: as if it had not begun.
        Some(Stage::Complete) => None,
        _ => said,
    }
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
