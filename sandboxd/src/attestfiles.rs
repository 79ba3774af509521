//! What is kept for attestd, which has no storage, and what it is handed to read: in its box, not here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use bus::attest_link::{KEPT_MAX, SERVICE_MAX};
use bus::bulk::{self, Sealed};
use sys::mount::{FsContext, MountAttr};

use crate::config::Config;
use crate::whole;

/// The name of the file, beside the apps and on the data partition.
pub(crate) const SERVICE: &str = "service.toml";

/// The text that says where the service is; empty when there is none. One that can not be read is said on the console.
pub(crate) fn service(config: &Config) -> String {
    let [kept, given] = [config.data.join("gabion").join(SERVICE), config.apps.join(SERVICE)];
    let path = if kept.exists() { kept } else { given };
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(SERVICE_MAX as u64 + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length <= SERVICE_MAX => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        other => {
            let why =
                other.err().map_or_else(|| format!("longer than {SERVICE_MAX} bytes"), |e| e.to_string());
            let text = format!("can not read {}: {why}", path.display());
            crate::console::problem("device", &text, "the device does not attest itself; correct the file");
            String::new()
        }
    }
}

/// The package log of this boot, for reading. It is in memory: it ends with the boot, as what the TPM measured does.
pub(crate) fn packages(config: &Config) -> io::Result<OwnedFd> {
    let path = packages_path(config)?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    Ok(File::open(path)?.into())
}

/// Appends a record to it.
pub(crate) fn record(config: &Config, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(packages_path(config)?)?;
    file.write_all(format!("{line}\n").as_bytes())
}

fn packages_path(config: &Config) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(&config.runtime)?;
    Ok(config.runtime.join("packages.log"))
}

/// The firmware's event log. Its file system is not mounted anywhere: this one file is all that anybody needs of it.
pub(crate) fn boot_log() -> io::Result<OwnedFd> {
    let mount = FsContext::open(c"securityfs")?.mount(MountAttr::RDONLY)?;
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC;
    let path = "tpm0/binary_bios_measurements";
    Ok(nix::fcntl::openat(&mount, path, flags, nix::sys::stat::Mode::empty())?)
}

/// What attestd had kept, as it is handed out; `None` when there is nothing.
pub(crate) fn kept(config: &Config) -> Option<OwnedFd> {
    let mut bytes = Vec::new();
    let file = File::open(kept_path(config)).ok()?;
    file.take(KEPT_MAX).read_to_end(&mut bytes).ok()?;
    bulk::seal(c"attest-kept", &bytes).ok()
}

/// Keeps what attestd sent.
pub(crate) fn keep(config: &Config, memory: OwnedFd) -> io::Result<()> {
    let bytes = Sealed::open(memory, KEPT_MAX)?.read()?;
    fs::create_dir_all(config.data.join("gabion"))?;
    whole::replace(&kept_path(config), &bytes)
}

fn kept_path(config: &Config) -> PathBuf {
    config.data.join("gabion/attest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_bytes_come_back_and_log_grows_by_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::told(|_| None, std::iter::empty());
        (config.data, config.runtime) = (dir.path().join("data"), dir.path().join("run"));
        assert!(kept(&config).is_none());
        keep(&config, bulk::seal(c"test", b"state").unwrap()).unwrap();
        assert_eq!(Sealed::open(kept(&config).unwrap(), KEPT_MAX).unwrap().read().unwrap(), b"state");
        assert!(keep(&config, File::open("/dev/null").unwrap().into()).is_err());
        let mut log = File::from(packages(&config).unwrap());
        record(&config, "{\"a\":1}").unwrap();
        record(&config, "{\"b\":2}").unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"b\":2}\n");
    }
}
