//! Reading manifests and images in a box: the queue of what is to be read, and the messages to the worker that reads it.
//!
//! An app's author wrote the manifest and the image, so both are read in a process that may do nothing, and what it answers
//! is not believed further than it must be: a plan is decoded and checked again here, a text is escaped; that an image is
//! good can only be believed, by whoever would otherwise mount it unread. One thing is read at a time; a manifest that kills
//! the worker three times is given up, an image at the first, and the next has its turn.
//!
//! ```text
//! to the worker    u32 number (little-endian), u8 0, manifest text (at most 64 KiB)
//!                  u32 number, u8 1, u64 length of the image; with its descriptor
//!                  u32 number, u8 2, u64 length of the package file; with its descriptor. [u8; 64] behind it: the key on P-256
//!                              that must have signed it
//! from the worker  u32 number, u8 0 = encoded plan follows | 1 = text for people follows | 2 = the image is good
//!                              | 3 = what is in the package file follows
//! ```
//! The number pairs them: an answer to a question asked before a crash is recognised and dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use package::elf::Machine;
use package::read::{ReadAt, Unreadable};

use crate::offered::{Offered, hex};
use crate::signed::{self, Key};

/// Longest message either way.
pub const MESSAGE_MAX: usize = 160 * 1024;
/// Crashes or silences over one manifest after which it is given up.
const ATTEMPTS: u32 = 3;
/// Longest time for one manifest, milliseconds. Real ones take a few.
const PATIENCE_MS: u64 = 5000;

/// Longest time for one image. 10 MB take half a second on a small board; a hostile image can make the checker decompress
/// what a package may have at most, for which nobody waits.
const IMAGE_PATIENCE_MS: u64 = 30_000;

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A manifest.
    Manifest,
    /// An image.
    Image,
    /// A package file, for where its parts lie and its manifest.
    Package,
}

/// What the worker says.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An encoded plan, unchecked.
    Plan(Vec<u8>),
    /// The image may be mounted.
    Fit,
    /// What is in a package file, encoded ([`Offered`]), unchecked.
    Offered(Vec<u8>),
    /// Faults, unescaped.
    Problems(Vec<u8>),
    /// It could not be read: the worker failed over it.
    GivenUp,
}

/// The queue. Boxes are named by uid, packages that are to be installed by numbers that no uid has; the text is fetched when
/// its turn comes.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<(u32, What)>,
    current: Option<Current>,
    number: u32,
}

#[derive(Debug)]
struct Current {
    uid: u32,
    what: What,
    attempts: u32,
    /// Until when an answer is waited for; `None` while the worker is down.
    deadline_ms: Option<u64>,
}

impl Queue {
    /// Adds the manifest, the image or the package file of `uid`. All others come after manifests: with those every app's grants are known.
    pub fn push(&mut self, uid: u32, what: What) {
        let images = self.waiting.iter().rev().take_while(|(_, waits)| *waits != What::Manifest).count();
        let at = if what != What::Manifest { self.waiting.len() } else { self.waiting.len() - images };
        self.waiting.insert(at, (uid, what));
    }

    /// Whether a manifest is to be read.
    pub fn has_manifests(&self) -> bool {
        let current = self.current.as_ref().map(|current| current.what);
        self.waiting.iter().map(|(_, what)| *what).chain(current).any(|what| what == What::Manifest)
    }

    /// Nothing is to be read.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none()
    }

    /// The box of which something is to be sent now, what, and under which number; the worker must be up.
    pub fn next(&mut self, now_ms: u64) -> Option<(u32, u32, What)> {
        let current = match &mut self.current {
            Some(current) if current.deadline_ms.is_some() => return None,
            Some(current) => current,
            None => {
                let (uid, what) = self.waiting.pop_front()?;
                self.current.insert(Current { uid, what, attempts: 0, deadline_ms: None })
            }
        };
        let patience = if current.what != What::Manifest { IMAGE_PATIENCE_MS } else { PATIENCE_MS };
        current.deadline_ms = Some(now_ms + patience);
        self.number = self.number.wrapping_add(1);
        Some((self.number, current.uid, current.what))
    }

    /// Nobody wants to know of these any more. An answer that is under way finds nobody.
    pub fn forget(&mut self, unwanted: impl Fn(u32) -> bool) {
        self.waiting.retain(|(uid, _)| !unwanted(*uid));
    }

    /// It could not even be sent: it is out of the queue.
    pub fn skip(&mut self) {
        self.current = None;
    }

    /// There will be no worker: everything is out of the queue.
    pub fn give_up(&mut self) -> Vec<u32> {
        let current = self.current.take().map(|c| c.uid);
        current.into_iter().chain(self.waiting.drain(..).map(|(uid, _)| uid)).collect()
    }

    /// An answer came. `None` when it answers nothing that was asked.
    pub fn answer(&mut self, message: &[u8]) -> Option<(u32, Verdict)> {
        let (number, rest) = message.split_first_chunk()?;
        let (kind, body) = rest.split_first()?;
        if u32::from_le_bytes(*number) != self.number {
            return None;
        }
        let current = self.current.take_if(|c| c.deadline_ms.is_some())?;
        let verdict = match (kind, current.what) {
            (0, What::Manifest) => Verdict::Plan(body.into()),
            (2, What::Image) => Verdict::Fit,
            (3, What::Package) => Verdict::Offered(body.into()),
            (0 | 2 | 3, _) => Verdict::GivenUp,
            _ => Verdict::Problems(body.into()),
        };
        Some((current.uid, verdict))
    }

    /// The worker ended. Gives what is now given up, if one is.
    pub fn worker_ended(&mut self) -> Option<(u32, Verdict)> {
        let current = self.current.as_mut().filter(|c| c.deadline_ms.is_some())?;
        current.deadline_ms = None;
        current.attempts += 1;
        let given_up = current.attempts >= ATTEMPTS || current.what != What::Manifest;
        given_up.then(|| self.current.take().map(|c| (c.uid, Verdict::GivenUp))).flatten()
    }

    /// When the worker will have been silent for too long.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.current.as_ref()?.deadline_ms
    }
}

