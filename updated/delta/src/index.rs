//! A payload's index: what the new image is, and how each segment of it is come by.
//!
//! It is a target of its own in the signed metadata, so whoever reads one has checked its length and digest; it is read as if
//! nobody had. The body has no structure: the segments' stored bytes, one after the other. Where a segment lies in image and
//! body follows from the lengths before it, so no offset can overflow, overlap or point outside. All numbers are
//! [`crate::varint`]s:
//!
//! ```text
//! "gabdelta" 1
//! new image: length, SHA-256
//! 0, or 1 and the old image: length, SHA-256, count of its clusters, and of each, in order of their place:
//!     blocks between the one before and it, its blocks, bytes of its contents
//! 0, or 1 and the salt (32 bytes) of the hash tree, which is the last segment
//! count of segments, and of each: kind, length, stored length, SHA-256
//! 0, or 1 and of each whole block of the image the first eight bytes of its SHA-256
//! ```

use crate::varint;
use std::fmt;

/// Block size of images, bytes.
pub const BLOCK: u32 = 4096;
/// Longest index that is read, bytes.
pub const INDEX_MAX: usize = 4 << 20;
/// Longest image, bytes: its hash tree is made in a 128th of this.
pub const IMAGE_MAX: u64 = 512 << 20;
/// Longest segment, bytes of the image.
pub const SEGMENT_MAX: u32 = 1 << 20;
/// Most that a segment may have stored, bytes.
pub const BODY_MAX: u32 = SEGMENT_MAX + (64 << 10);
/// Longest cluster, bytes stored; what `mkfs.erofs` makes for us has 256 KiB.
pub(crate) const STORED_MAX: u32 = 256 << 10;
/// Longest contents of a cluster, bytes. What holds more is patched as it is stored.
pub(crate) const LENGTH_MAX: u32 = 1 << 20;
const CLUSTERS_MAX: u64 = 1 << 16;
const MAGIC: &[u8] = b"gabdelta\x01";

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// How a segment is come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Plain,
    /// As a zstd frame.
    Packed,
    /// By [`crate::patch`].
    Patch,
    /// It is the hash tree over all before it, and is made from what was written. Nothing is stored.
    Tree,
}

/// A part of the new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// How it is come by.
    pub kind: Kind,
    /// Bytes of the image.
    pub length: u32,
    /// Bytes of the body.
    pub stored: u32,
    /// Of what it is in the image.
    pub digest: Digest,
}

/// A compressed cluster of the old image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// First byte in the image.
    pub at: u64,
    /// Bytes in the image.
    pub stored: u32,
    /// Bytes of its contents.
    pub length: u32,
    /// Bytes of the contents of all before it.
    pub begins: u64,
}

/// An image: how long, and the digest of all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Bytes.
    pub length: u64,
    /// Of all of them.
    pub digest: Digest,
}

/// A checked index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub(crate) new: Image,
    pub(crate) old: Option<Image>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) salt: Option<Digest>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) blocks: Vec<[u8; 8]>,
    pub(crate) body: u64,
}

/// Why an index is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the index of a payload {}", self.0)
    }
}

impl std::error::Error for Refused {}

const CUT: Refused = Refused("is cut off, or has a number that is none");

impl Index {
    /// Reads and checks one.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > INDEX_MAX {
            return Err(Refused("is longer than one may be"));
        }
        let mut bytes = bytes.strip_prefix(MAGIC).ok_or(Refused("is none, or of another version"))?;
        let input = &mut bytes;
        let new = image(input)?;
        let (old, clusters) = match flag(input)? {
            true => {
                let old = image(input)?;
                (Some(old), clusters(input, old.length)?)
            }
            false => (None, Vec::new()),
        };
        let salt = if flag(input)? { Some(digest(input)?) } else { None };
        let segments = segments(input, new.length, old.is_some(), salt.is_some())?;
        let blocks = if flag(input)? { blocks(input, new.length)? } else { Vec::new() };
        if !input.is_empty() {
            return Err(Refused("goes on after its end"));
        }
        let body = segments.iter().map(|segment| u64::from(segment.stored)).sum();
        Ok(Self { new, old, clusters, salt, segments, blocks, body })
    }

    /// What the new image is.
    pub fn new_image(&self) -> Image {
        self.new
    }

    /// What the old image has to be; none if any will do.
    pub fn old_image(&self) -> Option<Image> {
        self.old
    }

    /// How long the body is, bytes.
    pub fn body_length(&self) -> u64 {
        self.body
    }

    /// The segments, in the order of image and body.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// As it is read.
    pub fn write(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_image(&mut out, self.new);
        varint::put(&mut out, u64::from(self.old.is_some()));
        if let Some(old) = self.old {
            put_image(&mut out, old);
            varint::put(&mut out, self.clusters.len() as u64);
            let mut end = 0;
            for cluster in &self.clusters {
                varint::put(&mut out, (cluster.at - end) / u64::from(BLOCK));
                varint::put(&mut out, u64::from(cluster.stored / BLOCK));
                varint::put(&mut out, u64::from(cluster.length));
                end = cluster.at + u64::from(cluster.stored);
            }
        }
        varint::put(&mut out, u64::from(self.salt.is_some()));
        out.extend_from_slice(self.salt.as_ref().map_or(&[], |salt| salt.as_slice()));
        varint::put(&mut out, self.segments.len() as u64);
        for segment in &self.segments {
            varint::put(&mut out, segment.kind as u64);
            varint::put(&mut out, u64::from(segment.length));
            varint::put(&mut out, u64::from(segment.stored));
            out.extend_from_slice(&segment.digest);
        }
        varint::put(&mut out, u64::from(!self.blocks.is_empty()));
        self.blocks.iter().for_each(|block| out.extend_from_slice(block));
        out
    }
}

