//! Fetching: small files whole, images segment by segment into their place.
//!
//! What an attacker controls: every byte that comes. A file is bounded by the length that was signed of it and checked by its
//! digest before anybody reads it; of an image nothing is written that is not a whole segment with the digest that the index
//! has, and the index is one of those files.

use std::fmt;
use std::io;
use std::ops::Range;

use delta::{Apply, Found, INDEX_MAX, Index, Offer as Choice, ReadAt, Step, Wrong};
use ring::digest::{SHA256, digest};
use service_api::release::{Blob, Image, Offer};
use tokio::time::{Duration, Instant, sleep};
use tuf::hex;
use tuf::source::{Body, Place as At, Source, SourceError};

use crate::kept::{Disk, Progress};
use crate::place::Place;
use crate::retry::Throttle;

/// Why an image or a file is not there yet.
#[derive(Debug)]
pub enum FetchError {
    /// Nothing came, or not all.
    Source(SourceError),
    /// The server has no such file.
    Missing(String),
    /// It ended early.
    Short,
    /// It is not what was signed.
    Digest(String),
    /// An index is none.
    Index(delta::Refused),
    /// A segment could not be made.
    Segment(Wrong),
    /// No payload is for this device.
    NoOffer,
    /// What an index makes is not the image that the release names.
    OtherImage,
    /// The disk.
    Disk(io::Error),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(SourceError::Io(e)) => write!(f, "the repository can not be reached: {e}"),
            Self::Source(e) => write!(f, "the repository: {e}"),
            Self::Missing(file) => write!(f, "the repository has no {file}"),
            Self::Short => f.write_str("the repository's answer ended early"),
            Self::Digest(file) => write!(f, "{file} is not what was signed"),
            Self::Index(e) => e.fmt(f),
            Self::Segment(e) => e.fmt(f),
            Self::NoOffer => f.write_str("no payload of the release is for this device"),
            Self::OtherImage => f.write_str("the index makes another image than the release names"),
            Self::Disk(e) => write!(f, "the disk: {e}"),
        }
    }
}

impl std::error::Error for FetchError {}

impl From<SourceError> for FetchError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<Wrong> for FetchError {
    fn from(error: Wrong) -> Self {
        Self::Segment(error)
    }
}

/// Where bytes come from, and how fast.
#[derive(Debug)]
pub struct Way<'a, S> {
    /// The repository.
    pub source: &'a mut S,
    /// How fast, by milliseconds since then.
    pub throttle: &'a mut Throttle,
    /// When the throttle began.
    pub began: Instant,
}

impl<S: Source> Way<'_, S> {
    /// Takes note of bytes; gives for how long no more are taken.
    fn took(&mut self, bytes: usize) -> Duration {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.throttle.took(bytes as u64, now_ms))
    }

    /// A blob, whole. What has come of it goes into `bytes`, with which it goes on after a connection was lost; `fetched`
    /// counts.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn blob(
        &mut self,
        blob: &Blob,
        most: u64,
        bytes: &mut Vec<u8>,
        fetched: &mut u64,
    ) -> Result<(), FetchError> {
        let path = blob.path();
        if blob.length > most {
            return Err(FetchError::Digest(path));
        }
        let part = bytes.len() as u64..blob.length;
        if !part.is_empty() {
            let opened = self.source.open_part(At::Target(&path), part).await?;
            let mut body = opened.ok_or_else(|| FetchError::Missing(path.clone()))?;
            while (bytes.len() as u64) < blob.length {
                let Some(chunk) = body.chunk().await? else { return Err(FetchError::Short) };
                *fetched += chunk.len() as u64;
                let left = usize::try_from(blob.length).unwrap_or(usize::MAX).saturating_sub(bytes.len());
                bytes.extend(chunk.iter().take(left));
                let slow = self.took(chunk.len());
                sleep(slow).await;
            }
        }
        if hex::encode(digest(&SHA256, bytes).as_ref()) != blob.sha256.as_str() {
            bytes.clear();
            return Err(FetchError::Digest(path));
        }
        Ok(())
    }
}

