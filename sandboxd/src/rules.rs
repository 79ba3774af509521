//! From a plan's Landlock numbers to the kernel's ruleset, made inside the box.
//!
//! "Best effort" is forbidden here: every right a plan names must be one the kernel handles, or the box is
//! refused (`CompatLevel::HardRequirement`). Paths are opened from inside the finished mount namespace, because
//! a rule belongs to an inode as the box sees it.
//!
//! The app's author names the entries at the top of the app's root; each is opened without following it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use policy::{DEBUGGER, FsPath, Landlock};

use crate::problem::{BoxError, Step};

/// Directories of the box's root that are not the app's: mount points.
const NOT_THE_APPS: [&str; 5] = ["dev", "proc", "tmp", "data", "run"];
/// An app's root with more entries at its top is refused: each is a rule, and Landlock bounds nothing itself.
const MAX_TOP: usize = 64;

/// Makes the ruleset of `plan` for the box whose root is `root`.
pub fn ruleset(root: BorrowedFd<'_>, plan: &Landlock) -> Result<OwnedFd, BoxError> {
    let mut created = handled(plan)?;
    for rule in &plan.fs {
        let access = fs_bits(rule.access)?;
        created = match &rule.path {
            FsPath::BoxRoot => allow(created, root, Path::new("."), access)?,
            FsPath::Device(path) => allow(created, root, relative(path), access)?,
            FsPath::Debugger => allow(created, root, relative(DEBUGGER), access)?,
            FsPath::AppRoot => {
                let mut ruleset = created;
                for name in top_of(root)? {
                    ruleset = allow(ruleset, root, Path::new(&name), access)?;
                }
                ruleset
            }
        };
    }
    for (ports, access) in [(&plan.bind_tcp, AccessNet::BindTcp), (&plan.connect_tcp, AccessNet::ConnectTcp)]
    {
        for port in ports {
            created = created.add_rule(NetPort::new(*port, access)).map_err(refused)?;
        }
    }
    let fd: Option<OwnedFd> = created.into();
    fd.ok_or_else(|| BoxError::Landlock("it has none".into()))
}

fn handled(plan: &Landlock) -> Result<RulesetCreated, BoxError> {
    let net = BitFlags::<AccessNet>::from_bits(plan.handled_net).map_err(|_| unknown("network"))?;
    let scope = BitFlags::<Scope>::from_bits(plan.scoped).map_err(|_| unknown("scope"))?;
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(fs_bits(plan.handled_fs)?)
        // The crate takes an empty set for a mistake; of the box that manages the network it is meant.
        .and_then(|r| if net.is_empty() { Ok(r) } else { r.handle_access(net) })
        .and_then(|r| r.scope(scope))
        .and_then(Ruleset::create)
        .map_err(refused)
}

/// Allows `access` below `path`; rights that only make sense for directories are left out for anything else.
fn allow(
    ruleset: RulesetCreated,
    root: BorrowedFd<'_>,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, BoxError> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let place = File::from(openat2(root, path, how).map_err(|e| BoxError::step(Step::Landlock, e))?);
    let kind = place.metadata().map_err(|e| BoxError::step(Step::Landlock, e))?.file_type();
    let access = if kind.is_dir() { access } else { access & AccessFs::from_file(ABI::V6) };
    // A link has no content of its own: what it names has its own rule, or none.
    if kind.is_symlink() || access.is_empty() {
        return Ok(ruleset);
    }
    ruleset.add_rule(PathBeneath::new(place.as_fd(), access)).map_err(refused)
}

fn top_of(root: BorrowedFd<'_>) -> Result<Vec<String>, BoxError> {
    let mut dir = nix::dir::Dir::openat(
        root,
        ".",
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .map_err(|e| BoxError::step(Step::Landlock, e))?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(|e| BoxError::step(Step::Landlock, e))?;
        // A name that is not text gets no rule, so nothing below it can be executed.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name != "." && name != ".." && !NOT_THE_APPS.contains(&name) {
            names.push(name.to_owned());
        }
        if names.len() > MAX_TOP {
            return Err(BoxError::Landlock(format!(
                "more than {MAX_TOP} entries at the top of the app's root"
            )));
        }
    }
    Ok(names)
}

/// A path of the box below its root directory.
fn relative(path: &str) -> &Path {
    Path::new(path.trim_start_matches('/'))
}

fn fs_bits(bits: u64) -> Result<BitFlags<AccessFs>, BoxError> {
    BitFlags::from_bits(bits).map_err(|_| unknown("file system"))
}

fn unknown(family: &str) -> BoxError {
    BoxError::Landlock(format!("a {family} right this build does not know"))
}

fn refused(error: impl std::error::Error) -> BoxError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    BoxError::Landlock(text)
}
