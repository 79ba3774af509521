//! One bootable set: kernel, root image, app store, and the command line that ties them together by their root hashes.

use crate::kernel::{self, Kernel};
use crate::paths::Tree;
use crate::verity::Verified;
use crate::{binaries, pack, root, store};
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use slots::layout::Layout;
use std::fs::File;
use std::path::PathBuf;

/// Whom an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The device's user.
    Production,
    /// Who develops apps: the machine's host is let onto the bus, and may watch it (SECURITY.md says what that gives away).
    Developers,
}

/// What a machine boots.
#[derive(Clone, Debug)]
pub struct Bootable {
    /// The kernel.
    pub kernel: PathBuf,
    /// The system.
    pub root: Verified,
    /// The app store.
    pub apps: Verified,
    /// Whom the root image is for.
    pub audience: Audience,
}

/// Settings of the kernel for the whole device, for its whole life: nobody traces anybody, and no memfd is ever a program.
/// Both stand behind filters that refuse the calls.
pub const SETTINGS: &str = "sysctl.kernel.yama.ptrace_scope=3 sysctl.vm.memfd_noexec=2";

/// The same of a developer's device, where a process may trace what it has started itself, and write to its memory as a debugger
/// does. Whoever is let do so by its filter is a debugger's server (`gabion debug`); every other box's kills the call.
pub const DEVELOPER_SETTINGS: &str =
    "sysctl.kernel.yama.ptrace_scope=1 proc_mem.force_override=ptrace sysctl.vm.memfd_noexec=2";

impl Bootable {
    /// The kernel command line where QEMU starts the kernel and the root is a disk of its own, without what a test may add.
    ///
    /// `panic=-1` restarts at once, which QEMU's `-no-reboot` turns into an end; words of the form `NAME=value` without
    /// a dot are PID 1's environment. `no_timer_check`: the kernel counts timer ticks for a moment to find boards whose
    /// timer is wired wrongly, and panics if there are too few; on a machine that is interpreted, beside others that want
    /// the processor, there are too few now and then.
    /// It is signed with the image, so nobody makes a developer's device of another.
    pub fn command_line(&self) -> String {
        let Layout { disk, .. } = &Layout::default();
        self.words(&self.root.dm_create("root", 0, disk), &Layout::default())
    }

    /// The command line with the device-mapper line `root`, wherever that finds its parts, for a board of this layout.
    pub fn words(&self, root: &str, layout: &Layout) -> String {
        let apps = self.apps.dm_create("apps", 1, &layout.apps);
        let (settings, developer) = match self.audience {
            Audience::Production => (SETTINGS, ""),
            Audience::Developers => (DEVELOPER_SETTINGS, " GABION_DEVELOPER=1"),
        };
        format!(
            "console=ttyS0 loglevel=4 panic=-1 no_timer_check lockdown=confidentiality {settings} dm-mod.create=\"{root};{apps}\" \
             root=/dev/dm-0 rootfstype=erofs ro init=/sbin/init GABION_APPS=/dev/dm-1 GABION_DATA={data}{developer}",
            data = layout.data,
        )
    }
}

/// The system alone: the kernel and the root image of this tree.
pub fn system(tree: &Tree, audience: Audience) -> Result<(Kernel, Verified)> {
    let _lock = lock(tree)?;
    let kernel = kernel::kernel(tree)?;
    let (built, folders, image) = match audience {
        Audience::Production => (binaries::system(tree)?, vec![tree.system()], "root.img"),
        Audience::Developers => {
            (binaries::developer(tree)?, vec![tree.system(), tree.system_developer()], "root-developer.img")
        }
    };
    let boxes = root::system_boxes(&folders, &built)?;
    let root = root::build(tree, &built, &boxes, &tree.image(image))?;
    Ok((kernel, root))
}

/// As [`system`], with programs that can leave out layers of a box (`binaries::weak`). For tests.
pub fn weak_system(tree: &Tree) -> Result<(Kernel, Verified)> {
    let _lock = lock(tree)?;
    let kernel = kernel::kernel(tree)?;
    let built = binaries::weak(tree)?;
    let boxes = root::system_boxes(&[tree.system()], &built)?;
    let root = root::build(tree, &built, &boxes, &tree.image("root-weak.img"))?;
    Ok((kernel, root))
}

/// The shipped demo: the system with the apps of `image/demo`.
pub fn demo(tree: &Tree, audience: Audience) -> Result<Bootable> {
    demo_with(tree, audience, &store::Settings::default())
}

/// The same with these settings.
pub fn demo_with(tree: &Tree, audience: Audience, settings: &store::Settings) -> Result<Bootable> {
    let (kernel, root) = system(tree, audience)?;
    let _lock = lock(tree)?;
    let image = if settings.is_empty() { "apps.img" } else { "apps-settings.img" };
    let apps = store::build(&pack::demo(tree)?, settings, &tree.out().join(image))?;
    Ok(Bootable { kernel: kernel.bzimage, root, apps, audience })
}

/// Several tests may ask for the same images at once; one makes them, the others find them made.
pub fn lock(tree: &Tree) -> Result<Flock<File>> {
    std::fs::create_dir_all(tree.out()).with_context(|| format!("making {}", tree.out().display()))?;
    let file = File::create(tree.out().join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .context("locking the image directory")
}
