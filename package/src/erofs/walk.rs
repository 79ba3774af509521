//! From the root to every inode, each as often as it may be reached.

use std::collections::BTreeMap;

use super::data::{self, Data, Ranges};
use super::inode::{self, Inode, Layout};
use super::superblock::{self, Superblock};
use super::{BLOCK, Contents, Refusal, directory, lookup};
use crate::elf::{self, Machine};
use crate::read::ReadAt;
use crate::tree::{DEPTH_MAX, Entry, Kind, PATH_MAX, Problem, Tree, Wrong};

/// Links followed on the way to one dynamic loader, as the kernel's `MAXSYMLINKS`.
const LINKS_MAX: u32 = 40;
/// Different dynamic loaders in one package at most.
const LOADERS_MAX: usize = 16;

pub(super) fn check<I: ReadAt + ?Sized>(image: &I, machine: Machine) -> Result<Contents, Refusal> {
    let superblock = superblock::read(image)?;
    let root = inode::read(image, &superblock, superblock.root)?;
    if root.kind != Kind::Directory || root.mode & 0o6000 != 0 {
        return Err(Refusal::Layout("has a root that is no plain directory", root.at));
    }
    let mut walk = Walk {
        image,
        machine,
        superblock,
        tree: Tree::default(),
        used: vec![superblock::RANGE],
        reached: BTreeMap::new(),
        loaders: Vec::new(),
    };
    walk.directory(&root, &root, &mut Vec::new(), 0)?;
    walk.finish(&root)
}

#[derive(Debug, Clone, Copy)]
struct Reached {
    links: u32,
    names: u32,
}

struct Walk<'a, I: ?Sized> {
    image: &'a I,
    machine: Machine,
    superblock: Superblock,
    tree: Tree,
    used: Ranges,
    /// Inodes that are no directories, by number; directories with no name left to come.
    reached: BTreeMap<u64, Reached>,
    /// Programs' dynamic loaders, each with the first that needs it.
    loaders: Vec<(Vec<u8>, String)>,
}

impl<'a, I: ReadAt + ?Sized> Walk<'a, I> {
    fn directory(
        &mut self,
        inode: &Inode,
        parent: &Inode,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Refusal> {
        if depth > DEPTH_MAX {
            return Err(Problem::new(path, Wrong::Deep).into());
        }
        if self.reached.insert(inode.number, Reached { links: 1, names: 1 }).is_some() {
            return Err(Refusal::Layout("has a directory with two parents", inode.at));
        }
        let data = self.directory_data(inode)?;
        let (mut own, mut above, mut directories) = (0, 0, 0_u32);
        directory::entries(&data, inode.at, |named| {
            if named.name == b"." || named.name == b".." {
                let (count, number) =
                    if named.name == b"." { (&mut own, inode.number) } else { (&mut above, parent.number) };
                *count += 1;
                return match named.number == number && named.file_type == 2 {
                    true => Ok(()),
                    false => {
                        Err(Refusal::Layout("has a directory whose `.` or `..` leads elsewhere", inode.at))
                    }
                };
            }
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend(&named.name);
            let below = inode::read(self.image, &self.superblock, named.number)?;
            if below.file_type() != named.file_type && !(below.kind == Kind::Device && named.file_type == 4) {
                return Err(Refusal::Layout("has an entry of another kind than its inode", below.at));
            }
            self.tree.add(&Entry { path, kind: below.kind, mode: below.mode, attributes: &[] })?;
            match below.kind {
                Kind::Directory => {
                    directories += 1;
                    self.directory(&below, inode, path, depth + 1)?;
                }
                _ => self.leaf(&below, path)?,
            }
            path.truncate(length);
            Ok(())
        })?;
        if own != 1 || above != 1 || inode.links != directories.saturating_add(2) {
            return Err(Refusal::Layout(
                "has a directory without `.` or `..`, or with a wrong link count",
                inode.at,
            ));
        }
        Ok(())
    }

    fn directory_data(&mut self, inode: &Inode) -> Result<Data<'a, I>, Refusal> {
        if !matches!(inode.layout, Layout::Plain | Layout::Inline) {
            return Err(Refusal::Layout("has a compressed directory", inode.at));
        }
        data::locate(self.image, &self.superblock, inode, &mut self.used)
    }

