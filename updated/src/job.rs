//! One update: what is fetched for it, and where that lies. The system's, or those of apps that belong together.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bus::bulk::{Sealed, seal};
use bus::update_link::{FromUpdated, KERNEL_MAX, MANIFEST_MAX, Package};
use delta::ReadAt as _;
use service_api::Text;
use service_api::release::{DOCUMENT_MAX, Image, Release, Role, What};
use service_api::updates::Stage;
use tokio::time::Instant;
use tuf::source::Source;
use tuf::{Client, Limits, Refusal, Why};

use crate::fetch::{FetchError, Making, Site, Way};
use crate::kept::Progress;
use crate::link::AskError;
use crate::place::Place;
use crate::retry::Retry;
use crate::state::State;
use crate::trust;
use crate::want::Target;

/// What the kernel image that is being made is called on our own storage, before its digest.
pub const KERNEL: &str = "kernel-";
const INDEX: &str = "index-";
/// How often what was fetched may be refused: some half hour. Then it rests until the device starts, or its owner asks for updates.
const REFUSALS_MAX: u32 = 5;

/// Why an update is not ready.
#[derive(Debug)]
pub enum JobError {
    /// The metadata can not be had.
    Unreachable(String),
    /// The metadata is refused, or speaks of no such release.
    Metadata(String),
    /// The release is not one for us.
    Release(String),
    /// What was fetched.
    Fetch(FetchError),
    /// sandboxd.
    Sandboxd(AskError),
    /// Our own storage.
    Storage(io::Error),
}

impl std::fmt::Display for JobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Metadata(why) | Self::Release(why) => f.write_str(why),
            Self::Fetch(e) => e.fmt(f),
            Self::Sandboxd(e) => e.fmt(f),
            Self::Storage(e) => write!(f, "the storage of updates: {e}"),
        }
    }
}

impl JobError {
    /// Whether it would be so on every device, whatever the network.
    pub fn is_of_release(&self) -> bool {
        match self {
            Self::Metadata(_) | Self::Release(_) => true,
            Self::Fetch(error) => {
                matches!(error, FetchError::Index(_) | FetchError::NoOffer | FetchError::OtherImage)
            }
            Self::Unreachable(_) | Self::Sandboxd(_) | Self::Storage(_) => false,
        }
    }
}

impl From<FetchError> for JobError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl From<AskError> for JobError {
    fn from(error: AskError) -> Self {
        Self::Sandboxd(error)
    }
}

/// An image, from where to where.
#[derive(Debug)]
pub struct Part {
    making: Making,
    old: Option<Place>,
    new: Place,
    there: bool,
}

/// What was looked up and opened for an update.
#[derive(Debug)]
pub struct Loaded {
    /// The documents, in the order of the targets.
    pub releases: Vec<Release>,
    /// The manifests of apps, in the same.
    pub manifests: Vec<OwnedFd>,
    parts: Vec<Part>,
}

/// See the module.
#[derive(Debug)]
pub struct Job {
    /// The system, or apps.
    pub os: bool,
    /// What for.
    pub targets: Vec<Target>,
    /// All of it is there.
    pub ready: bool,
    /// Since when.
    pub ready_at: Option<Instant>,
    /// Failures in a row to fetch it.
    pub retry: Retry,
    /// Refusals of what was fetched.
    pub refusals: Retry,
    /// When it is gone on with.
    pub at: Instant,
    /// Whether it was last gone on with by the network, if it was.
    pub by_network: Option<bool>,
    /// Somebody was told that it waits, and until when, seconds since 1970.
    pub announced: Option<u64>,
    /// What was noted last for the service.
    pub told: RefCell<Option<(Stage, Text<256>)>>,
    loaded: Option<Loaded>,
    /// How far it ever was.
    furthest: u64,
}

impl Job {
    /// Begins.
    pub fn new(os: bool, targets: Vec<Target>) -> Self {
        let (retry, refusals, at) = (Retry::default(), Retry::of_refusals(), Instant::now());
        Self {
            os,
            targets,
            ready: false,
            ready_at: None,
            retry,
            refusals,
            at,
            by_network: None,
            announced: None,
            told: RefCell::default(),
            loaded: None,
            furthest: 0,
        }
    }

    /// What was looked up.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// It was refused too often to be tried again.
    pub fn rests(&self) -> bool {
        self.refusals.failures() >= REFUSALS_MAX
    }

    /// Whatever is open is opened anew.
    pub fn forget(&mut self) {
        self.loaded = None;
        self.ready = false;
    }

    /// Whether it is further than it ever was. What is wrong and comes again and again is no progress.
    pub fn went_further(&mut self) -> bool {
        let parts = self.loaded.iter().flat_map(|loaded| &loaded.parts);
        let reached: u64 = parts.map(|part| part.making.reached()).sum();
        let further = reached > self.furthest;
        self.furthest = self.furthest.max(reached);
        further
    }

