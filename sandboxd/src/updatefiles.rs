//! What `updated` is handed to read, in its box and not here: the owner's settings, and the repository's first root.
//!
//! Each lies beside the apps, as the image was made, or below `/data/gabion`, which goes before it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use bus::bulk;
use bus::update_link::CONFIG_MAX;

use crate::config::Config;
use crate::whole;

/// The owner's settings.
pub(crate) const SETTINGS: &str = "update.toml";
/// The root of TUF that the device trusts from the start.
pub(crate) const TRUST: &str = "update-root.json";

/// Whether the device has settings of updates.
pub(crate) fn is_updated(config: &Config) -> bool {
    [config.data.join("gabion"), config.apps.clone()].iter().any(|place| place.join(SETTINGS).exists())
}

/// One of the two as a sealed memfd; `None` when there is none. One that can not be read is said on the console.
pub(crate) fn given(config: &Config, name: &str) -> Option<OwnedFd> {
    let [kept, given] = [config.data.join("gabion").join(name), config.apps.join(name)];
    let path = if kept.exists() { kept } else { given };
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(CONFIG_MAX + 1).read_to_end(&mut bytes));
    let sealed = match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Ok(length) if length as u64 > CONFIG_MAX => {
            Err(io::Error::other(format!("longer than {CONFIG_MAX} bytes")))
        }
        other => other.and_then(|_| bulk::seal(c"update", &bytes)),
    };
    let say = |e: &io::Error| {
        let text = format!("can not read {}: {e}", path.display());
        crate::console::problem("device", &text, "correct the file; updates go on without it");
    };
    sealed.inspect_err(say).ok()
}

/// A system that was tried and did not last: its version, and why, in two lines.
const FAILED: &str = "update-failed";
const FAILED_MAX: u64 = 1024;

/// Keeps why the system of a version did not last, for the one that runs after it.
pub(crate) fn keep_failed(config: &Config, version: &str, why: &str) -> io::Result<()> {
    whole::replace(&config.data.join("gabion").join(FAILED), format!("{version}\n{why}\n").as_bytes())
}

/// What was kept last.
pub(crate) fn failed(config: &Config) -> Option<(String, String)> {
    let mut text = String::new();
    let file = File::open(config.data.join("gabion").join(FAILED)).ok()?;
    file.take(FAILED_MAX).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    Some((plain(lines.next()?), plain(lines.next()?)))
}

/// Forgets it: a newer one is good.
pub(crate) fn forget_failed(config: &Config) {
    // What can not be removed is told again, and is true.
    let _ = fs::remove_file(config.data.join("gabion").join(FAILED));
}

/// Characters of a text of ours.
const TEXT_MAX: usize = 300;

/// As the link takes text: what is not plain is a question mark.
pub(crate) fn plain(text: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && c != '\\' { c } else { '?' };
    text.chars().take(TEXT_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulk::Sealed;

    #[test]
    fn settings_on_the_storage_go_before_the_images_and_too_long_ones_are_none() {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::told(|_| None, std::iter::empty());
        (config.data, config.apps) = (place.path().join("data"), place.path().join("apps"));
        fs::create_dir_all(config.data.join("gabion")).unwrap();
        fs::create_dir_all(&config.apps).unwrap();
        let read =
            || given(&config, SETTINGS).map(|fd| Sealed::open(fd, CONFIG_MAX).unwrap().read().unwrap());
        assert_eq!(read(), None);
        fs::write(config.apps.join(SETTINGS), "image").unwrap();
        assert_eq!(read().unwrap(), b"image");
        fs::write(config.data.join("gabion").join(SETTINGS), "owner").unwrap();
        assert_eq!(read().unwrap(), b"owner");
        fs::write(config.data.join("gabion").join(SETTINGS), vec![b' '; CONFIG_MAX as usize + 1]).unwrap();
        assert_eq!(read(), None);
    }

    #[test]
    fn why_a_system_failed_is_known_until_it_is_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::told(|_| None, std::iter::empty());
        config.data = place.path().join("data");
        fs::create_dir_all(config.data.join("gabion")).unwrap();
        assert_eq!(failed(&config), None);
        keep_failed(&config, "1.2.0", "no app ran").unwrap();
        assert_eq!(failed(&config), Some(("1.2.0".to_owned(), "no app ran".to_owned())));
        fs::write(config.data.join("gabion").join(FAILED), "1.\u{1b}2").unwrap();
        assert_eq!(failed(&config), None);
        forget_failed(&config);
        assert_eq!(failed(&config), None);
    }

    #[test]
    fn text_of_ours_is_taken_at_the_other_end() {
        use bus::update_link::ToUpdated;
        let any: String = (0..400).filter_map(char::from_u32).collect();
        let message = ToUpdated::Refused(plain(&any));
        assert_eq!(ToUpdated::decode(&message.encode()), Some(message));
        assert_eq!(plain("no room is left"), "no room is left");
    }
}