    fn leaf(&mut self, inode: &Inode, path: &[u8]) -> Result<(), Refusal> {
        if let Some(reached) = self.reached.get_mut(&inode.number) {
            reached.names = reached.names.saturating_add(1);
            return match reached.names <= reached.links {
                true => Ok(()),
                false => Err(Refusal::Layout("has a file with more names than it says", inode.at)),
            };
        }
        self.reached.insert(inode.number, Reached { links: inode.links, names: 1 });
        let data = data::locate(self.image, &self.superblock, inode, &mut self.used)?;
        if matches!(inode.kind, Kind::Link(_)) {
            return target(&data).map(drop).map_err(|_| Problem::new(path, Wrong::Target).into());
        }
        data.verify()?;
        match elf::check(&data, self.machine) {
            Ok(Some(program)) => self.loader(path, program.loader),
            Ok(None) => Ok(()),
            Err(fault) => Err(Problem::new(path, Wrong::Program(fault)).into()),
        }
    }

    fn loader(&mut self, path: &[u8], loader: Option<String>) -> Result<(), Refusal> {
        let Some(loader) = loader else { return Ok(()) };
        if self.loaders.iter().any(|(_, known)| *known == loader) {
            return Ok(());
        }
        if self.loaders.len() >= LOADERS_MAX {
            return Err(Problem::new(path, Wrong::NoLoader).into());
        }
        self.loaders.push((path.to_vec(), loader));
        Ok(())
    }

    fn finish(mut self, root: &Inode) -> Result<Contents, Refusal> {
        if self.reached.values().any(|reached| reached.links != reached.names) {
            return Err(Refusal::Layout("has a file with fewer names than it says", 0));
        }
        for (path, loader) in std::mem::take(&mut self.loaders) {
            if !self.leads_to_a_file(root, loader.as_bytes())? {
                return Err(Problem::new(&path, Wrong::NoLoader).into());
            }
        }
        self.used.sort_unstable();
        let overlap = self.used.windows(2).find_map(|pair| match pair {
            [(_, end), (start, _)] if start < end => Some(*start),
            _ => None,
        });
        if let Some(at) = overlap {
            return Err(Refusal::Layout("uses the same bytes twice", at));
        }
        let end = self.used.last().map_or(0, |(_, end)| *end);
        if end > self.superblock.blocks * BLOCK {
            return Err(Refusal::Unreadable);
        }
        Ok(Contents { entries: self.tree.entries(), bytes: self.tree.bytes() })
    }

    /// Whether `path` leads to a regular file, links followed within the image, as the box does. Everything on the way was
    /// checked before.
    fn leads_to_a_file(&self, root: &Inode, path: &[u8]) -> Result<bool, Refusal> {
        let mut above = vec![*root];
        let mut rest: Vec<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let Some(here) = above.last() else { return Ok(false) };
            if name == b".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            if here.kind != Kind::Directory {
                return Ok(false);
            }
            let next = lookup::child(self.image, &self.superblock, here, &name)?;
            let Some(next) = next else { return Ok(false) };
            if !matches!(next.kind, Kind::Link(_)) {
                above.push(next);
                continue;
            }
            links += 1;
            let data = data::locate(self.image, &self.superblock, &next, &mut Vec::new())?;
            let to = target(&data)?;
            if links > LINKS_MAX || rest.len() > PATH_MAX {
                return Ok(false);
            }
            if to.starts_with(b"/") {
                above.truncate(1);
            }
            rest.extend(components(&to));
        }
        Ok(above.last().is_some_and(|found| matches!(found.kind, Kind::File(_))))
    }
}

/// Those of a path that lead somewhere, last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// A link's target; its length is bounded by [`Tree::add`].
fn target(data: &(impl ReadAt + ?Sized)) -> Result<Vec<u8>, Refusal> {
    let length = usize::try_from(data.size()).ok().filter(|length| (1..=PATH_MAX).contains(length));
    let mut target = vec![0; length.ok_or(Refusal::Unreadable)?];
    data.read_at(0, &mut target)?;
    if target.contains(&0) { Err(Refusal::Unreadable) } else { Ok(target) }
}
