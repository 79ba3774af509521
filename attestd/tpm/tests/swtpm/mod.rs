//! A software TPM of one test's own, in a directory that goes away with it, and the programs that judge what we do with it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tpm::{MOST_BYTES, Tpm, Transport};

/// How long a swtpm may take to listen, in steps of ten milliseconds.
const STEPS: u32 = 6000;

/// Where it is in its directory, and where what controls it: tpm2-tss knows the one by the other's name.
const SOCKET: &str = "socket";
const CONTROL: &str = "socket.ctrl";

pub(crate) struct Swtpm {
    child: Child,
    folder: TempDir,
}

impl Swtpm {
    /// One without certificates, started as firmware would.
    pub(crate) fn start() -> Result<Self> {
        Self::start_in(TempDir::new()?)
    }

    /// One with the certificates that `swtpm_setup` makes, by an authority of its own.
    pub(crate) fn start_with_certificates() -> Result<Self> {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(
            at("localca.conf"),
            format!(
                "statedir = {0}\nsigningkey = {0}/key.pem\nissuercert = {0}/issuer.pem\ncertserial = {0}/serial\n",
                folder.path().display()
            ),
        )?;
        std::fs::write(
            at("localca.options"),
            "--platform-manufacturer test\n--platform-version 1\n--platform-model test\n",
        )?;
        let tool = "create_certs_tool = /usr/bin/swtpm_localca";
        let config = format!(
            "{tool}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            at("localca.conf"),
            at("localca.options")
        );
        std::fs::write(at("setup.conf"), config)?;
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--tpmstate", &at(""), "--config", &at("setup.conf")])
            .output()?;
        ensure!(made.status.success(), "swtpm_setup: {}", String::from_utf8_lossy(&made.stdout));
        Self::start_in(folder)
    }

    fn start_in(folder: TempDir) -> Result<Self> {
        let sockets = [SOCKET, CONTROL].map(|name| folder.path().join(name));
        let [server, control] = sockets.each_ref().map(|path| format!("type=unixio,path={}", path.display()));
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", folder.path().display()))
            .args(["--server", &server, "--ctrl", &control])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let swtpm = Self { child, folder };
        for _ in 0..STEPS {
            if sockets.iter().all(|path| UnixStream::connect(path).is_ok()) {
                return Ok(swtpm);
            }
            thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("swtpm does not start")
    }

    /// Talks to it. It serves one at a time, so nothing else may be open.
    pub(crate) fn open(&self) -> Result<Tpm<Socket>> {
        Ok(Tpm::open(self.transport()?))
    }

    pub(crate) fn transport(&self) -> Result<Socket> {
        Ok(Socket(UnixStream::connect(self.path(SOCKET))?))
    }

    /// Its directory, in which judges run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        std::fs::write(self.path(name), bytes).context(name.to_string())
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path(name)).context(name.to_string())
    }

    /// Where it is, for programs on tpm2-tss.
    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:path={}", self.path(SOCKET).display())
    }

    /// Runs a program in the directory, on this TPM, and gives what it says. Words are separated by spaces.
    pub(crate) fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split(' ');
        let output = Command::new(words.next().context("a program")?)
            .args(words)
            .current_dir(self.folder.path())
            .env("TPM2TOOLS_TCTI", self.tcti())
            .env("TSS2_LOG", "all+NONE")
            .output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to it.
pub(crate) struct Socket(UnixStream);

impl Transport for Socket {
    fn exchange(&mut self, command: &[u8], answer: &mut [u8; MOST_BYTES]) -> io::Result<usize> {
        self.0.write_all(command)?;
        self.0.read_exact(&mut answer[..6])?;
        let length = answer[2..6].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let rest = answer.get_mut(6..length).ok_or(io::ErrorKind::InvalidData)?;
        self.0.read_exact(rest)?;
        Ok(length)
    }
}

/// `SubjectPublicKeyInfo` of a P-256 key, which OpenSSL reads.
pub(crate) fn spki((x, y): &([u8; 32], [u8; 32])) -> Vec<u8> {
    let head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0\x04";
    [&head[..], x, y].concat()
}
