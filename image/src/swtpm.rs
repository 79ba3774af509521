//! The reference board's TPM: swtpm, one process and one state directory per board.
//!
//! Its state is the identity of a board: the same directory is the same device, a new one another. Like a real one it
//! comes with an endorsement certificate, of a maker that lives in the cache (`tpm-maker/`): whoever should trust such
//! boards trusts that one's root.
//!
//! swtpm ends when QEMU lets go of its socket, and when whoever started it ends.

use crate::command::{output, tool};
use crate::paths::Tree;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for its socket, which comes at once unless the machine is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a board's TPM in `state` if there is none.
///
/// # Errors
/// The tools fail.
pub fn manufacture(tree: &Tree, state: &Path) -> Result<()> {
    if state.join("tpm2-00.permall").is_file() {
        return Ok(());
    }
    let configuration = maker(tree)?;
    fs::create_dir_all(state).with_context(|| format!("making {}", state.display()))?;
    output(
        tool("swtpm_setup")
            .arg("--config")
            .arg(configuration)
            .args(["--tpm2", "--create-ek-cert", "--create-platform-cert", "--lock-nvram"])
            .args(["--pcr-banks", "sha256", "--tpmstate"])
            .arg(std::path::absolute(state)?),
    )?;
    Ok(())
}

/// The folder of the maker of our boards' TPMs; its root certificate is `swtpm-localca-rootca-cert.pem` in it.
pub fn maker_folder(tree: &Tree) -> PathBuf {
    tree.cache.join("tpm-maker")
}

/// `swtpm_setup`'s configuration, by which the maker's keys lie in our cache instead of a place of the system's.
fn maker(tree: &Tree) -> Result<PathBuf> {
    let folder = maker_folder(tree);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let (setup, ca, options) = (folder.join("setup.conf"), folder.join("ca.conf"), folder.join("ca.options"));
    let at = |name: &str| folder.join(name).display().to_string();
    let key = at("signkey.pem");
    let certificate = at("issuercert.pem");
    write(
        &ca,
        &format!(
            "statedir = {}\nsigningkey = {key}\nissuercert = {certificate}\ncertserial = {}\n",
            folder.display(),
            at("certserial")
        ),
    )?;
    write(
        &options,
        "--platform-manufacturer Gabion\n--platform-version 1\n--platform-model reference-board\n",
    )?;
    write(
        &setup,
        &format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            ca.display(),
            options.display()
        ),
    )?;
    Ok(setup)
}

/// Writes it whole or not at all: another `swtpm_setup` may be reading it.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a folder")?;
    let fresh = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(&fresh, text)?;
    fresh.persist(path).with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

/// A running TPM. Dropping it switches it off.
#[derive(Debug)]
pub struct Swtpm(Child);

impl Swtpm {
    /// Starts the TPM of `state`; QEMU gets to it by `socket`, whose name may have 107 bytes.
    ///
    /// # Errors
    /// It does not start, as when another one uses the state.
    pub fn start(state: &Path, socket: &Path) -> Result<Self> {
        // A socket that an earlier one left would be taken for this one's.
        if socket.exists() {
            fs::remove_file(socket)?;
        }
        let mut command = tool("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "swtpm", "socket", "--tpm2", "--terminate", "--tpmstate"])
            // With a relative one it answers QEMU with an error that says nothing.
            .arg(format!("dir={}", std::path::absolute(state)?.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            // A Ctrl-C at the terminal is not for it: the device is switched off first.
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut swtpm = Self(command.spawn().context("cannot run swtpm; `make packages` installs it")?);
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            if let Some(status) = swtpm.0.try_wait()? {
                let mut said = String::new();
                if let Some(mut stderr) = swtpm.0.stderr.take() {
                    std::io::Read::read_to_string(&mut stderr, &mut said)?;
                }
                bail!("swtpm ended with {status}: {said}");
            }
            if Instant::now() >= deadline {
                bail!("swtpm does not make its socket");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(swtpm)
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // It may have ended with QEMU, which is what it should do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn board_is_made_once_and_its_tpm_serves_one_machine_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let tree = Tree { cache: place.path().join("cache"), ..Tree::here().unwrap() };
        let state = place.path().join("tpm");
        manufacture(&tree, &state).unwrap();
        let made = fs::read(state.join("tpm2-00.permall")).unwrap();
        manufacture(&tree, &state).unwrap();
        assert!(fs::read(state.join("tpm2-00.permall")).unwrap() == made, "it was made anew");
        assert!(maker_folder(&tree).join("swtpm-localca-rootca-cert.pem").is_file());
        let socket = place.path().join("socket");
        drop(Swtpm::start(&state, &socket).unwrap());
        Swtpm::start(&state, &socket).unwrap();
    }
}
