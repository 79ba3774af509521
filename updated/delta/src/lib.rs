//! What is downloaded to make a new image out of an old one, or of nothing, and how it is applied.
//!
//! A payload is an [`Index`] and a body. The index is signed for (it is a target of its own); the body is fetched by plain
//! HTTP ranges, verified segment by segment, and may come from anybody. [`Apply`] makes the image of both. A *patch* is for
//! exactly one old image; a *full* payload is for any, and lists its blocks, so that what the old image has is not fetched.
//! [`choose`] takes the one by which the least is.
//!
//! The core has no clock, socket or file. With the feature `make` the same crate makes payloads; devices have it without.

mod apply;
mod bits;
mod blocks;
mod choose;
mod index;
mod lz4;
#[cfg(feature = "make")]
pub mod make;
mod packed;
mod parse;
mod patch;
mod read;
mod reference;
mod tree;
mod varint;

pub use apply::{Apply, Step, Wrong};
pub use blocks::Found;
pub use choose::{Offer, choose};
pub use index::{
    BLOCK, BODY_MAX, Cluster, Digest, IMAGE_MAX, INDEX_MAX, Image, Index, Kind, Refused, SEGMENT_MAX, Segment,
};
pub use read::{ReadAt, Unreadable};

/// What a patch's bytes make of `old` under `index`, whose digest they do not have to fit. For fuzzing: [`Apply`] is how
/// images are made.
pub fn segment(index: &Index, stored: &[u8], length: u32, old: &(impl ReadAt + ?Sized)) -> Option<Vec<u8>> {
    let length = length.min(SEGMENT_MAX) as usize;
    let from = (old, index.old?.length, index.clusters.as_slice());
    patch::code(&mut bits::Reader::new(stored), from, length, &[]).ok()
}
