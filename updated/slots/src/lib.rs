//! The system disk of a device while it is updated: two slots, a partition table that names them, and the kernel images among
//! which the boot loader chooses.
//!
//! What holds: whenever the power goes, what is on the disk then starts one whole system, the one of before or the one of
//! after. It rests on two things of the disk: a sector is written whole or not at all, and what was flushed stays. Each step
//! is one sector that makes the difference ([`install`]); what leads to it is flushed before, where nobody looks yet.
//!
//! | module | idea |
//! |---|---|
//! | [`disk`] | what is asked of a disk |
//! | [`gpt`] | the partition table and its copy |
//! | [`fault`] | why a disk is not read or written |
//! | [`fat`] | the EFI system partition, written so that no cut is seen on it |
//! | [`kernel`] | names of kernel images, which count attempts |
//! | [`program`] | what is in a kernel image |
//! | [`layout`] | where a board has its partitions, if not by their types |
//! | [`install`] | the steps of an update, in their order |
//!
//! Who has the disk may have written anything to it: what is read is bounded, and refused when it is damaged. It is not
//! decided here whether a system may be installed, and nothing here is secret.

pub mod disk;
pub mod fat;
pub mod fault;
pub mod gpt;
pub mod install;
pub mod kernel;
pub mod layout;
pub mod program;