    /// Goes on until all of it is there. May be given up at any time.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn fetch<S: Source>(
        &mut self,
        state: &Rc<State>,
        way: &mut Way<'_, S>,
    ) -> Result<(), JobError> {
        if self.loaded.is_none() {
            self.loaded = Some(self.load(state, way).await?);
        }
        let Some(loaded) = &mut self.loaded else { return Ok(()) };
        let keep = |name: &str, progress: &Progress| {
            let mut kept = state.kept.borrow_mut();
            kept.images.insert(name.to_owned(), progress.clone());
            state.disk.store(&kept)
        };
        for part in loaded.parts.iter_mut().filter(|part| !part.there) {
            let site = Site { old: part.old.as_ref(), new: &part.new, disk: &state.disk, keep: &keep };
            part.making.go_on(way, &site).await?;
            part.there = true;
        }
        (self.ready, self.ready_at) = (true, Some(Instant::now()));
        Ok(())
    }

    /// Whether what is there is what is signed now: it may have waited for days.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn is_still_signed<S: Source>(
        &self,
        state: &Rc<State>,
        way: &mut Way<'_, S>,
    ) -> Result<bool, JobError> {
        let now = self.documents(state, way).await?;
        Ok(self.loaded.as_ref().is_some_and(|loaded| loaded.releases == now))
    }

    async fn load<S: Source>(&self, state: &Rc<State>, way: &mut Way<'_, S>) -> Result<Loaded, JobError> {
        let releases = self.documents(state, way).await?;
        match (self.os, releases.as_slice()) {
            (true, [release]) => {
                let parts = self.system_parts(state, release).await?;
                Ok(Loaded { releases, manifests: Vec::new(), parts })
            }
            (true, _) => Err(JobError::Release("more than one system".to_owned())),
            (false, _) => self.apps(state, way, releases).await,
        }
    }

    /// The signed documents.
    async fn documents<S: Source>(
        &self,
        state: &Rc<State>,
        way: &mut Way<'_, S>,
    ) -> Result<Vec<Release>, JobError> {
        let store = trust::store(state).map_err(JobError::Metadata)?;
        let now_s = i64::try_from(state.now_s()).unwrap_or(i64::MAX);
        let mut client =
            Client::refresh(store, way.source, now_s, Limits::default()).await.map_err(|e| metadata(&e))?;
        let mut releases = Vec::new();
        for target in &self.targets {
            let found = client.find(way.source, &target.path).await.map_err(|e| metadata(&e))?;
            if found.target.length > DOCUMENT_MAX as u64 {
                return Err(JobError::Release(format!("{}: its document is too long", target.path)));
            }
            let mut bytes = Vec::new();
            Client::download(way.source, &found, &mut bytes).await.map_err(|e| metadata(&e))?;
            let release =
                Release::read(&bytes, &target.path).map_err(|e| JobError::Release(e.to_string()))?;
            let fits = match &release.what {
                What::Os(product) => self.os && product.as_str() == target.of,
                What::App(app) => !self.os && app.as_str() == target.of,
            };
            if !fits {
                return Err(JobError::Release(format!("{} is of something else", target.path)));
            }
            releases.push(release);
        }
        Ok(releases)
    }

    async fn system_parts(&self, state: &Rc<State>, release: &Release) -> Result<Vec<Part>, JobError> {
        let path = self.targets.first().map(|target| target.path.as_str()).unwrap_or_default();
        let (Some(root), Some(kernel)) = (release.image(Role::Root), release.image(Role::Kernel)) else {
            return Err(JobError::Release("a system without its images".to_owned()));
        };
        let split = root.verity.as_ref().and_then(|words| data_bytes(words.as_str(), root.content.length));
        let split =
            split.ok_or_else(|| JobError::Release("its hash tree is not where it says".to_owned()))?;
        let floor = state.facts.borrow().system.as_ref().map_or(0, |system| system.floor);
        if release.floor < floor {
            let why = format!(
                "its floor {} is behind {floor}, which this device does not go back behind",
                release.floor
            );
            return Err(JobError::Release(why));
        }
        if kernel.content.length > KERNEL_MAX {
            return Err(JobError::Release("its kernel image is too long".to_owned()));
        }
        let (_, fds) = state.desk.ask(&FromUpdated::Slot, Vec::new()).await?;
        // Nothing leads to what is there any more, and how far another system was there is how far it is no more.
        state.keep(|kept| {
            kept.armed = None;
            kept.made_in_its_place(path);
        });
        let files: Vec<File> = fds.into_iter().map(File::from).collect();
        let Ok([data, tree, new_data, new_tree]) = <[File; 4]>::try_from(files) else {
            return Err(JobError::Sandboxd(AskError::Refused("sandboxd gave no slot".to_owned())));
        };
        let new = Place::apart(new_data, new_tree, split, root.content.length);
        let mut parts = vec![part(state, path, 0, root, Place::found(data, tree), new)];
        let (_, mut fds) = state.desk.ask(&FromUpdated::Kernel, Vec::new()).await?;
        let old = fds.pop().and_then(|fd| {
            Sealed::open(fd.try_clone().ok()?, KERNEL_MAX).ok().map(|sealed| (fd, sealed.size()))
        });
        let old = old.map(|(fd, size)| Place::file(File::from(fd), size));
        let name = format!("{KERNEL}{}", kernel.content.sha256);
        // There is one system at a time, and one that came to nothing may lie there.
        state.disk.retain(|other| !other.starts_with(KERNEL) || other == name);
        let mut open = File::options();
        let file = open.read(true).write(true).create(true).truncate(false).open(state.disk.path(&name));
        let new = Place::file(file.map_err(JobError::Storage)?, kernel.content.length);
        parts.push(part(state, path, 1, kernel, old, new));
        Ok(parts)
    }

    async fn apps<S: Source>(
        &self,
        state: &Rc<State>,
        way: &mut Way<'_, S>,
        releases: Vec<Release>,
    ) -> Result<Loaded, JobError> {
        let (mut parts, mut manifests) = (Vec::new(), Vec::new());
        for (target, release) in self.targets.iter().zip(&releases) {
            let (Some(image), Some(manifest)) = (release.image(Role::App), &release.manifest) else {
                return Err(JobError::Release("an app without its image or manifest".to_owned()));
            };
            let length = image.content.length;
            let ask = FromUpdated::Incoming(target.of.clone(), target.version.clone(), length);
            let (_, fds) = state.desk.ask(&ask, Vec::new()).await?;
            let mut files = fds.into_iter().map(File::from);
            let Some(new) = files.next() else {
                return Err(JobError::Sandboxd(AskError::Refused("sandboxd gave no file".to_owned())));
            };
            let old = files.next().map(|old| {
                let length = old.size();
                Place::file(old, length)
            });
            parts.push(part(state, &target.path, 0, image, old, Place::file(new, length)));
            let mut bytes = Vec::new();
            way.blob(manifest, MANIFEST_MAX, &mut bytes, &mut 0).await?;
            manifests.push(seal(c"manifest", &bytes).map_err(JobError::Storage)?);
        }
        Ok(Loaded { releases, manifests, parts })
    }
}

