//! An authority whose keys are in a token, by its PKCS#11 module: SoftHSM's, or a TPM. OpenSC's tool says what is in it, OpenSSL whether
//! its signatures hold.
//!
//! The module finds its tokens by the environment, which a process cannot change for itself: the test is its own child.

use super::lifecycle;
use crate::support::actors::{Device, catalog, operator};
use crate::support::{BEGIN, PASSPHRASE, Site, generous, runtime, sqlite};
use anyhow::{Context as _, Result, ensure};
use service::ca::{AuthorityFile, FileError, TokenUri};
use service::store::Store;
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Where the child finds it.
const FOLDER: &str = "GABION_TEST_TOKEN";
const PIN: &str = "84172";

/// Which token.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// SoftHSM's, in files.
    Software,
    /// swtpm's TPM, behind the module of tpm2-pkcs11.
    Tpm,
}

impl Kind {
    fn module(self) -> Result<PathBuf> {
        let places = match self {
            Self::Software => ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm.so"],
            Self::Tpm => [
                "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so",
                "/usr/lib/aarch64-linux-gnu/pkcs11/libtpm2_pkcs11.so",
            ],
        };
        let found = places.map(PathBuf::from).into_iter().find(|path| path.exists());
        found.context("the token's module; `make packages` installs it")
    }

    /// OpenSC's tool on it.
    fn tool(self, environment: &[(String, String)]) -> Result<Command> {
        let mut tool = Command::new("pkcs11-tool");
        tool.arg("--module").arg(self.module()?).envs(environment.iter().cloned());
        Ok(tool)
    }
}

/// A TPM, which ends with this.
struct Tpm(Child);

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Tpm {
    /// Comes back with the TPM, and the socket it is at; the one called `.ctrl` behind that controls it.
    fn start(folder: &Path) -> Result<(Self, PathBuf)> {
        let sockets = ["tpm.socket", "tpm.socket.ctrl"].map(|name| folder.join(name));
        let [server, control] = sockets.each_ref().map(|path| format!("type=unixio,path={}", path.display()));
        let state = folder.join("tpm");
        fs::create_dir(&state)?;
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        swtpm.arg("--tpmstate").arg(format!("dir={}", state.display()));
        let tpm = Self(swtpm.args(["--server", &server, "--ctrl", &control]).spawn().context("swtpm")?);
        for _ in 0..6000 {
            if sockets.iter().all(|path| UnixStream::connect(path).is_ok()) {
                let [socket, _] = sockets;
                return Ok((tpm, socket));
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        anyhow::bail!("swtpm does not listen")
    }
}

/// Runs the test of this name again, as a child with a token, or is that child.
pub(crate) fn with_token(kind: Kind, name: &str) -> Result<()> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return authority_in_a_token(kind, Path::new(&folder));
    }
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("tokens"))?;
    fs::write(path("conf"), format!("directories.tokendir = {}\n", path("tokens").display()))?;
    let text = |path: PathBuf| path.display().to_string();
    let (_tpm, environment) = match kind {
        Kind::Software => (None, vec![("SOFTHSM2_CONF".to_owned(), text(path("conf")))]),
        Kind::Tpm => {
            let (tpm, socket) = Tpm::start(folder.path())?;
            let way = format!("swtpm:path={}", socket.display());
            let environment = [
                ("TPM2_PKCS11_TCTI", way.clone()),
                ("TPM2TOOLS_TCTI", way),
                ("TPM2_PKCS11_STORE", text(path("tokens"))),
                ("TPM2_PKCS11_LOG_LEVEL", "0".to_owned()),
            ];
            (Some(tpm), environment.map(|(name, value)| (name.to_owned(), value)).to_vec())
        }
    };
    let so = ["--so-pin", "12345678"];
    let make = ["--init-token", "--slot-index", "0", "--label", "our keys"];
    let pin = ["--token-label", "our keys", "--init-pin", "--login", "--login-type", "so", "--pin", PIN];
    for arguments in [&make[..], &pin[..]] {
        let output = kind.tool(&environment)?.args(arguments).args(so).output().context("pkcs11-tool")?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        room(kind, &environment)?;
    }
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--exact", name, "--nocapture"]).env(FOLDER, folder.path());
    let output = child.envs(environment.iter().cloned()).output()?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    ensure!(output.status.success() && said[0].contains("1 passed"), "{}\n{}", said[0], said[1]);
    room(kind, &environment)?;
    nothing_can_be_taken_out(kind, &environment)
}

