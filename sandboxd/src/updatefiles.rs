//! What `updated` is handed to read, in its box and not here: the owner's settings, and the repository's first root.
//!
//! Each lies beside the apps, as the image was made, or below `/data/gabion`, which goes before it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use bus::bulk;
use bus::update_link::CONFIG_MAX;

use crate::config::Config;

/// The owner's settings.
pub(crate) const SETTINGS: &str = "update.toml";
/// The root of TUF that the device trusts from the start.
pub(crate) const TRUST: &str = "update-root.json";

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

#[cfg(test)]
mod tests {
    use super::*;
    use bulk::Sealed;
    use std::fs;

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
}
