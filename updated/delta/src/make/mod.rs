//! Making payloads, on the machine that makes releases.
//!
//! The same images give the same bytes. Each segment is made in every way that may do, decoded by the code that devices have, and
//! the shortest that came out right is kept: a payload that was made can be applied. A cluster that is not put together to the
//! same bytes by [`crate::lz4`], or holds too much, is patched as the bytes it is.
//!
//! Memory is some twelve times the old image and its contents; time that of sorting their suffixes.

mod differ;
mod erofs;
mod tried;

pub use tried::Untried;

use crate::bits::{Reader, Writer};
use crate::blocks;
use crate::index::{
    BLOCK, Cluster, Digest, IMAGE_MAX, Image, Index, Kind, LENGTH_MAX, SEGMENT_MAX, STORED_MAX, Segment,
};
use crate::lz4::{self, Closing, Match};
use crate::patch::{self, PARTS_MAX, Part, Piece};
use crate::{packed, tree};
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::fmt;

/// Segments of full payloads, bytes: what is fetched when one block of it is missing, and what zstd has to work with.
const FULL: u32 = 128 << 10;
/// Slow, and on this machine alone.
const LEVEL: i32 = 19;
/// `struct verity_sb`'s beginning.
const VERITY: &[u8] = b"verity\0\0";

/// Why no payload was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmade {
    /// The image is empty, or longer than one may be.
    Length,
    /// The index would be longer than one may be.
    Index,
    /// A segment could not be packed.
    Packing,
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "an image is empty, or longer than {IMAGE_MAX} bytes"),
            Self::Index => f.write_str("the image has more segments than an index may tell"),
            Self::Packing => f.write_str("a segment could not be packed"),
        }
    }
}

impl std::error::Error for Unmade {}

/// A payload: the two files of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The index, which is signed for.
    pub index: Vec<u8>,
    /// The body, which any web server may have.
    pub body: Vec<u8>,
}

impl Payload {
    /// Bytes of both.
    pub fn length(&self) -> u64 {
        (self.index.len() + self.body.len()) as u64
    }
}

/// What is told of the work: how much of how much, and of what.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// A payload for any old image, or none.
///
/// # Errors
/// The image is too long.
pub fn full(new: &[u8], progress: Progress<'_>) -> Result<Payload, Unmade> {
    let data = stored_length(new);
    let mut index = begin(new, None)?;
    let mut body = Vec::new();
    let mut at = 0;
    for bytes in new.get(..data).unwrap_or(new).chunks(FULL as usize) {
        let segment = shortest(bytes, pack(bytes)?, None);
        add(&mut index, &mut body, bytes, segment);
        at += bytes.len() as u64;
        progress("packing", at, new.len() as u64);
    }
    // The tree's blocks are listed nowhere: they are made.
    let blocks = new.chunks_exact(BLOCK as usize).map(blocks::key);
    index.blocks = blocks.collect();
    finish(index, body, new, data)
}

/// A payload for exactly `old`.
///
/// # Errors
/// An image is too long.
pub fn patch(old: &[u8], new: &[u8], progress: Progress<'_>) -> Result<Payload, Unmade> {
    let data = stored_length(new);
    let mut index = begin(new, Some(old))?;
    progress("reading the old image", 0, 1);
    let opened = open_all(old);
    let mut begins = 0;
    let mut kept = HashMap::new();
    let mut whole = old.to_vec();
    for cluster in &opened {
        let (stored, length) = (cluster.stored.len() as u32, cluster.raw.len() as u32);
        index.clusters.push(Cluster { at: cluster.at, stored, length, begins });
        kept.insert(cluster.stored, cluster.at);
        whole.extend_from_slice(&cluster.raw);
        begins += u64::from(length);
    }
    let pieces = pieces(new.get(..data).unwrap_or(new), &kept, &whole, progress);
    let mut body = Vec::new();
    let mut at = 0_usize;
    let mut pieces = pieces.into_iter().peekable();
    while pieces.peek().is_some() {
        let mut group = Vec::new();
        let mut length = 0;
        while let Some(piece) = pieces.next_if(|piece| length + size(piece) <= SEGMENT_MAX as usize) {
            length += size(&piece);
            group.push(piece);
        }
        let bytes = new.get(at..at + length).unwrap_or_default();
        let segment = shortest(bytes, pack(bytes)?, told(old, &index, bytes, &group));
        add(&mut index, &mut body, bytes, segment);
        at += length;
        progress("writing segments", at as u64, new.len() as u64);
    }
    finish(index, body, new, data)
}