/// An image that is being made.
#[derive(Debug)]
pub struct Making {
    /// What it is called in what is kept: the path of its release and its place there.
    name: String,
    image: Image,
    old: Option<delta::Image>,
    /// Patches were of no use.
    whole: bool,
    running: Option<(Offer, Apply)>,
    /// What has come of the index.
    index: Vec<u8>,
    progress: Progress,
}

/// Where an image is made, of what, and how it is kept how far that is.
pub struct Site<'a> {
    /// The image that the device has.
    pub old: Option<&'a Place>,
    /// Where the new one comes.
    pub new: &'a Place,
    /// Where indexes are kept.
    pub disk: &'a Disk,
    /// Brings what is given to the disk.
    pub keep: &'a dyn Fn(&str, &Progress) -> io::Result<()>,
}

impl Making {
    /// Of this image, from the old one if there is one, after what was done already.
    pub fn new(name: String, image: Image, old: Option<delta::Image>, progress: Progress) -> Self {
        Self { name, image, old, whole: false, running: None, index: Vec::new(), progress }
    }

    /// Bytes that were fetched for it.
    pub fn fetched(&self) -> u64 {
        self.progress.fetched
    }

    /// How far it is, bytes of what is to be fetched: less again when what came turned out to be wrong.
    pub fn reached(&self) -> u64 {
        self.running
            .as_ref()
            .map_or(self.index.len() as u64, |(offer, apply)| offer.index.length + apply.reached())
    }

    /// Goes on until the image is there. What was done stays done when this is given up at any time, and begun anew.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn go_on<S: Source>(
        &mut self,
        way: &mut Way<'_, S>,
        site: &Site<'_>,
    ) -> Result<(), FetchError> {
        loop {
            if self.running.is_none() {
                self.running = Some(self.begin(way, site).await?);
                (site.keep)(&self.name, &self.progress).map_err(FetchError::Disk)?;
            }
            let Some((offer, apply)) = &mut self.running else { return Err(FetchError::NoOffer) };
            let mut part = Part { offer, apply, name: &self.name, progress: &mut self.progress };
            let made = match site.old {
                Some(old) => part.segments(way, old, site).await,
                None => part.segments(way, [].as_slice(), site).await,
            };
            let Err(FetchError::Segment(wrong @ (Wrong::Old(_) | Wrong::ReadBack | Wrong::Progress))) = made
            else {
                return made;
            };
            // What is written is of no use: all of it again, and not by a patch if it was the old image.
            self.running = None;
            self.progress.done = 0;
            (site.keep)(&self.name, &self.progress).map_err(FetchError::Disk)?;
            if self.whole || !matches!(wrong, Wrong::Old(_)) {
                return Err(wrong.into());
            }
            self.whole = true;
        }
    }

    async fn begin<S: Source>(
        &mut self,
        way: &mut Way<'_, S>,
        site: &Site<'_>,
    ) -> Result<(Offer, Apply), FetchError> {
        let choices = self.image.offers.iter().map(|offer| Choice {
            old: offer.old.as_ref().and_then(image_of),
            index: offer.index.length,
            body: offer.body.length,
        });
        // An old image that can't be understood is nobody's: its digest is no digest.
        let known = self.old.filter(|_| !self.whole);
        let choices: Vec<Choice> = choices.collect();
        let chosen = delta::choose(&choices, known).and_then(|at| self.image.offers.get(at));
        let offer = chosen.ok_or(FetchError::NoOffer)?.clone();
        let bytes = self.index(way, &offer, site.disk).await?;
        let index = Index::read(&bytes).map_err(FetchError::Index)?;
        if Some(index.new_image()) != image_of(&self.image.content)
            || index.old_image() != offer.old.as_ref().and_then(image_of)
            || index.body_length() != offer.body.length
        {
            return Err(FetchError::OtherImage);
        }
        if self.progress.index != offer.index.sha256.as_str() {
            self.progress.index = offer.index.sha256.as_str().to_owned();
            self.progress.done = 0;
        }
        let done = index.segments().get(..self.progress.done as usize);
        let written: Option<u64> = done.map(|done| done.iter().map(|one| u64::from(one.length)).sum());
        // A place that is shorter than what was written lost it.
        if written.is_none_or(|written| site.new.written() < written) {
            self.progress.done = 0;
        }
        let found = match site.old {
            Some(old) if index.old_image().is_none() => Found::search(&index, old).unwrap_or_default(),
            _ => Found::default(),
        };
        let done = self.progress.done;
        Ok((offer, Apply::new(index, found, done)?))
    }

    /// The index, which is kept until the image is there: it need not be fetched again.
    async fn index<S: Source>(
        &mut self,
        way: &mut Way<'_, S>,
        offer: &Offer,
        disk: &Disk,
    ) -> Result<Vec<u8>, FetchError> {
        let name = format!("index-{}", offer.index.sha256);
        let is_it =
            |bytes: &Vec<u8>| hex::encode(digest(&SHA256, bytes).as_ref()) == offer.index.sha256.as_str();
        if let Some(bytes) = disk.read(&name, offer.index.length.min(INDEX_MAX as u64)).filter(is_it) {
            return Ok(bytes);
        }
        way.blob(&offer.index, INDEX_MAX as u64, &mut self.index, &mut self.progress.fetched).await?;
        let bytes = std::mem::take(&mut self.index);
        // Without room for it, it is fetched again after a restart.
        let _ = disk.write(&name, &bytes);
        Ok(bytes)
    }
}

