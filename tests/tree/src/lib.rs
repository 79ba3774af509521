//! What must hold of the source tree itself, as functions over text.
//!
//! Each check takes what it reads as an argument and returns what is wrong, so that its unit tests can show it failing;
//! `tests/` applies the same checks to this tree, and the bench those of `pid1`. Nothing hostile is read here: the tree is ours.
//!
//! Not checked here: what the compiler and clippy check already (`unsafe_code`, lints), and what `deny.toml` says.

pub mod documents;
pub mod graph;
pub mod pid1;
pub mod rust;
pub mod tree;