/// The message that asks about the manifest `text`.
pub fn question(number: u32, text: &[u8]) -> Vec<u8> {
    [&number.to_le_bytes(), &[0][..], text].concat()
}

/// The message that asks about an image of `length` bytes, whose descriptor goes with it.
pub fn image_question(number: u32, length: u64) -> Vec<u8> {
    [&number.to_le_bytes(), &[1][..], &length.to_le_bytes()].concat()
}

/// The message that asks about a package file of `length` bytes, whose descriptor goes with it; and which must be signed by a key,
/// if there is one.
pub fn package_question(number: u32, length: u64, key: Option<&Key>) -> Vec<u8> {
    let key = key.map_or(&[][..], |key| key);
    [&number.to_le_bytes(), &[2][..], &length.to_le_bytes(), key].concat()
}

/// What the worker does with one message and the descriptor that came with it; `None` for one that is no question.
pub fn work(message: &[u8], image: Option<File>) -> Option<Vec<u8>> {
    let (number, rest) = message.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (kind, body) = match kind {
        0 => manifest(rest),
        1 => self::image(&Image { file: image?, from: 0, size: u64::from_le_bytes(rest.try_into().ok()?) }),
        2 => {
            let (size, key) = rest.split_first_chunk()?;
            let key = if key.is_empty() { None } else { Some(key.try_into().ok()?) };
            offered(Image { file: image?, from: 0, size: u64::from_le_bytes(*size) }, key)
        }
        _ => return None,
    };
    let mut answer = number.to_vec();
    answer.push(kind);
    answer.extend_from_slice(body.get(..MESSAGE_MAX - 5).unwrap_or(&body));
    Some(answer)
}

fn manifest(text: &[u8]) -> (u8, Vec<u8>) {
    match plan(text) {
        Ok(plan) => (0, plan),
        Err(problems) => (1, problems.into_bytes()),
    }
}