/// The segments of an image that are left.
struct Part<'a> {
    offer: &'a Offer,
    apply: &'a mut Apply,
    name: &'a str,
    progress: &'a mut Progress,
}

impl Part<'_> {
    async fn segments<S: Source>(
        &mut self,
        way: &mut Way<'_, S>,
        old: &(impl ReadAt + ?Sized),
        site: &Site<'_>,
    ) -> Result<(), FetchError> {
        loop {
            match self.apply.step(old, site.new)? {
                Step::Done => return Ok(()),
                Step::Write { at, bytes } => self.write(at, &bytes, site)?,
                Step::Fetch(range) => self.fetch(way, range, old, site).await?,
            }
        }
    }

    /// A range of the body, whose segments follow one another.
    async fn fetch<S: Source>(
        &mut self,
        way: &mut Way<'_, S>,
        range: Range<u64>,
        old: &(impl ReadAt + ?Sized),
        site: &Site<'_>,
    ) -> Result<(), FetchError> {
        let path = self.offer.body.path();
        let opened = way.source.open_part(At::Target(&path), range.clone()).await?;
        let mut body = opened.ok_or(FetchError::Missing(path))?;
        let mut at = range.start;
        while at < range.end {
            let Some(mut left) = body.chunk().await? else { return Err(FetchError::Short) };
            self.progress.fetched += left.len() as u64;
            let slow = way.took(left.len());
            while !left.is_empty() && at < range.end {
                let taken = self.apply.give(left);
                at += taken as u64;
                left = left.get(taken..).unwrap_or_default();
                // A segment that is whole is written before the next is given.
                match self.apply.step(old, site.new)? {
                    Step::Write { at, bytes } => self.write(at, &bytes, site)?,
                    Step::Fetch(next) if next.start == at => {}
                    Step::Fetch(_) | Step::Done => return Ok(()),
                }
            }
            sleep(slow).await;
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8], site: &Site<'_>) -> Result<(), FetchError> {
        site.new.write_at(at, bytes).map_err(FetchError::Disk)?;
        // What is kept as written is on the disk.
        site.new.sync().map_err(FetchError::Disk)?;
        self.progress.done = self.apply.wrote();
        (site.keep)(self.name, self.progress).map_err(FetchError::Disk)
    }
}

/// What the release says of an image, as `delta` says it.
pub fn image_of(blob: &Blob) -> Option<delta::Image> {
    let digest = hex::decode(blob.sha256.as_str())?.try_into().ok()?;
    Some(delta::Image { length: blob.length, digest })
}
