//! Publishing: what people signed, and what the service adds, checked as a device would take it.
//!
//! It is done by the code that makes repositories in folders, in a folder that is gone afterwards; what is kept is in the
//! database. So a service has nothing on a disk that another process with the same database has not.

use crate::refusal::{Kind, Refusal};
use crate::store::updates::MetadataFile;
use repository::Repository;
use repository::folder::Periods;
use repository::keys::Signer;
use service_api::publish::SignedRole;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tuf::metadata::{Role, Signed, Targets};
use tuf::{envelope::Envelope, name};

/// What is to be kept.
#[derive(Debug)]
pub struct Made {
    /// New files.
    pub files: Vec<MetadataFile>,
    /// The version of the timestamp before; nought if there was none.
    pub before: u64,
    /// What each of the roles that came says of targets: their SHA-256 and length, by path.
    pub targets: BTreeMap<String, (String, u64)>,
}

impl From<repository::Error> for Refusal {
    fn from(error: repository::Error) -> Self {
        match error {
            repository::Error::Asked(why) => Self::new(Kind::Untrusted, why),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "the repository of updates");
                Self::unavailable("the repository of updates cannot be worked on")
            }
        }
    }
}

/// Makes the next set out of the `known` newest files and the roles that came, of which none may be left out.
///
/// # Errors
/// A role that is no newer, or that its keys have not signed; a set that devices would not take.
pub fn publish(
    known: &[MetadataFile],
    roles: &[SignedRole],
    signers: &[Signer],
    now: i64,
) -> Result<Made, Refusal> {
    let folder = tempfile::tempdir().map_err(|error| disk(&error))?;
    let metadata = folder.path().join("metadata");
    for place in ["metadata", "staged", "targets"] {
        fs::create_dir(folder.path().join(place)).map_err(|error| disk(&error))?;
    }
    let periods = serde_json::to_vec(&Periods::default()).map_err(|error| disk(&error.into()))?;
    fs::write(folder.path().join("repository.json"), periods).map_err(|error| disk(&error))?;
    for file in known {
        fs::write(metadata.join(&file.file), &file.content).map_err(|error| disk(&error))?;
    }
    let mut targets = BTreeMap::new();
    for role in roles {
        let content = role.content.as_slice();
        let newest = known.iter().find(|file| file.role == role.role.as_str()).map_or(0, |file| file.version);
        let version = version_of(role, &mut targets)?;
        let follows = if role.role.as_str() == "root" { version == newest + 1 } else { version > newest };
        if !follows {
            let role = &role.role;
            return Err(Refusal::new(
                Kind::Conflict,
                format!("{role} {version} does not follow {newest}, the newest"),
            ));
        }
        fs::write(folder.path().join("staged").join(name::kept(role.role.as_str())), content)
            .map_err(|error| disk(&error))?;
    }
    let repository = Repository::open(folder.path(), now)?;
    let published = repository.refresh(&signers.iter().collect::<Vec<_>>())?;
    if roles.iter().any(|role| published.roles.iter().all(|(there, _)| there != role.role.as_str())) {
        return Err(Refusal::with_reasons(Kind::Untrusted, published.waiting));
    }
    let before = known.iter().find(|file| file.role == "timestamp").map_or(0, |file| file.version);
    let files = published.roles.into_iter().map(|(role, version)| read(&metadata, role, version));
    Ok(Made { files: files.collect::<Result<_, _>>()?, before, targets })
}

fn read(metadata: &Path, role: String, version: u64) -> Result<MetadataFile, Refusal> {
    let file = name::published(&role, (role != "timestamp").then_some(version));
    let content = fs::read(metadata.join(&file)).map_err(|error| disk(&error))?;
    Ok(MetadataFile { file, role, version, content })
}

/// The version of a role that came, and what it says of targets.
fn version_of(role: &SignedRole, all: &mut BTreeMap<String, (String, u64)>) -> Result<u64, Refusal> {
    let name = role.role.as_str();
    let malformed = |why: &dyn std::fmt::Display| Refusal::new(Kind::Malformed, format!("{name}: {why}"));
    if [Role::Snapshot, Role::Timestamp].iter().any(|ours| ours.name() == name) {
        return Err(malformed(&"this one is the service's"));
    }
    let envelope = Envelope::read(role.content.as_slice()).map_err(|why| malformed(&why))?;
    if name == "root" {
        let root: tuf::metadata::Root = envelope.parse().map_err(|why| malformed(&why))?;
        return Ok(root.version);
    }
    let targets: Targets = envelope.parse().map_err(|why| malformed(&why))?;
    let version = targets.head().version;
    for (path, file) in targets.targets {
        let digest =
            file.hashes.get("sha256").cloned().ok_or_else(|| malformed(&"a target without a SHA-256"))?;
        all.insert(path, (digest, file.length));
    }
    Ok(version)
}

fn disk(error: &std::io::Error) -> Refusal {
    tracing::error!(%error, "a folder to publish updates in");
    Refusal::unavailable("there is no place to publish updates in")
}