/// The encoded plan of a manifest, or everything that is wrong with it.
fn plan(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "manifest.toml:1: not UTF-8 text".to_owned())?;
    match policy::check(text, &policy::Board::default()) {
        Ok(manifest) => Ok(policy::compile(&manifest).encode()),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn image(image: &Image) -> (u8, Vec<u8>) {
    match package::erofs::check(image, Machine::HERE) {
        Ok(_) => (2, Vec::new()),
        Err(refusal) => (1, format!("its root.img is not fit for a package: {refusal}").into_bytes()),
    }
}

fn offered(file: Image, key: Option<&Key>) -> (u8, Vec<u8>) {
    let found = || -> Result<Offered, String> {
        let gab = package::gab::read(&file).map_err(|fault| format!("the file is no package: it {fault}"))?;
        if let Some(key) = key {
            let nobody =
                "nobody has signed it; `gabion deploy --key` does, with the key of this device's permit";
            let (at, bytes) = gab.signature.ok_or(nobody)?;
            let mut content = vec![0; usize::try_from(bytes).map_err(|e| e.to_string())?];
            file.read_at(at, &mut content).map_err(|e| format!("its signature {e}"))?;
            signed::check(&content, &hex(&gab.root_hash), key)?;
        }
        let size = gab.data_blocks.saturating_mul(4096);
        let image = Image { file: file.file, from: gab.data_at, size };
        let text = package::gab::manifest(&image, policy::TEXT_MAX);
        let text = text.map_err(|refusal| format!("the image in the package: {refusal}"))?;
        let text = text.ok_or_else(|| {
            format!("the image in the package has no {}, or a longer one than may be", package::gab::MANIFEST)
        })?;
        let plan = plan(&text)?;
        Ok(Offered::of(gab, text, plan))
    };
    match found() {
        Ok(offered) => (3, offered.encode()),
        Err(why) => (1, why.into_bytes()),
    }
}

/// The bytes of an image, or of a file that one is in. A block that does not fit its hash is an error of the read.
struct Image {
    file: File,
    from: u64,
    size: u64,
}

impl ReadAt for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let end = at.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(Unreadable)?;
        let at = at.checked_add(self.from).ok_or(Unreadable)?;
        self.file.read_exact_at(buffer, at).map_err(|_| Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u32, kind: u8, body: &[u8]) -> Vec<u8> {
        [&number.to_le_bytes(), &[kind][..], body].concat()
    }

    #[test]
    fn queue_asks_one_at_a_time_and_pairs_answers() {
        let mut queue = Queue::default();
        queue.push(1, What::Manifest);
        queue.push(2, What::Manifest);
        let (number, uid, _) = queue.next(0).unwrap();
        assert_eq!((uid, queue.next(0)), (1, None));
        assert_eq!(queue.answer(&answer(number + 1, 0, b"x")), None);
        assert_eq!(queue.answer(b"\x01"), None);
        assert_eq!(queue.answer(&answer(number, 0, b"x")), Some((1, Verdict::Plan(b"x".to_vec()))));
        assert_eq!(queue.answer(&answer(number, 0, b"x")), None);
        assert_eq!(queue.next(0).unwrap().1, 2);
        assert!(!queue.is_empty());
    }

    #[test]
    fn queue_gives_up_after_three_crashes_and_goes_on() {
        let mut queue = Queue::default();
        queue.push(1, What::Manifest);
        queue.push(2, What::Manifest);
        for _ in 0..2 {
            assert_eq!(queue.next(0).unwrap().1, 1);
            assert_eq!(queue.worker_ended(), None);
        }
        let (stale, _, _) = queue.next(0).unwrap();
        assert_eq!(queue.worker_ended(), Some((1, Verdict::GivenUp)));
        assert_eq!(queue.worker_ended(), None);
        assert_eq!(queue.next(0).unwrap().1, 2);
        assert_eq!(queue.answer(&answer(stale, 0, b"x")), None);
    }

    #[test]
    fn work_answers_plan_or_problems() {
        let good = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n[resources]\nmemory = \"8MiB\"\ncpu = \"10%\"\ntasks = 4\n";
        let plan = work(&question(7, good.as_bytes()), None).unwrap();
        assert_eq!(plan[..5], [7, 0, 0, 0, 0]);
        assert!(policy::Plan::decode(&plan[5..], &policy::Board::default()).is_ok());
        let bad = work(&question(8, b"[app]\nnonsense = 1\n"), None).unwrap();
        assert_eq!(bad[..5], [8, 0, 0, 0, 1]);
        assert!(String::from_utf8_lossy(&bad[5..]).contains("nonsense"));
        assert_eq!(work(b"abc", None), None);
        assert_eq!(work(&question(9, b"\xff"), None).unwrap()[4], 1);
    }

    #[test]
    fn queue_reads_images_last_and_gives_one_up_at_the_first_crash() {
        let mut queue = Queue::default();
        queue.push(1, What::Image);
        queue.push(2, What::Image);
        queue.push(3, What::Manifest);
        assert!(queue.has_manifests());
        let (number, uid, what) = queue.next(0).unwrap();
        assert_eq!((uid, what), (3, What::Manifest));
        // An answer to another question than was asked is none.
        assert_eq!(queue.answer(&answer(number, 2, b"")), Some((3, Verdict::GivenUp)));
        assert!(!queue.has_manifests());
        assert_eq!(queue.next(0).unwrap().1, 1);
        assert_eq!(queue.worker_ended(), Some((1, Verdict::GivenUp)));
        let (number, ..) = queue.next(0).unwrap();
        assert_eq!(queue.answer(&answer(number, 2, b"")), Some((2, Verdict::Fit)));
    }

    #[test]
    fn work_says_what_is_wrong_with_an_image() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 8192], 0).unwrap();
        let said = work(&image_question(3, 8192), Some(file)).unwrap();
        assert_eq!(said[..5], [3, 0, 0, 0, 1]);
        assert!(String::from_utf8_lossy(&said[5..]).contains("is no EROFS image"));
        let file = || tempfile::tempfile().unwrap();
        let said = work(&package_question(4, 0, None), Some(file())).unwrap();
        assert_eq!(String::from_utf8_lossy(&said[5..]), "the file is no package: it is cut short");
        assert_eq!(work(&image_question(3, 8192), None), None);
    }
}
