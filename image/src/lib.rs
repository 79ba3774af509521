//! Makes Gabion's images and boots them: a tool of the developer's machine, never on the device.
//!
//! | module | idea |
//! |---|---|
//! | [`paths`] | where the tree, its outputs and the caches are |
//! | [`command`] | run another program, and say what it said when it failed |
//! | [`stamp`] | skip what has not changed, by content |
//! | [`stage`] | lay out directories with normal modes; refuse setuid and device nodes |
//! | [`kernel`] | the kernel, by `image/kernel/build.sh` |
//! | [`binaries`] | the device's own programs, static and reproducible |
//! | [`erofs`], [`verity`], [`template`] | file systems and their hash trees |
//! | [`root`], [`store`], [`assemble`] | the root image, the app store, and both with the kernel as one bootable set |
//! | [`debian`], [`closure`], [`recipe`], [`pack`] | an app's root made of Debian packages |
//! | [`check`] | what no package may have in it |
//! | [`chain`] | what a board's firmware starts: keys, signed kernel image, the system's disk, the firmware itself |
//! | [`payload`] | what devices download to make a new image |
//! | [`qemu`], [`qmp`], [`board`], [`swtpm`], [`run`] | the machine |
//! | [`reproducible`], [`size`] | what the README promises about the images, shown |
//!
//! Input is the tree itself and Debian's signed packages: nothing here defends against the person who runs it.

pub mod assemble;
pub mod binaries;
pub mod board;
pub mod chain;
pub mod check;
pub mod closure;
pub mod command;
pub mod debian;
pub mod erofs;
pub mod kernel;
mod layout;
pub mod pack;
pub mod paths;
pub mod payload;
pub mod qemu;
pub mod qmp;
pub mod recipe;
pub mod reproducible;
pub mod root;
pub mod run;
pub mod size;
pub mod stage;
pub mod stamp;
pub mod store;
pub mod surface;
pub mod swtpm;
pub mod template;
pub mod verity;

/// Says what is going on, on the error stream: the standard output belongs to results and the device's console.
pub fn say(part: &str, message: impl std::fmt::Display) {
    eprintln!("{part}: {message}");
}
