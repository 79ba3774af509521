//! What is kept for netd, which has no storage: the configuration of the network, and the latest time that was known.
//!
//! `network.toml` is the operator's on `/data`, or else the image's in the app store. It is passed on as text: netd reads
//! it, in its box.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bus::network_link::CONFIG_MAX;

use crate::config::Config;
use crate::whole;

/// The name of the file, beside the apps and on the data partition.
pub(crate) const CONFIG: &str = "network.toml";
const FLOOR: &str = "clock-floor";

/// Whether anybody configured the network.
pub(crate) fn config_is_there(config: &Config) -> bool {
    places(config).iter().any(|path| path.exists())
}

/// The text of the configuration; empty when there is none. One that can not be read is said on the console, and the
/// next place is not asked: it was not meant.
pub(crate) fn config(config: &Config) -> String {
    let [kept, given] = places(config);
    let path = if kept.exists() { kept } else { given };
    match read(&path, CONFIG_MAX) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => {
            let text = format!("can not read {}: {e}", path.display());
            crate::console::problem("device", &text, "the network comes up without it; configure it again");
            String::new()
        }
    }
}

fn places(config: &Config) -> [PathBuf; 2] {
    [config.data.join("gabion").join(CONFIG), config.apps.join(CONFIG)]
}

/// Keeps a new configuration, in place of the image's.
pub(crate) fn keep_config(config: &Config, text: &str) -> io::Result<()> {
    whole::replace(&config.data.join("gabion").join(CONFIG), text.as_bytes())
}

/// The latest time known, seconds since 1970-01-01 UTC.
pub(crate) fn floor(config: &Config) -> Option<u64> {
    read(&config.data.join("gabion").join(FLOOR), 32).ok()?.trim().parse().ok()
}

/// Keeps a time. An earlier one than is kept is passed over: whoever takes netd over can not turn the clock back.
pub(crate) fn keep_floor(config: &Config, floor_s: u64) -> io::Result<()> {
    if floor(config).is_some_and(|kept| kept >= floor_s) {
        return Ok(());
    }
    whole::replace(&config.data.join("gabion").join(FLOOR), format!("{floor_s}\n").as_bytes())
}

fn read(path: &Path, max: usize) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max as u64 + 1).read_to_string(&mut text)?;
    if text.len() > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {max} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(dir: &Path) -> Config {
        let mut config = Config::told(|_| None, std::iter::empty());
        (config.data, config.apps) = (dir.join("data"), dir.join("apps"));
        fs::create_dir_all(config.data.join("gabion")).unwrap();
        fs::create_dir_all(&config.apps).unwrap();
        config
    }

    #[test]
    fn config_of_the_operator_comes_before_the_images() {
        let dir = tempfile::tempdir().unwrap();
        let config = at(dir.path());
        assert!(!config_is_there(&config) && super::config(&config).is_empty());
        fs::write(config.apps.join(CONFIG), "[dns]\n").unwrap();
        assert_eq!(super::config(&config), "[dns]\n");
        keep_config(&config, "[time]\n").unwrap();
        assert_eq!(super::config(&config), "[time]\n");
        fs::write(config.data.join("gabion").join(CONFIG), " ".repeat(CONFIG_MAX + 1)).unwrap();
        assert_eq!(super::config(&config), "");
    }

    #[test]
    fn floor_never_goes_down() {
        let dir = tempfile::tempdir().unwrap();
        let config = at(dir.path());
        assert_eq!(floor(&config), None);
        for kept in [1_700_000_000, 1_600_000_000] {
            keep_floor(&config, kept).unwrap();
            assert_eq!(floor(&config), Some(1_700_000_000));
        }
        fs::write(config.data.join("gabion").join(FLOOR), "nonsense").unwrap();
        assert_eq!(floor(&config), None);
    }
}