impl Loaded {
    /// The kernel image of a system, sealed.
    ///
    /// # Errors
    /// The storage, or memory.
    pub fn kernel(&self) -> io::Result<OwnedFd> {
        let [_, kernel] = self.parts.as_slice() else { return Err(io::ErrorKind::NotFound.into()) };
        kernel.new.sealed(c"kernel")
    }

    /// What is to be installed.
    pub fn packages(&self, targets: &[Target]) -> Vec<Package> {
        let packages = targets.iter().zip(&self.releases).map(|(target, release)| Package {
            id: target.of.clone(),
            version: target.version.clone(),
            verity: verity(release, Role::App),
        });
        packages.collect()
    }
}

/// Where the hash tree of an image is, and what it must be.
pub fn verity(release: &Release, role: Role) -> String {
    let words = release.image(role).and_then(|image| image.verity.as_ref());
    words.map(|words| words.as_str().to_owned()).unwrap_or_default()
}

fn part(state: &State, path: &str, place: u32, image: &Image, old: Option<Place>, new: Place) -> Part {
    let name = format!("{path}#{place}");
    let known =
        old.as_ref().and_then(|old| Some(delta::Image { length: old.size(), digest: old.digest().ok()? }));
    let progress = state.kept.borrow().images.get(&name).cloned().unwrap_or_default();
    Part { making: Making::new(name, image.clone(), known, progress), old, new, there: false }
}

/// How many bytes are in front of the hash tree; none if that can't be.
fn data_bytes(words: &str, length: u64) -> Option<u64> {
    let blocks = words.split_whitespace().find_map(|word| word.strip_prefix("data_blocks="))?;
    let bytes = blocks.parse::<u64>().ok()?.checked_mul(delta::BLOCK.into())?;
    (bytes > 0 && bytes < length).then_some(bytes)
}

fn metadata(error: &tuf::Error) -> JobError {
    let cause = std::error::Error::source(error).map(|cause| match cause.source() {
        Some(deeper) => format!(": {cause}: {deeper}"),
        None => format!(": {cause}"),
    });
    let why = format!("{error}{}", cause.unwrap_or_default());
    match error {
        tuf::Error::Source(_) | tuf::Error::Refused(Refusal { why: Why::Missing, .. }) => {
            JobError::Unreachable(why)
        }
        _ => JobError::Metadata(why),
    }
}

/// Lets go of what lies on our storage for images that nobody makes any more: there is room for some kernel images and no more.
pub fn tidy(state: &State) {
    let kept = state.kept.borrow();
    state.disk.retain(|name| match name.strip_prefix(INDEX) {
        Some(digest) => kept.images.values().any(|progress| progress.index == digest),
        // One there is while a system is made.
        None => !name.starts_with(KERNEL) || kept.images.keys().any(|name| name.starts_with("os/")),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_front_of_a_hash_tree_is_less_than_all() {
        let words = |blocks: &str| format!("data_blocks={blocks} hash_start_block=3 root_hash=00 salt=00");
        assert_eq!(data_bytes(&words("2"), 16_384), Some(8192));
        for blocks in ["0", "4", "5", "x", "18446744073709551615"] {
            assert_eq!(data_bytes(&words(blocks), 16_384), None, "{blocks}");
        }
    }
}