/// A TPM keeps what a program that ended had loaded, where no resource manager (the kernel's, on a machine) is in between.
fn room(kind: Kind, environment: &[(String, String)]) -> Result<()> {
    if let Kind::Tpm = kind {
        let mut flush = Command::new("tpm2_flushcontext");
        let output = flush.arg("--transient-object").envs(environment.iter().cloned()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn uri(kind: Kind, folder: &Path, label: &str) -> Result<TokenUri> {
    let (module, pin) = (kind.module()?, folder.join("pin"));
    let text =
        format!("pkcs11:token={label}?module-path={}&pin-source=file:{}", module.display(), pin.display());
    Ok(text.parse()?)
}

fn authority_in_a_token(kind: Kind, folder: &Path) -> Result<()> {
    let names = ["localhost".to_owned()];
    let make = |uri: &TokenUri| AuthorityFile::make_in(Some(uri), &names, PASSPHRASE, NonZeroU32::MIN, BEGIN);
    let why = |made: Result<AuthorityFile, FileError>| -> Result<String> {
        let error = made.err().context("it was made")?;
        Ok(format!("{:#}", anyhow::Error::new(error)))
    };
    let ours = uri(kind, folder, "our%20keys")?;
    ensure!(why(make(&ours))?.contains("reading the token's PIN"), "there is none yet");
    fs::write(folder.join("pin"), "99999")?;
    let said = why(make(&ours))?;
    ensure!(said.contains("PIN"), "{said}");
    fs::write(folder.join("pin"), format!("{PIN}\n"))?;
    ensure!(why(make(&uri(kind, folder, "other")?))?.contains("no token is called so"), "another token");

    let file = make(&ours)?;
    // As after a start: what is in the file leads to the key.
    let text = serde_json::to_string(&file)?;
    ensure!(!text.contains(PIN), "the file has the PIN");
    let file: AuthorityFile = serde_json::from_str(&text)?;
    for scenario in 0..2 {
        runtime()?.block_on(async {
            let place = tempfile::tempdir()?;
            let database = sqlite(place.path());
            Store::migrate(&database).await?.0.close().await;
            let site = Site::serve(&database, file.clone(), BEGIN, generous()).await?;
            match scenario {
                0 => lifecycle::device_goes_from_enrolment_to_reports(&site).await?,
                _ => signatures_hold_for_openssl(&site, folder).await?,
            }
            site.running.stop().await;
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

async fn signatures_hold_for_openssl(site: &Site, folder: &Path) -> Result<()> {
    let operator = operator(site).await?;
    catalog(&operator, "one").await?;
    // Refused before a key is made for it.
    operator.post("/v1/catalogs", serde_json::json!({"name": "one"})).await?.refused(409)?;
    let device = Device::claimed(site, "a", &operator, "one").await?;
    let granted = device.attest(&site.client()?, b"good").await?.json(200)?;
    let chain = granted["certificates"][0]["chain"].as_array().context("a chain")?;
    for (name, der) in ["leaf", "issuer"].iter().zip(chain) {
        let der = crate::support::actors::unb64(der)?;
        fs::write(folder.join(format!("{name}.pem")), service::ca::pem(&der))?;
    }
    fs::write(folder.join("root.pem"), site.root_pem())?;
    let list = site.client()?.get("/device/v1/crl?catalog=one").await?;
    fs::write(folder.join("list.der"), &list.body)?;
    let time = (BEGIN + 60).to_string();
    let verify = ["verify", "-attime", &time, "-CAfile", "root.pem", "-untrusted", "issuer.pem", "leaf.pem"];
    let crl = ["crl", "-inform", "DER", "-in", "list.der", "-noout", "-verify", "-CAfile", "issuer.pem"];
    for arguments in [&verify[..], &crl[..]] {
        let output = Command::new("openssl").current_dir(folder).args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() && !said.contains("failure"), "{arguments:?}: {said}");
    }
    Ok(())
}

fn nothing_can_be_taken_out(kind: Kind, environment: &[(String, String)]) -> Result<()> {
    let mut tool = kind.tool(environment)?;
    tool.args(["--token-label", "our keys", "--login", "--pin", PIN]);
    let output = tool.args(["--list-objects", "--type", "privkey"]).output().context("pkcs11-tool")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    // The root and a catalog in each of two databases. What was refused has left none.
    let labels: Vec<_> = listed.lines().filter_map(|line| line.trim().strip_prefix("label:")).collect();
    let labels: Vec<_> = labels.into_iter().map(str::trim).collect();
    ensure!(labels.iter().filter(|label| **label == "gabion issuer one").count() == 2, "{listed}");
    ensure!(labels.iter().filter(|label| **label == "gabion root").count() == 1, "{listed}");
    assert_eq!(labels.len(), 3, "{listed}");
    assert_eq!(listed.matches("never extractable").count(), 3, "{listed}");
    assert_eq!(listed.matches("always sensitive").count(), 3, "{listed}");
    Ok(())
}