#[cfg(test)]
mod tests {
    use super::*;
    use repository::edit::{Beginning, Holders};
    use service_api::Bytes;

    /// A folder of those who sign, their key, and the service's.
    fn begin(folder: &Path, now: i64) -> Result<(Repository, Signer, Signer), repository::Error> {
        let (people, service) = (Signer::make()?.0, Signer::make()?.0);
        let held = |signer: &Signer| Holders { keys: vec![signer.public()], threshold: 1 };
        let begin = Beginning {
            root: held(&people),
            targets: held(&people),
            snapshot: held(&service),
            timestamp: held(&service),
            os: held(&people),
        };
        let made = Repository::init(folder, Periods::default(), &begin, now)?;
        made.sign(&people, None)?;
        Ok((made, people, service))
    }

    fn role(made: &Repository, name: &str) -> Result<SignedRole, Box<dyn std::error::Error>> {
        let content = Bytes::new(made.staged_file(name)?).ok_or("too long")?;
        Ok(SignedRole { role: name.parse()?, content })
    }

    fn refused(refusal: Refusal) -> String {
        format!("{refusal:?}")
    }

    fn versions(made: &Made) -> Vec<(&str, u64)> {
        made.files.iter().map(|file| (file.role.as_str(), file.version)).collect()
    }

    #[test]
    fn day_later_there_is_a_new_timestamp_and_nothing_else() -> Result<(), Box<dyn std::error::Error>> {
        let (folder, now) = (tempfile::tempdir()?, 1_795_000_000);
        let (made, _, service) = begin(folder.path(), now)?;
        let roles = [role(&made, "root")?, role(&made, "targets")?, role(&made, "os")?];
        let signers = [service];
        assert!(publish(&[], &roles[..2], &signers, now).is_err(), "a role that targets names is missing");
        let first = publish(&[], &roles, &signers, now).map_err(refused)?;
        assert_eq!((first.files.len(), first.before), (5, 0));
        let next = publish(&first.files, &[], &signers, now + 86_400).map_err(refused)?;
        assert_eq!((versions(&next), next.before), (vec![("timestamp", 2)], 1));
        // The same root is no newer one; and nobody but root's keys' holders can name others.
        assert!(publish(&first.files, &roles[..1], &signers, now).is_err());
        assert!(publish(&first.files, &[], &[Signer::make()?.0], now).is_err(), "another service's key");
        Ok(())
    }

    #[test]
    fn delegated_role_that_has_expired_holds_nobody_up_and_targets_that_have_do()
    -> Result<(), Box<dyn std::error::Error>> {
        const DAY_S: i64 = 86_400;
        let (folder, now) = (tempfile::tempdir()?, 1_795_000_000);
        let (made, people, service) = begin(folder.path(), now)?;
        let roles = [role(&made, "root")?, role(&made, "targets")?, role(&made, "os")?];
        let signers = [service];
        let mut known = publish(&[], &roles, &signers, now).map_err(refused)?.files;
        // Whoever is to believe one has the one before.
        known.sort_by_key(|file| {
            ["root", "targets"].iter().position(|first| file.role == *first).unwrap_or(2)
        });
        for file in &known {
            made.received(&file.role, (file.role != "timestamp").then_some(file.version), &file.content)?;
        }
        // Targets are signed anew in time, with another role; nobody signs for the system.
        let later = now + 399 * DAY_S;
        let made = Repository::open(folder.path(), later)?;
        made.delegate("apps-one", "apps/one", &Holders { keys: vec![people.public()], threshold: 1 })?;
        made.sign(&people, None)?;
        let roles = [role(&made, "targets")?, role(&made, "apps-one")?];
        let end = now + 400 * DAY_S;
        let next = publish(&known, &roles, &signers, end).map_err(refused)?;
        assert_eq!(versions(&next), [("targets", 2), ("apps-one", 1), ("snapshot", 2), ("timestamp", 2)]);
        let snapshot = next.files.iter().find(|file| file.role == "snapshot").ok_or("a snapshot")?;
        let snapshot: tuf::metadata::Snapshot = Envelope::read(&snapshot.content)?.parse()?;
        assert_eq!(snapshot.meta.get("os.json").map(|os| os.version), Some(1), "it is named as it was");
        known.retain(|file| ["root", "os"].contains(&file.role.as_str()));
        known.extend(next.files);
        let refreshed = publish(&known, &[], &signers, end + DAY_S).map_err(refused)?;
        assert_eq!(versions(&refreshed), [("timestamp", 3)]);
        // One that comes and has expired already is not taken.
        made.renew("os")?;
        made.sign(&people, None)?;
        let late = later + 401 * DAY_S;
        assert!(publish(&known, &[role(&made, "os")?], &signers, late).is_err(), "a role after its time");
        assert!(publish(&known, &[], &signers, late).is_err(), "targets after their time");
        Ok(())
    }
}
