//! Makes Gabion's images and boots them: a tool of the developer's machine, never on the device.
//!
//! | module | idea |
//! |---|---|
//! | [`paths`] | where the tree, its outputs and the caches are |
//! | [`kernel`] | the kernel, by `image/kernel/build.sh` |
//! | [`binaries`] | the device's own programs, static and reproducible |
//! | [`template`] | the file system that `/data` begins as |
//! | [`root`], [`store`], [`assemble`] | the root image, the app store, and both with the kernel as one bootable set |
//! | [`pack`] | this tree's apps |
//! | [`chain`] | what a board's firmware starts: keys, signed kernel image, the system's disk, the firmware itself |
//! | [`payload`] | what devices download to make a new image |
//! | [`qemu`], `acceleration`, [`qmp`], [`board`], [`swtpm`], [`run`] | the machine |
//! | [`reproducible`], [`size`] | what the README promises about the images, shown |
//!
//! Directories, file systems, hash trees and Debian's packages are `packing`'s.
//!
//! Input is the tree itself and Debian's signed packages: nothing here defends against the person who runs it.

mod acceleration;
pub mod assemble;
pub mod binaries;
pub mod board;
pub mod chain;
pub mod kernel;
mod layout;
pub mod pack;
pub mod paths;
pub mod payload;
pub mod qemu;
pub mod qmp;
pub mod reproducible;
pub mod root;
pub mod run;
pub mod size;
pub mod store;
pub mod surface;
pub mod swtpm;
pub mod template;

pub use packing::{check, command, debian, erofs, say, stage, stamp, verity};
