//! A repository, told on lines.

use std::fmt::Write as _;

use repository::show::Report;

/// Roles, their keys, and targets.
pub(super) fn of(report: &Report) -> String {
    let mut text = String::new();
    for role in &report.roles {
        let published = match (role.published, role.expires) {
            (Some(version), Some(expires)) if role.expired => format!("version {version}, EXPIRED {expires}"),
            (Some(version), Some(expires)) if role.soon => {
                format!("version {version}, until {expires}: TO BE RENEWED")
            }
            (Some(version), Some(expires)) => format!("version {version}, until {expires}"),
            _ => "not published".to_owned(),
        };
        let _ = writeln!(text, "{}: {published}; {} of {} keys", role.role, role.threshold, role.keys.len());
        for key in &role.keys {
            let _ = writeln!(text, "    {key}");
        }
        if let (Some(version), Some(good), Some(needed)) = (role.staged, role.signatures, role.needed) {
            let _ = writeln!(text, "    version {version} waits: {good} of {needed} signatures");
        }
    }
    for target in &report.targets {
        let version = target.custom.as_ref().map_or("", |custom| &custom.version);
        let _ = writeln!(text, "{} {} {} bytes, {version}", target.role, target.path, target.length);
    }
    text
}
