//! The package checker, on a directory of this machine: what `package` refuses never becomes an image.

use crate::stamp::sorted_entries;
use crate::verity;
use anyhow::{Context, Result};
use package::elf::{self, Machine};
use package::erofs;
use package::tree::{Entry, Kind, Problem, Tree, Wrong};
use std::fmt;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Problems that are listed before "and more".
const LISTED: usize = 20;

/// Why something is no package, and can not become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(pub String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

/// Checks the root directory of an app. Everything that is wrong is in the error, each with its path.
///
/// # Errors
/// What is wrong; a file that cannot be read.
pub fn root(root: &Path) -> Result<()> {
    let mut check = Check { root, tree: Tree::default(), problems: Vec::new(), loaders: Vec::new() };
    for entry in sorted_entries(root)? {
        check.entry(&entry)?;
    }
    check.loaders();
    let problems = check.problems;
    if problems.is_empty() {
        return Ok(());
    }
    let mut text: Vec<String> = problems.iter().take(LISTED).map(ToString::to_string).collect();
    if problems.len() > LISTED {
        text.push(format!("and {} more", problems.len() - LISTED));
    }
    let remedy =
        "an app is directories, regular files and links; leave these out (`omit`), or make them such";
    Err(Unfit(format!("not fit for a package:\n  {}\n  help: {remedy}", text.join("\n  "))).into())
}

/// Checks an image whose data is `data_blocks` blocks long, as the device does.
///
/// # Errors
/// What is wrong with it; it cannot be read.
pub fn image(image: &Path, data_blocks: u64) -> Result<()> {
    let mut bytes = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    bytes.truncate(usize::try_from(data_blocks.saturating_mul(verity::BLOCK))?);
    match erofs::check(&bytes[..], Machine::HERE) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Unfit(format!("{} is not fit for a package: {refusal}", image.display())).into()),
    }
}

struct Check<'a> {
    root: &'a Path,
    tree: Tree,
    problems: Vec<Problem>,
    /// Programs' paths, each with its dynamic loader.
    loaders: Vec<(Vec<u8>, String)>,
}

impl Check<'_> {
    fn entry(&mut self, at: &Path) -> Result<()> {
        let path = at.strip_prefix(self.root).context("an entry outside of its root")?;
        let path = path.as_os_str().as_bytes();
        let about = fs::symlink_metadata(at).with_context(|| format!("reading {}", at.display()))?;
        let file_type = about.file_type();
        let kind = match () {
            () if file_type.is_dir() => Kind::Directory,
            () if file_type.is_file() => Kind::File(about.len()),
            () if file_type.is_symlink() => Kind::Link(about.len()),
            () if file_type.is_fifo() => Kind::Fifo,
            () if file_type.is_socket() => Kind::Socket,
            () => Kind::Device,
        };
        let attributes = attributes(at).with_context(|| format!("attributes of {}", at.display()))?;
        let mode = about.permissions().mode() & 0o7777;
        match self.tree.add(&Entry { path, kind, mode, attributes: &attributes }) {
            Err(problem) => self.problems.push(problem),
            Ok(()) if matches!(kind, Kind::File(_)) => self.program(at, path)?,
            Ok(()) => {}
        }
        if file_type.is_dir() {
            for below in sorted_entries(at)? {
                self.entry(&below)?;
            }
        }
        Ok(())
    }

    fn program(&mut self, at: &Path, path: &[u8]) -> Result<()> {
        let content = fs::read(at).with_context(|| format!("reading {}", at.display()))?;
        match elf::check(&content[..], Machine::HERE) {
            Err(fault) => self.problems.push(Problem::new(path, Wrong::Program(fault))),
            Ok(Some(program)) => self.loaders.extend(program.loader.map(|loader| (path.to_vec(), loader))),
            Ok(None) => {}
        }
        Ok(())
    }

    /// A loader may be reached by a link: whether it is there is for the box, which follows links inside its root only.
    fn loaders(&mut self) {
        for (path, loader) in &self.loaders {
            if self.root.join(loader.trim_start_matches('/')).symlink_metadata().is_err()
                && !self.linked(loader)
            {
                self.problems.push(Problem::new(path, Wrong::NoLoader));
            }
        }
    }

    /// Whether a directory on the way to `loader` is a link, as `/lib64` often is.
    fn linked(&self, loader: &str) -> bool {
        let below = Path::new(loader.trim_start_matches('/'));
        below.ancestors().skip(1).any(|directory| self.root.join(directory).is_symlink())
    }
}

/// Names of its extended attributes; none where the file system has none.
fn attributes(at: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    match xattr::list(at) {
        Ok(names) => Ok(names.map(OsStringExt::into_vec).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use nix::unistd::mkfifo;

    fn refused(make: impl FnOnce(&Path)) -> String {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("bin")).unwrap();
        make(&place.path().join("bin/it"));
        root(place.path()).unwrap_err().to_string()
    }

    #[test]
    fn root_of_files_and_links_is_good() {
        let place = tempfile::tempdir().unwrap();
        fs::copy("/bin/busybox", place.path().join("busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", place.path().join("sh")).unwrap();
        root(place.path()).unwrap();
    }

    #[test]
    fn inode_that_is_no_file_is_refused_by_name() {
        let node =
            |at: &Path| mknod(at, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
        assert!(refused(node).contains("bin/it is a device node"));
        assert!(refused(|at| mkfifo(at, Mode::S_IRWXU).unwrap()).contains("bin/it is a FIFO"));
        let socket = |at: &Path| drop(std::os::unix::net::UnixListener::bind(at).unwrap());
        assert!(refused(socket).contains("bin/it is a socket"));
        let setuid = |at: &Path| {
            fs::write(at, "").unwrap();
            fs::set_permissions(at, fs::Permissions::from_mode(0o4755)).unwrap();
        };
        assert!(refused(setuid).contains("bin/it is setuid"));
    }

    #[test]
    fn file_with_a_capability_or_another_attribute_is_refused() {
        let attribute = |name: &'static str, value: &'static [u8]| {
            refused(move |at| {
                fs::write(at, "").unwrap();
                xattr::set(at, name, value).unwrap();
            })
        };
        // cap_net_raw=ep, as setcap writes it (linux/capability.h, VFS_CAP_REVISION_2).
        let raw = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(attribute("security.capability", raw).contains("bin/it has extended attributes"));
        assert!(attribute("trusted.overlay.opaque", b"y").contains("bin/it has extended attributes"));
    }

    #[test]
    fn program_whose_stack_is_executable_is_refused_whoever_linked_it() {
        let both = "__asm__(\".section .both,\\\"awx\\\",@progbits\\n .byte 0xc3\");\n";
        let stack = ("-Wl,-z,execstack", "", "executable stack");
        for (flag, more, says) in [stack, ("-static", both, "writable and executable")] {
            let text = refused(|at| {
                let source = at.with_extension("c");
                fs::write(&source, format!("{more}int main(void) {{ return 0; }}\n")).unwrap();
                let mut gcc = std::process::Command::new("gcc");
                gcc.args(["-static", flag, "-o"]).arg(at).arg(&source).stderr(std::process::Stdio::null());
                let built = gcc.status().unwrap();
                assert!(built.success());
                fs::remove_file(source).unwrap();
            });
            assert!(text.contains("bin/it ") && text.contains(says), "{text}");
        }
    }

    #[test]
    fn program_without_its_loader_is_refused() {
        let text = refused(|at| assert!(fs::copy("/bin/ls", at).unwrap() > 0));
        assert!(text.contains("bin/it needs a dynamic loader"), "{text}");
    }
}
