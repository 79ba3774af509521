//! A TPM (swtpm) driven by tpm2-tools, which others wrote: what they make we must read, what we make they must open.

use anyhow::{Context, Result, ensure};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A TPM of its own, with a certificate of its maker, and a folder for what the tools exchange.
pub(crate) struct Tpm {
    process: Child,
    folder: tempfile::TempDir,
}

impl Tpm {
    /// Makes one and switches it on.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(at("state"))?;
        let ca = "statedir = DIR/ca\nsigningkey = DIR/ca/key.pem\nissuercert = DIR/ca/issuer.pem\ncertserial = DIR/ca/serial\n";
        std::fs::write(at("ca.conf"), ca.replace("DIR", &folder.path().display().to_string()))?;
        std::fs::write(
            at("ca.options"),
            "--platform-manufacturer Test\n--platform-version 1\n--platform-model m\n",
        )?;
        let setup = format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            at("ca.conf"),
            at("ca.options")
        );
        std::fs::write(at("setup.conf"), setup)?;
        let mut maker = Command::new("swtpm_setup");
        maker.args(["--tpm2", "--create-ek-cert", "--pcr-banks", "sha256", "--config"]).arg(at("setup.conf"));
        run(maker.arg("--tpmstate").arg(at("state")))?;
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", at("state")))
            .arg("--server")
            .arg(format!("type=unixio,path={}", at("socket")))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", at("socket.ctrl")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run swtpm; `make packages` installs it")?;
        let tpm = Self { process, folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        let answers = |name: &str| UnixStream::connect(tpm.path(name)).is_ok();
        while !(answers("socket") && answers("socket.ctrl")) {
            ensure!(Instant::now() < deadline, "swtpm does not listen at its sockets");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(tpm)
    }

    /// Runs one of tpm2-tools; `DIR/` in an argument is the folder.
    pub(crate) fn tool(&self, line: &str) -> Result<String> {
        let folder = self.folder.path().display().to_string();
        let mut words = line.split_whitespace().map(|word| word.replace("DIR", &folder));
        let mut command = Command::new(words.next().context("no tool")?);
        command.args(words).env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.path("socket").display()));
        run(&mut command)
    }

    /// Makes EK (of the given kind), AK and an app's key, as `ek.pub`, `ak.pub`, `app.pub`, with contexts beside them.
    pub(crate) fn keys(&self, ek: &str) -> Result<()> {
        const FIXED: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
        self.tool(&format!("tpm2_createek -G {ek} -c DIR/ek.ctx -u DIR/ek.pub"))?;
        self.flush()?;
        let scheme = "-g sha256 -G ecc256:ecdsa-sha256:null";
        self.tool(&format!("tpm2_createprimary -C e {scheme} -a {FIXED}|restricted -c DIR/ak.ctx"))?;
        self.tool("tpm2_readpublic -c DIR/ak.ctx -o DIR/ak.pub")?;
        self.flush()?;
        self.tool(&format!("tpm2_createprimary -C o {scheme} -a {FIXED} -c DIR/app.ctx"))?;
        self.tool("tpm2_readpublic -c DIR/app.ctx -o DIR/app.pub")?;
        self.flush()
    }

    /// Ends what the tools left in the TPM.
    pub(crate) fn flush(&self) -> Result<()> {
        self.tool("tpm2_flushcontext -t").map(drop)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path(name)).with_context(|| format!("reading {name}"))
    }

    /// A `TPM2B_PUBLIC` that a tool wrote, without its length.
    pub(crate) fn public(&self, name: &str) -> Result<evidence::tpm::Public> {
        let bytes = self.read(name)?;
        Ok(evidence::tpm::Public::read(bytes.get(2..).context("no length")?)?)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output =
        command.output().with_context(|| format!("cannot run {name}; `make packages` installs it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
