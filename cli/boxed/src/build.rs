//! From a plan to a box that is ready to be launched, in a directory of its own that goes away with it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use policy::Plan;
use sandboxd::builder::{Built, Networks, Place, build_box};
use sandboxd::cgroup::{Group, Limits};
use sandboxd::devices::Device;
use sandboxd::endpoint::{self, Endpoint, Kept};
use sys::launch::Prepared;

use crate::error::{Context, Error};

/// The box's uid and number: an app's, and nobody's on an ordinary machine.
const UID: u32 = 62_042;

/// Which network the box is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The one that the calling thread is in: as a rule this machine's.
    Machine,
    /// A loopback of its own, with nobody else on it.
    Alone,
}

/// A box, ready to be launched.
pub(crate) struct Boxed {
    pub(crate) prepared: Prepared,
    /// What the program writes: standard output and error.
    pub(crate) output: [OwnedFd; 2],
    /// Its notify socket.
    pub(crate) notify: OwnedFd,
    /// Its sockets on the bus.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Its cgroup.
    pub(crate) group: PathBuf,
    /// Its `/data`.
    pub(crate) data: PathBuf,
    _dir: tempfile::TempDir,
}

impl Boxed {
    /// Builds the box of `plan` around the app's root. Only devices that this machine has are in it. `kept` is its `/data`;
    /// without, it has one that goes away.
    pub(crate) fn new(
        mut plan: Plan,
        root: &Path,
        network: Network,
        kept: Option<&Path>,
    ) -> Result<Self, Error> {
        ready()?;
        let dir = tempfile::tempdir().context("can not make a directory")?;
        let data = kept.map_or_else(|| dir.path().join("data"), Path::to_owned);
        fs::create_dir_all(&data).context("can not make /data")?;
        // The builder follows no link on the way to it.
        let data = fs::canonicalize(data).context("can not make /data")?;
        std::os::unix::fs::chown(&data, Some(UID), Some(UID)).context("can not make /data")?;
        let name = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cgroups = cgroup_root()?;
        let name = format!("gabion{name}");
        // Hosts by name, and UDP, are netd's to hold to the manifest; here they are the machine's.
        if plan.network != policy::Network::None {
            plan.network =
                policy::Network::Device { listen: Vec::new(), connect: Vec::new(), private: Vec::new() };
        }
        let devices: Vec<Device> =
            plan.devices.iter().filter_map(|path| Device::find(path, UID).ok()).collect();
        let there = |path: &str| devices.iter().any(|device| path == format!("/dev/{}", device.name));
        plan.landlock.fs.retain(|rule| !matches!(&rule.path, policy::FsPath::Device(path) if !there(path)));
        let empty = sandboxd::network::empty().context("can not make a network namespace")?;
        let other = match network {
            Network::Machine => fs::File::open("/proc/thread-self/ns/net").map(OwnedFd::from),
            Network::Alone => sandboxd::network::local(),
        };
        let other = other.context("can not open the network namespace")?;
        let place = Place {
            uid: UID,
            root,
            storage: (plan.limits.storage_bytes > 0).then_some(data.as_path()),
            run: &dir.path().join("run"),
            cgroup: &Group::new(&cgroups, &name),
            limits: Limits::NotEnforced,
            debug: None,
            devices: &devices,
            networks: Networks { empty: empty.as_fd(), device: Some(other.as_fd()) },
        };
        let Built { spec, fds, kept } = build_box(&plan, &place, None)?;
        let prepared = Prepared::new(spec, fds).context("can not prepare the launch")?;
        let mut kept = kept.into_iter();
        let (Some(out), Some(err), Some(notify)) = (kept.next(), kept.next(), kept.next()) else {
            return Err(Error::Machine("the box has no log pipes", std::io::ErrorKind::InvalidData.into()));
        };
        let endpoints = kept.filter_map(|fd| match endpoint::identify(fd) {
            Kept::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        });
        let endpoints = endpoints.collect();
        Ok(Self {
            prepared,
            output: [out, err],
            notify,
            endpoints,
            group: cgroups.join(name),
            data,
            _dir: dir,
        })
    }

    /// Holds whatever is in the box's cgroup, or lets it go on. What is cloned into a held group does not begin.
    pub(crate) fn hold(&self, held: bool) -> Result<(), Error> {
        let file = self.group.join("cgroup.freeze");
        fs::write(file, if held { "1" } else { "0" }).context("can not hold the box's cgroup")
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        // Left behind only when a process of the box is still there, which the kernel then says by EBUSY.
        let _ = fs::remove_dir(&self.group);
    }
}

/// Whether boxes can be made here at all.
///
/// # Errors
/// [`Error::NotRoot`], [`Error::NoCgroup`].
pub fn ready() -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    cgroup_root().map(drop)
}

/// The cgroup v2 mount of this machine.
///
/// # Errors
/// [`Error::NoCgroup`].
pub fn cgroup() -> Result<PathBuf, Error> {
    cgroup_root()
}

/// Whether this machine's kernel handles every right that a box's Landlock ruleset names: one is made, and let go of.
///
/// # Errors
/// [`Error::Box`] with what it does not.
pub fn landlock() -> Result<(), Error> {
    let text = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/a\"]\n";
    let manifest = policy::check(text, &policy::Board::default())
        .map_err(|all| Error::Manifest(all.iter().map(ToString::to_string).collect()))?;
    // Nothing of this machine is to be reached by it: it is of an empty directory.
    let mut rules = policy::compile(&manifest).landlock;
    rules.fs.clear();
    let nowhere = tempfile::tempdir().context("can not make a directory")?;
    let root = fs::File::open(nowhere.path()).context("can not open a directory")?;
    sandboxd::rules::ruleset(root.as_fd(), &rules).map(drop).map_err(Error::Box)
}

/// The cgroup v2 mount of this machine.
fn cgroup_root() -> Result<PathBuf, Error> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("can not read the mounts")?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or(Error::NoCgroup)?;
    line.split(' ').nth(4).map(PathBuf::from).ok_or(Error::NoCgroup)
}
