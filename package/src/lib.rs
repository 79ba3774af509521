//! What a package may contain. Pure: descriptions and bytes in, problems out.
//!
//! A package is a tree of files that its author made. The device mounts it read-only, `nosuid` and `nodev`, and runs what
//! is in it; so nothing may be in it that is more than directories, regular files and symbolic links, and no program that
//! asks the kernel for memory that is writable and executable before its first instruction runs (`PR_SET_MDWE` does not
//! cover the stack that `execve` makes, nor segments).
//!
//! | module | what it checks |
//! |---|---|
//! | [`tree`] | one entry after the other: kind, mode, owner, attributes, name; and what they sum up to |
//! | [`elf`] | the bytes of a file, if it is a program or a library |
//! | [`erofs`] | an image: its layout, and through the other two all that is in it |
//! | [`gab`] | a package file: where its image is, and what that hashes to |
//! | `kept` | the word that a store keeps beside an image |
//!
//! Every byte of both comes from somebody who may be hostile. Nothing here follows a link, allocates more than a problem's
//! text, or repairs anything. Deliberately not here: whether the manifest is good (`policy`), and who signed it.

pub mod elf;
pub mod erofs;
pub mod gab;
mod kept;
pub mod read;
pub mod tree;

pub use kept::{CHECKER, KEPT_MAX, kept};
