//! A target's bytes, checked as they come: never more than its length, and at the end its digests.

use ring::digest::{Context, SHA256, SHA512};

use crate::hex;
use crate::metadata::{Hashes, MetaFile, TargetFile};
use crate::refusal::{Refusal, Why};

/// Digests under way, with what they have to be.
#[derive(Clone)]
struct Digests(Vec<(Context, Vec<u8>)>);

impl Digests {
    /// None if none of the algorithms is known.
    fn new(hashes: &Hashes) -> Option<Self> {
        let known = hashes.iter().filter_map(|(name, digest)| match name.as_str() {
            "sha256" => Some((Context::new(&SHA256), digest)),
            "sha512" => Some((Context::new(&SHA512), digest)),
            _ => None,
        });
        let known: Option<Vec<_>> =
            known.map(|(context, digest)| Some((context, hex::decode(digest)?))).collect();
        known.filter(|known| !known.is_empty()).map(Self)
    }

    fn update(&mut self, bytes: &[u8]) {
        for (context, _) in &mut self.0 {
            context.update(bytes);
        }
    }

    fn hold(self) -> bool {
        self.0.into_iter().all(|(context, expected)| context.finish().as_ref() == expected)
    }
}

/// A target under way.
#[derive(Clone)]
pub struct Check {
    what: String,
    length: u64,
    left: u64,
    digests: Digests,
}

impl Check {
    /// What has to come.
    ///
    /// # Errors
    /// No digest that is known is said.
    pub fn new(what: &str, file: &TargetFile) -> Result<Self, Refusal> {
        let digests = Digests::new(&file.hashes).ok_or_else(|| Refusal::of(what, Why::Digest))?;
        Ok(Self { what: what.to_owned(), length: file.length, left: file.length, digests })
    }

    /// The next bytes.
    ///
    /// # Errors
    /// They are more than there should be.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let left = u64::try_from(bytes.len()).ok().and_then(|taken| self.left.checked_sub(taken));
        self.left = left.ok_or_else(|| Refusal::of(&self.what, Why::Length { most: self.length }))?;
        self.digests.update(bytes);
        Ok(())
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// There are no more.
    ///
    /// # Errors
    /// They are not those that were signed.
    pub fn finish(self) -> Result<(), Refusal> {
        if self.left > 0 {
            return Err(Refusal::of(&self.what, Why::Length { most: self.length }));
        }
        self.digests.hold().then_some(()).ok_or_else(|| Refusal::of(&self.what, Why::Digest))
    }
}

/// Whether `bytes` are what `meta` says of them.
pub(crate) fn fits(bytes: &[u8], meta: &MetaFile) -> Result<(), Why> {
    if let Some(length) = meta.length.filter(|length| u64::try_from(bytes.len()) != Ok(*length)) {
        return Err(Why::Length { most: length });
    }
    let Some(hashes) = &meta.hashes else { return Ok(()) };
    let mut digests = Digests::new(hashes).ok_or(Why::Digest)?;
    digests.update(bytes);
    digests.hold().then_some(()).ok_or(Why::Digest)
}
