//! What is kept for netd, which has no storage: the configuration of the network, and the latest time that was known.
//!
//! `network.toml` is the operator's on `/data`, or else the image's in the app store. It is passed on as text: netd reads
//! it, in its box, and asks for the next best if it can not.

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
    [Whose::Operator, Whose::Image]
        .iter()
        .any(|whose| place(config, *whose).is_some_and(|path| path.exists()))
}

/// Of which configuration a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// What was configured last.
    #[default]
    Operator,
    /// What the image brings.
    Image,
    /// An empty one.
    Nobody,
}

impl Whose {
    /// Who is asked next.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Operator => Self::Image,
            Self::Image | Self::Nobody => Self::Nobody,
        }
    }
}

/// The text of the best configuration there is, from these on. One that can not be read is said on the console.
pub(crate) fn config(config: &Config, from: Whose) -> (Whose, String) {
    let mut whose = from;
    while let Some(path) = place(config, whose) {
        match read(&path, CONFIG_MAX) {
            Ok(text) => return (whose, text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => fault(whose, &e.to_string()),
        }
        whose = whose.next();
    }
    (Whose::Nobody, String::new())
}

/// Says what is wrong with a configuration that is passed over.
pub(crate) fn fault(whose: Whose, text: &str) {
    let (whose, instead) = match whose {
        Whose::Operator => ("the operator's", "the image's, or else none, holds instead"),
        Whose::Image => ("the image's", "every Ethernet link asks for its address instead"),
        Whose::Nobody => ("an empty", "netd is not of this system"),
    };
    let help =
        format!("{instead}; `gabion net configure` replaces it, docs/network.md says what may be in it");
    crate::console::problem(crate::system::NETD, &format!("network.toml, {whose}: {text}"), &help);
}

fn place(config: &Config, whose: Whose) -> Option<PathBuf> {
    match whose {
        Whose::Operator => Some(config.data.join("gabion").join(CONFIG)),
        Whose::Image => Some(config.apps.join(CONFIG)),
        Whose::Nobody => None,
    }
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
        let best = |from| super::config(&config, from);
        assert!(!config_is_there(&config));
        assert_eq!(best(Whose::Operator), (Whose::Nobody, String::new()));
        fs::write(config.apps.join(CONFIG), "[dns]\n").unwrap();
        assert_eq!(best(Whose::Operator), (Whose::Image, "[dns]\n".to_owned()));
        keep_config(&config, "[time]\n").unwrap();
        assert_eq!(best(Whose::Operator), (Whose::Operator, "[time]\n".to_owned()));
        assert_eq!(best(Whose::Operator.next()).0, Whose::Image);
        assert_eq!(best(Whose::Image.next()).0, Whose::Nobody);
        fs::write(config.data.join("gabion").join(CONFIG), " ".repeat(CONFIG_MAX + 1)).unwrap();
        assert_eq!(best(Whose::Operator).0, Whose::Image);
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