fn image(bytes: &[u8]) -> Result<Image, Unmade> {
    let length = bytes.len() as u64;
    if length == 0 || length > IMAGE_MAX {
        return Err(Unmade::Length);
    }
    Ok(Image { length, digest: sha256(bytes) })
}

fn begin(new: &[u8], old: Option<&[u8]>) -> Result<Index, Unmade> {
    let old = old.map(image).transpose()?;
    let (clusters, segments, blocks) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Index { new: image(new)?, old, clusters, salt: None, segments, blocks, body: 0 })
}

fn finish(mut index: Index, body: Vec<u8>, new: &[u8], data: usize) -> Result<Payload, Unmade> {
    if let Some(tree) = new.get(data..).filter(|tree| !tree.is_empty()) {
        index.salt = salt(new, data);
        let (length, digest) = (tree.len() as u32, sha256(tree));
        index.segments.push(Segment { kind: Kind::Tree, length, stored: 0, digest });
    }
    index.body = body.len() as u64;
    let written = index.write();
    if Index::read(&written).as_ref() != Ok(&index) {
        return Err(Unmade::Index);
    }
    Ok(Payload { index: written, body })
}

fn add(index: &mut Index, body: &mut Vec<u8>, bytes: &[u8], (kind, stored): (Kind, Vec<u8>)) {
    let (length, digest) = (bytes.len() as u32, sha256(bytes));
    index.segments.push(Segment { kind, length, stored: stored.len() as u32, digest });
    body.extend_from_slice(&stored);
}

fn shortest(bytes: &[u8], packed: Option<Vec<u8>>, told: Option<Vec<u8>>) -> (Kind, Vec<u8>) {
    let ways = [(Kind::Patch, told), (Kind::Packed, packed), (Kind::Plain, Some(bytes.to_vec()))];
    let made = ways.into_iter().filter_map(|(kind, stored)| Some((kind, stored?)));
    made.min_by_key(|(_, stored)| stored.len()).unwrap_or((Kind::Plain, bytes.to_vec()))
}

fn pack(bytes: &[u8]) -> Result<Option<Vec<u8>>, Unmade> {
    let packed = zstd::bulk::compress(bytes, LEVEL).map_err(|_| Unmade::Packing)?;
    Ok((packed::open(&packed, bytes.len()).as_deref() == Some(bytes)).then_some(packed))
}

/// `pieces` as a patch, if it can be told so and comes out right.
fn told(old: &[u8], index: &Index, bytes: &[u8], pieces: &[Piece]) -> Option<Vec<u8>> {
    let from = (old, old.len() as u64, index.clusters.as_slice());
    let mut writer = Writer::new();
    patch::code(&mut writer, from, bytes.len(), pieces).ok()?;
    let mut stored = writer.finish();
    if stored.is_empty() {
        // A segment that is fetched has something to fetch.
        stored.push(0);
    }
    let again = patch::code(&mut Reader::new(&stored), from, bytes.len(), &[]);
    (again.as_deref() == Ok(bytes)).then_some(stored)
}

struct Opened<'a> {
    at: u64,
    stored: &'a [u8],
    raw: Vec<u8>,
    matches: Vec<Match>,
}

/// The clusters of an image that can be taken apart and put together again.
fn open_all(image: &[u8]) -> Vec<Opened<'_>> {
    let places = erofs::clusters(image).map(|(_, places)| places).unwrap_or_default();
    let mut end = 0;
    let mut opened = Vec::new();
    for (at, length, contents) in places {
        if at < end || length > u64::from(STORED_MAX) || contents == 0 || contents > u64::from(LENGTH_MAX) {
            continue;
        }
        let stored = image.get(at as usize..(at + length) as usize);
        let Some((stored, found)) =
            stored.and_then(|stored| Some((stored, lz4::open(stored, contents as usize)?)))
        else {
            continue;
        };
        let mut closing = Closing::new(&found.raw, stored.len());
        let mut again = Vec::new();
        let closed = found.matches.iter().try_for_each(|next| closing.push(*next));
        if closed.and_then(|()| closing.finish(stored.len(), &mut again)).is_some() && again == stored {
            end = at + length;
            opened.push(Opened { at, stored, raw: found.raw, matches: found.matches });
        }
    }
    opened
}

