//! gdbserver as a package: this machine's, with its libraries, started by its own loader, so that it needs nothing of the app
//! that it debugs.

use std::path::{Path, PathBuf};

use anyhow::Result;
use packing::command::{output, tool};
use packing::stage;

use crate::exit::{Exit, Failure};

/// Its id on the device.
pub(super) const ID: &str = "org.gnu.gdbserver";
/// How it is started in the box of an app, whose command follows. The filter lets nobody switch off randomised addresses, and
/// there is no shell; one session, over standard input and output.
pub(super) const COMMAND: [&str; 8] = [
    "/run/debugger/lib/ld.so",
    "--library-path",
    "/run/debugger/lib",
    "/run/debugger/bin/gdbserver",
    "--once",
    "--no-disable-randomization",
    "--no-startup-with-shell",
    "-",
];

/// In its own box it says which version it is, and ends.
fn manifest(version: &str) -> String {
    format!(
        "[app]\nid = \"{ID}\"\nversion = \"{version}\"\n\
         exec = [\"/lib/ld.so\", \"--library-path\", \"/lib\", \"/bin/gdbserver\", \"--version\"]\n\
         [resources]\nmemory = \"16MiB\"\ncpu = \"100%\"\ntasks = 1\n[lifecycle]\nrestart = \"never\"\n"
    )
}

/// The directory of its package, made below `place`.
pub(super) fn source(server: &Path, place: &Path) -> Result<PathBuf> {
    let source = place.join("gdbserver");
    let root = source.join("root");
    stage::directories(&root, &stage::BOX_DIRECTORIES)?;
    stage::copy(&server.canonicalize()?, &root.join("bin/gdbserver"))?;
    let all = output(tool("ldd").arg(server))?;
    let libraries: Vec<(&str, &str)> = all.lines().filter_map(library).collect();
    if !libraries.iter().any(|(name, _)| *name == "ld.so") {
        let why = format!("{} is a program of an unknown kind: ldd names no loader", server.display());
        return Err(Failure::new(Exit::Failed, why).help("use Debian's: apt-get install gdbserver").into());
    }
    for (name, path) in libraries {
        let from = Path::new(path).canonicalize()?;
        stage::copy(&from, &root.join("lib").join(name))?;
        if name == "ld.so" {
            // Where its programs name it, which a package is held to.
            stage::copy(&from, &root.join(path.trim_start_matches('/')))?;
        }
    }
    let said = output(tool(&server.to_string_lossy()).arg("--version"))?;
    stage::write(&source.join("manifest.toml"), manifest(&version(&said)))?;
    Ok(source)
}

/// One line of `ldd`: `NAME => PATH (ADDRESS)`, or of the loader, `PATH (ADDRESS)`.
fn library(line: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match *words {
        [name, "=>", path, ..] if path.starts_with('/') => Some((name, path)),
        [path, _] if path.starts_with('/') => Some(("ld.so", path)),
        _ => None,
    }
}

/// `GNU gdbserver (Debian 13.1-3) 13.1` is 13.1.0.
fn version(said: &str) -> String {
    let last = said.lines().next().and_then(|line| line.split_whitespace().last()).unwrap_or_default();
    let mut numbers = last.split('.').map(|number| number.parse::<u16>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    format!("{}.{}.{}", next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_read_and_what_the_kernel_brings_is_not() {
        let said = "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\t/lib64/ld-x.so.2 (0x1)\n";
        let all: Vec<_> = said.lines().filter_map(library).collect();
        assert_eq!(all, [("libm.so.6", "/lib/x/libm.so.6"), ("ld.so", "/lib64/ld-x.so.2")]);
        assert!("\tnot a dynamic executable".lines().filter_map(library).next().is_none());
    }

    #[test]
    fn version_of_what_it_says_is_one_of_a_manifest() {
        assert_eq!(version("GNU gdbserver (Debian 13.1-3) 13.1\nCopyright"), "13.1.0");
        assert_eq!(version("GNU gdbserver (GDB) 16.2.50.2025-git"), "16.2.50");
        assert_eq!(version(""), "0.0.0");
        let board = policy::Board::default();
        policy::check(&manifest("13.1.0"), &board).unwrap();
    }
}