fn number(input: &mut &[u8], most: u64) -> Result<u64, Refused> {
    let number = varint::take(input).ok_or(CUT)?;
    if number > most { Err(Refused("has a number that is too great")) } else { Ok(number) }
}

fn flag(input: &mut &[u8]) -> Result<bool, Refused> {
    Ok(number(input, 1)? == 1)
}

fn digest(input: &mut &[u8]) -> Result<Digest, Refused> {
    let (digest, rest) = input.split_first_chunk().ok_or(CUT)?;
    *input = rest;
    Ok(*digest)
}

fn image(input: &mut &[u8]) -> Result<Image, Refused> {
    let length = number(input, IMAGE_MAX)?;
    if length == 0 {
        return Err(Refused("is of an image without a byte"));
    }
    Ok(Image { length, digest: digest(input)? })
}

fn put_image(out: &mut Vec<u8>, image: Image) {
    varint::put(out, image.length);
    out.extend_from_slice(&image.digest);
}

fn clusters(input: &mut &[u8], image: u64) -> Result<Vec<Cluster>, Refused> {
    let count = number(input, CLUSTERS_MAX)?;
    let block = u64::from(BLOCK);
    let (mut clusters, mut end, mut begins) = (Vec::new(), 0, 0);
    for _ in 0..count {
        let at = end + number(input, IMAGE_MAX / block)? * block;
        let blocks = number(input, u64::from(STORED_MAX) / block)?;
        let length = number(input, u64::from(LENGTH_MAX))? as u32;
        end = at + blocks * block;
        if blocks == 0 || length == 0 || end > image {
            return Err(Refused("has a cluster that is empty or outside of the old image"));
        }
        clusters.push(Cluster { at, stored: (end - at) as u32, length, begins });
        begins += u64::from(length);
    }
    Ok(clusters)
}

fn segments(input: &mut &[u8], image: u64, patches: bool, tree: bool) -> Result<Vec<Segment>, Refused> {
    // The shortest that could be told; one by one, so that a great count alone takes no memory.
    let count = number(input, (INDEX_MAX / 35) as u64)?;
    let (mut segments, mut end) = (Vec::new(), 0_u64);
    for at in 0..count {
        let kind = match number(input, 3)? {
            0 => Kind::Plain,
            1 => Kind::Packed,
            2 => Kind::Patch,
            _ => Kind::Tree,
        };
        // A tree is a 127th of the longest image at most, and is not held against the limit of those that are stored.
        let most = if kind == Kind::Tree { IMAGE_MAX / 120 } else { u64::from(SEGMENT_MAX) };
        let length = number(input, most)? as u32;
        let stored = number(input, u64::from(BODY_MAX))? as u32;
        let wrong = match kind {
            Kind::Plain => stored != length,
            Kind::Packed => stored == 0,
            Kind::Patch => !patches || stored == 0,
            Kind::Tree => stored != 0 || at + 1 != count || !tree || !end.is_multiple_of(u64::from(BLOCK)),
        };
        if wrong || length == 0 {
            return Err(Refused("has a segment that cannot be"));
        }
        end += u64::from(length);
        segments.push(Segment { kind, length, stored, digest: digest(input)? });
    }
    let last = segments.last().is_some_and(|segment| segment.kind == Kind::Tree);
    if end != image || last != tree {
        return Err(Refused("has segments that are not its image"));
    }
    Ok(segments)
}

fn blocks(input: &mut &[u8], image: u64) -> Result<Vec<[u8; 8]>, Refused> {
    let count = usize::try_from(image / u64::from(BLOCK)).map_err(|_| CUT)?;
    let (listed, rest) = input.split_at_checked(count * 8).ok_or(CUT)?;
    *input = rest;
    let (blocks, _) = listed.as_chunks();
    if blocks.is_empty() {
        return Err(Refused("lists no blocks"));
    }
    Ok(blocks.to_vec())
}
