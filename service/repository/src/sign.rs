//! Signatures on what is staged, one after the other, on whatever machine.

use tuf::envelope::Authority;
use tuf::metadata::{Role, RoleKeys, Root, Targets};

use crate::document::{Document, signatures, with_signatures};
use crate::error::Error;
use crate::folder::Repository;
use crate::keys::Signer;

/// A role that waits, and for how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The role.
    pub role: String,
    /// The version that waits.
    pub version: u64,
    /// Keys that have signed.
    pub good: usize,
    /// How many have to.
    pub needed: u32,
}

impl Repository {
    /// Signs everything that is staged and that this key may sign, or of it `only` this role.
    ///
    /// # Errors
    /// There is nothing of the kind.
    pub fn sign(&self, signer: &Signer, only: Option<&str>) -> Result<Vec<Waiting>, Error> {
        let mut signed = Vec::new();
        for role in self.staged_roles()?.into_iter().filter(|role| only.is_none_or(|only| only == role)) {
            let authorities = self.authorities(&role)?;
            if !authorities.iter().any(|authority| authority.has(signer.id())) {
                continue;
            }
            let path = self.staged_path(&role);
            let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
            let content = |why: tuf::Why| Error::Content(path.clone(), why.to_string());
            let bytes = with_signatures(&bytes, &[signer]).map_err(content)?;
            self.stage_bytes(&role, &bytes)?;
            signed.extend(self.waiting(&role)?);
        }
        if signed.is_empty() {
            return Err(Error::Asked(format!(
                "nothing that is staged is to be signed by the key {}; `show` says by whom",
                signer.id()
            )));
        }
        Ok(signed)
    }

    /// What is staged, root and targets first.
    pub(crate) fn staged_roles(&self) -> Result<Vec<String>, Error> {
        let mut roles = vec!["root".to_owned(), "targets".to_owned()];
        roles.extend(self.delegated()?);
        roles.retain(|role| self.staged_path(role).exists());
        Ok(roles)
    }

    /// Delegated roles, of the next targets.
    pub(crate) fn delegated(&self) -> Result<Vec<String>, Error> {
        let targets = self.latest_targets("targets")?;
        let roles = targets.delegations.into_iter().flat_map(|delegations| delegations.roles).flatten();
        Ok(roles.map(|role| role.name).collect())
    }

    /// How far the signatures of a staged role are: of those that are needed, the furthest from it.
    pub(crate) fn waiting(&self, role: &str) -> Result<Option<Waiting>, Error> {
        let path = self.staged_path(role);
        let version = match role {
            "root" => self.staged::<Root>(role)?.map(|root| root.value.version),
            _ => self.staged::<Targets>(role)?.map(|targets| targets.value.version),
        };
        let Some(version) = version else { return Ok(None) };
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let mut far: Option<Waiting> = None;
        for authority in self.authorities(role)? {
            let (good, needed) = signatures(&bytes, &authority)
                .map_err(|why| Error::Content(path.clone(), why.to_string()))?;
            let missing =
                |waiting: &Waiting| i64::from(waiting.needed) - i64::try_from(waiting.good).unwrap_or(0);
            let one = Waiting { role: role.to_owned(), version, good, needed };
            far = far.filter(|far| missing(far) >= missing(&one)).or(Some(one));
        }
        Ok(far)
    }

    /// Who has to sign the next version of a role. A root: those of the one before, and its own.
    pub(crate) fn authorities(&self, role: &str) -> Result<Vec<Authority>, Error> {
        let next = self.latest_root()?;
        if role == "root" {
            let before: Option<Document<Root>> = self.published("root")?;
            let before = before.map(|root| authority_of(&root.value, Role::Root));
            return Ok(before.into_iter().chain([authority_of(&next, Role::Root)]).collect());
        }
        if role == "targets" {
            return Ok(vec![authority_of(&next, Role::Targets)]);
        }
        let targets = self.latest_targets("targets")?;
        let found = delegated_authority(&targets, role);
        found.map(|authority| vec![authority]).ok_or_else(|| Error::Asked(format!("there is no role {role}")))
    }
}

pub(crate) fn authority_of(root: &Root, role: Role) -> Authority {
    root.roles.get(role.name()).map(|keys| Authority::of(&root.keys, keys)).unwrap_or_default()
}

pub(crate) fn delegated_authority(targets: &Targets, role: &str) -> Option<Authority> {
    let delegations = targets.delegations.as_ref()?;
    let found = delegations.roles.iter().flatten().find(|there| there.name == role)?;
    let keys = RoleKeys { keyids: found.keyids.clone(), threshold: found.threshold };
    Some(Authority::of(&delegations.keys, &keys))
}