/// Bytes of the image that a piece is.
fn size(piece: &Piece) -> usize {
    piece.stored.as_ref().map_or(piece.raw.len(), |(stored, _)| *stored as usize)
}

/// Cuts `new` into pieces and finds what of them is in `whole`, the old image with its clusters' contents behind it; `kept`
/// says where whole clusters of the old image are.
fn pieces(new: &[u8], kept: &HashMap<&[u8], u64>, whole: &[u8], progress: Progress<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for cluster in open_all(new) {
        plain(&mut pieces, new.get(at..cluster.at as usize).unwrap_or_default());
        at = cluster.at as usize + cluster.stored.len();
        pieces.push(match kept.get(cluster.stored) {
            Some(from) => {
                let parts = vec![Part { from: *from, old: cluster.stored.len() as u32, new: 0 }];
                Piece { raw: cluster.stored.to_vec(), parts, stored: None }
            }
            None => {
                let stored = Some((cluster.stored.len() as u32, cluster.matches));
                Piece { raw: cluster.raw, parts: Vec::new(), stored }
            }
        });
    }
    plain(&mut pieces, new.get(at..).unwrap_or_default());
    progress("sorting the old image", 0, 1);
    let sorted = differ::Sorted::new(whole);
    let untold: Vec<u8> = pieces
        .iter()
        .filter(|piece| piece.parts.is_empty())
        .flat_map(|piece| piece.raw.iter().copied())
        .collect();
    progress("comparing", 0, 1);
    let mut parts = differ::parts(&sorted, &untold).into_iter();
    let mut part = Part::default();
    for piece in pieces.iter_mut().filter(|piece| piece.parts.is_empty()) {
        let mut left = piece.raw.len() as u32;
        while left > 0 {
            while part.old + part.new == 0 {
                let Some(next) = parts.next() else { break };
                part = next;
            }
            let old = part.old.min(left);
            let new = if part.old > left { 0 } else { part.new.min(left - old) };
            if old + new == 0 {
                break;
            }
            piece.parts.push(Part { from: part.from, old, new });
            part = Part { from: part.from + u64::from(old), old: part.old - old, new: part.new - new };
            left -= old + new;
        }
        if left > 0 || piece.parts.len() > PARTS_MAX {
            piece.parts = vec![Part { from: 0, old: 0, new: piece.raw.len() as u32 }];
        }
    }
    pieces
}

fn plain(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    let whole = bytes.chunks(SEGMENT_MAX as usize / 4);
    pieces.extend(whole.map(|raw| Piece { raw: raw.to_vec(), parts: Vec::new(), stored: None }));
}

/// How much of an image is told: all but its hash tree, if that is the one its superblock says.
fn stored_length(image: &[u8]) -> usize {
    let Some(length) = erofs::clusters(image).and_then(|(length, _)| usize::try_from(length).ok()) else {
        return image.len();
    };
    let data = length + BLOCK as usize;
    let made = salt(image, data).and_then(|salt| tree::over(image, data as u64, &salt).ok());
    match (made, image.get(data..)) {
        (Some(made), Some(tree)) if made == tree => data,
        _ => image.len(),
    }
}

/// The salt in the superblock that ends at `data`, of a tree as we make them.
fn salt(image: &[u8], data: usize) -> Option<Digest> {
    let superblock = image.get(data.checked_sub(BLOCK as usize)?..data)?;
    let field = |at: usize, length: usize| superblock.get(at..at + length);
    let ours = superblock.starts_with(VERITY)
        && field(32, 7)? == b"sha256\0"
        && field(64, 8)? == [0, 16, 0, 0, 0, 16, 0, 0]
        && field(80, 2)? == [32, 0];
    ours.then(|| field(88, 32)?.try_into().ok()).flatten()
}

fn sha256(bytes: &[u8]) -> Digest {
    digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default()
}
