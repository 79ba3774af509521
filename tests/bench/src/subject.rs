//! The boxes under measurement: built once by `sandboxd`'s library, as on the device.
//!
//! One thing differs from the device: limits of the cgroup are not written ([`Limits::NotEnforced`]), since a
//! developer's machine may have its controllers on cgroup v1. The box is still cloned into its cgroup.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use policy::{Board, Plan};
use sandboxd::builder::{Built, Networks, Place, build_box};
use sandboxd::cgroup::{Group, Limits};
use sandboxd::network;

/// A built box and what it lives in.
pub(crate) struct Subject {
    /// The bundle.
    pub(crate) built: Built,
    /// What it was compiled from.
    pub(crate) plan: Plan,
    /// The app's root directory.
    pub(crate) root: PathBuf,
    /// Its private storage.
    pub(crate) storage: PathBuf,
    /// Its `/run`.
    pub(crate) run: PathBuf,
    group: Group,
}

impl Subject {
    /// Builds the box with number `uid` in `dir`; its program is `program`, alone in its root.
    pub(crate) fn build(dir: &Path, uid: u32, program: &Path) -> Result<Subject> {
        Subject::of(dir, uid, plan()?, &[("app", program)], None)
    }

    /// Builds the box of `plan` with these programs in its `/bin`, and what they have as standard input.
    pub(crate) fn of(
        dir: &Path,
        uid: u32,
        plan: Plan,
        programs: &[(&str, &Path)],
        stdin: Option<OwnedFd>,
    ) -> Result<Subject> {
        let home = dir.join(uid.to_string());
        let [root, storage, run] = ["root", "storage", "run"].map(|name| home.join(name));
        make_root(&root, programs)?;
        fs::create_dir_all(&storage)?;
        chown(&storage, Some(uid), Some(uid))?;
        let parent = cgroup_root()?;
        let name = format!("gabion-bench-{}-{uid}", std::process::id());
        let group = Group::new(&parent, &name);
        let (empty, local) = (network::empty()?, network::local()?);
        let place = Place {
            uid,
            root: &root,
            storage: Some(&storage),
            run: &run,
            cgroup: &group,
            limits: Limits::NotEnforced,
            debug: None,
            devices: &[],
            networks: Networks { empty: empty.as_fd(), device: Some(local.as_fd()) },
        };
        let built = build_box(&plan, &place, stdin).map_err(|e| anyhow!("{e}"))?;
        Ok(Subject { built, plan, root, storage, run, group })
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // An instant after the last process the kernel may still say EBUSY; an empty group left behind harms nobody.
        let _ = self.group.remove();
    }
}

fn make_root(root: &Path, programs: &[(&str, &Path)]) -> Result<()> {
    for name in ["bin", "dev", "proc", "tmp", "data", "run"] {
        fs::create_dir_all(root.join(name))?;
    }
    for (name, program) in programs {
        let copy = root.join("bin").join(name);
        fs::copy(program, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn plan() -> Result<Plan> {
    let text = "[app]\nid = \"org.gabion.bench\"\nversion = \"1.0.0\"\nexec = [\"/bin/app\"]\n\
                [resources]\nstorage = \"1MiB\"\n[lifecycle]\nrestart = \"always\"\n";
    let manifest = policy::check(text, &Board::default()).map_err(|e| anyhow!("{e:?}"))?;
    Ok(policy::compile(&manifest))
}

/// Where this machine has cgroup v2 mounted.
pub(crate) fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|l| l.contains(" - cgroup2 ")).context("no cgroup v2 mounted here")?;
    Ok(line.split(' ').nth(4).context("mountinfo")?.into())
}
