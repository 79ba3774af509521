//! Layers, one over the other, as a tree in memory.
//!
//! A path of a layer is taken apart into names; a link on the way is looked up in the tree, never on a disk, and cannot leave
//! it. Contents lie in files of their own, called by numbers. What no app may have (devices, sockets, set-uid bits, extended
//! attributes) is left out and said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use crate::error::Error;
use crate::translate::printable;

/// Entries of all layers, names in a path, bytes of contents and of a name, and links in a row.
const ENTRIES_MAX: usize = 500_000;
const PARTS_MAX: usize = 128;
const BYTES_MAX: u64 = 4 << 30;
const NAME_MAX: usize = 255;
const LINKS_MAX: usize = 40;
/// What a box mounts over.
const MOUNTED: [&str; 5] = ["data", "dev", "proc", "run", "tmp"];

/// Names from the root on.
pub type Names = Vec<String>;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A file: the number of its contents, and whether it can be executed.
    File(usize, bool),
    /// A symbolic link's target.
    Link(String),
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    place: PathBuf,
    nodes: BTreeMap<Names, (Node, usize)>,
    layer: usize,
    contents: usize,
    entries: usize,
    bytes: u64,
    /// What was left out, with the reason; a few of each.
    pub left_out: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Tree {
    /// An empty one; contents are kept in `place`.
    pub fn new(place: &Path) -> Self {
        let nodes = BTreeMap::new();
        Self {
            place: place.to_owned(),
            nodes,
            layer: 0,
            contents: 0,
            entries: 0,
            bytes: 0,
            left_out: BTreeMap::new(),
        }
    }

    /// Puts a layer, a tar file, over what is there.
    ///
    /// # Errors
    /// It is none, or damaged; more than is taken; the disk's.
    pub fn apply(&mut self, layer: impl Read) -> Result<(), Error> {
        self.layer += 1;
        let damaged = |e: io::Error| Error::Damaged(format!("a layer: {e}"));
        let mut archive = Archive::new(layer);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(Error::TooLarge("more than 500,000 files"));
            }
            let path = String::from_utf8(entry.path_bytes().into_owned())
                .map_err(|_| Error::Damaged("a name that is not UTF-8".to_owned()))?;
            let Some(names) = self.place_of(&path)? else { continue };
            let mode = entry.header().mode().map_err(damaged)?;
            if mode & 0o6000 != 0 {
                self.leave_out("set-uid and set-gid bits", &path);
            }
            let extended = entry
                .pax_extensions()
                .map_err(damaged)?
                .is_some_and(|all| all.flatten().any(|one| one.key_bytes().starts_with(b"SCHILY.xattr.")));
            if extended {
                self.leave_out("extended attributes, file capabilities among them", &path);
            }
            let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
            match entry.header().entry_type() {
                EntryType::Directory => self.directory(names),
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let number = self.keep(&mut entry)?;
                    self.put(names, Node::File(number, mode & 0o111 != 0))?;
                }
                EntryType::Symlink => {
                    let target = target.filter(|target| !target.is_empty() && target.len() < 4096);
                    let target =
                        target.ok_or_else(|| Error::Damaged(format!("{path}: a link to nothing")))?;
                    self.put(names, Node::Link(target))?;
                }
                EntryType::Link => {
                    let there = self.place_of(&target.unwrap_or_default())?;
                    let there = there.and_then(|there| self.nodes.get(&there)).map(|(node, _)| node.clone());
                    let Some(node @ (Node::File(..) | Node::Link(_))) = there else {
                        return Err(Error::Damaged(format!(
                            "{path}: a second name of a file that is not there"
                        )));
                    };
                    self.put(names, node)?;
                }
                EntryType::XGlobalHeader => {}
                _ => self.leave_out("devices, pipes and the like", &path),
            }
        }
        // What is behind the end of the archive belongs to its digest.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop).map_err(damaged)
    }

    /// The place that a layer's path means; none if there is nothing more to do for it.
    fn place_of(&mut self, path: &str) -> Result<Option<Names>, Error> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let bad = |part: &&str| *part == ".." || part.len() > NAME_MAX || part.contains('\0');
        if parts.iter().any(bad) || parts.len() > PARTS_MAX {
            return Err(Error::Damaged(format!("a path that leads out of it, or is too long: {path:.80}")));
        }
        let Some((last, above)) = parts.split_last() else { return Ok(None) };
        let mut names = self.resolve(above)?;
        if let Some(hidden) = last.strip_prefix(".wh.") {
            let opaque = hidden == ".wh..opq";
            if !opaque {
                if matches!(hidden, "" | "." | "..") {
                    return Err(Error::Damaged("a whiteout of nothing".to_owned()));
                }
                names.push(hidden.to_owned());
            }
            self.hide(&names, !opaque);
            return Ok(None);
        }
        names.push((*last).to_owned());
        Ok(Some(names))
    }

    /// A directory's own place, links looked up; what is not there is made when something is put into it.
    fn resolve(&self, parts: &[&str]) -> Result<Names, Error> {
        let mut waiting: Vec<String> = parts.iter().rev().map(|part| (*part).to_owned()).collect();
        let (mut names, mut links) = (Names::new(), 0);
        while let Some(part) = waiting.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    names.pop();
                    continue;
                }
                _ => names.push(part),
            }
            if names.len() > PARTS_MAX {
                return Err(Error::Damaged("a path that is too long".to_owned()));
            }
            if let Some((Node::Link(target), _)) = self.nodes.get(&names) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::Damaged("links that go round in a circle".to_owned()));
                }
                names.pop();
                if target.starts_with('/') {
                    names.clear();
                }
                waiting.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// Takes away what lower layers have below `names`, and with `itself` there.
    fn hide(&mut self, names: &Names, itself: bool) {
        let layer = self.layer;
        self.nodes.retain(|path, (_, of)| {
            let below = path.starts_with(names) && (itself || path.len() > names.len());
            !below || *of == layer
        });
    }

    fn directory(&mut self, names: Names) {
        self.above(&names);
        match self.nodes.get_mut(&names) {
            Some((Node::Directory, of)) => *of = self.layer,
            // Images for a merged /usr bring lib/ again, over the link of that name.
            Some((Node::Link(_), _)) => {}
            _ => _ = self.nodes.insert(names, (Node::Directory, self.layer)),
        }
    }

    fn put(&mut self, names: Names, node: Node) -> Result<(), Error> {
        self.above(&names);
        if matches!(self.nodes.get(&names), Some((Node::Directory, _))) {
            self.nodes.retain(|path, _| !path.starts_with(&names));
        }
        self.nodes.insert(names, (node, self.layer));
        Ok(())
    }

    /// Makes the directories above `names`, over whatever is there.
    fn above(&mut self, names: &Names) {
        for length in 1..names.len() {
            let above = names.get(..length).unwrap_or_default().to_vec();
            let there = self.nodes.get(&above);
            if !matches!(there, Some((Node::Directory, _))) {
                self.nodes.insert(above, (Node::Directory, self.layer));
            }
        }
    }

    /// Keeps a file's contents; gives their number.
    fn keep(&mut self, from: &mut impl Read) -> Result<usize, Error> {
        let number = self.contents;
        self.contents += 1;
        let failed = |e| Error::io("keeping a file of the image", e);
        let mut file = File::create(self.kept(number)).map_err(failed)?;
        let left = BYTES_MAX - self.bytes;
        let copied = io::copy(&mut from.take(left + 1), &mut file)
            .map_err(|e| Error::Damaged(format!("a file of a layer: {e}")))?;
        if copied > left {
            return Err(Error::TooLarge("more than 4 GiB of files"));
        }
        self.bytes += copied;
        Ok(number)
    }

    pub(crate) fn kept(&self, number: usize) -> PathBuf {
        self.place.join(format!("content-{number}"))
    }

    fn leave_out(&mut self, what: &'static str, path: &str) {
        let shown = printable(path).chars().take(120).collect();
        let all = self.left_out.entry(what).or_default();
        if all.len() < 8 {
            all.insert(shown);
        }
    }

    /// Leaves the places empty that a box mounts over: what is in them would never be seen.
    pub fn under_mounts(&mut self) {
        for name in MOUNTED {
            let top = vec![name.to_owned()];
            let hidden: Vec<String> = self
                .nodes
                .iter()
                .filter(|(path, (node, _))| {
                    path.starts_with(&top) && path.len() > 1 && *node != Node::Directory
                })
                .map(|(path, _)| format!("/{}", path.join("/")))
                .take(9)
                .collect();
            self.nodes.retain(|path, _| !path.starts_with(&top));
            self.nodes.insert(top, (Node::Directory, self.layer));
            if name != "dev" {
                hidden.iter().for_each(|path| {
                    self.leave_out("files where a box has /data, /proc, /run and /tmp of its own", path);
                });
            }
        }
    }

    /// Everything in it, a directory before what is in it.
    pub fn nodes(&self) -> impl Iterator<Item = (&Names, &Node)> {
        self.nodes.iter().map(|(names, (node, _))| (names, node))
    }

    /// The file that the absolute `path` leads to, as its own absolute path; none if it leads to none that can be executed.
    pub fn program(&self, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split('/').collect();
        let names = self.resolve(&parts).ok()?;
        matches!(self.nodes.get(&names), Some((Node::File(_, true), _)))
            .then(|| format!("/{}", names.join("/")))
    }
}
