//! USB, which is closed until the device has read that its owner takes updates of disks that are put in.
//!
//! The kernel is built so that no driver is bound to anything that is plugged in (`USB_DEFAULT_AUTHORIZATION_MODE=0`); besides those
//! of controllers and hubs its only driver is that of disks. So on other devices, and before the verified root runs and has read its owner's
//! settings, whoever plugs something in is heard by the kernel as to what it is, and by no driver. `usbguard` and ChromeOS close
//! USB by the same files; neither is needed where there is one kind of device and one question. It stays open until the device boots.

use std::fs;
use std::io;
use std::path::Path;

/// What there is of USB.
pub(crate) const DEVICES: &str = "/sys/bus/usb/devices";

/// Lets drivers have what is plugged in, and what will be. A board without USB has nothing to open. Each device is asked how it wants
/// to be used, which it may take its time for; and one that was being counted is in no list yet, so this is to be done again.
///
/// # Errors
/// A device does not answer as it should. The others are open.
pub(crate) fn open(devices: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(devices) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?.collect::<io::Result<Vec<_>>>()?,
    };
    let mut opened = Ok(());
    // First for what comes from now on, behind a hub that is allowed below as well.
    for (file, of_roots) in [("authorized_default", true), ("authorized", false)] {
        for entry in &entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // `usb1` is a root, `1-4` what is plugged into it, `1-4:1.0` a part of that.
            if name.starts_with("usb") != of_roots || name.contains(':') {
                continue;
            }
            let place = entry.path().join(file);
            let written =
                fs::write(&place, "1").map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")));
            // Or it was pulled out meanwhile.
            if written.is_err() && place.exists() && opened.is_ok() {
                opened = written;
            }
        }
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plugged_in_is_allowed_and_what_will_be() {
        let place = tempfile::tempdir().unwrap();
        let put = |name: &str, file: &str| {
            fs::create_dir_all(place.path().join(name)).unwrap();
            fs::write(place.path().join(name).join(file), "0").unwrap();
        };
        put("usb1", "authorized_default");
        put("usb1", "authorized");
        put("1-4", "authorized");
        put("1-4:1.0", "authorized");
        open(place.path()).unwrap();
        let has = |name: &str, file: &str| fs::read_to_string(place.path().join(name).join(file)).unwrap();
        assert_eq!([has("usb1", "authorized_default"), has("1-4", "authorized")], ["1", "1"]);
        assert_eq!([has("usb1", "authorized"), has("1-4:1.0", "authorized")], ["0", "0"]);
        open(&place.path().join("none")).unwrap();
    }

    #[test]
    fn device_that_does_not_answer_keeps_no_other_closed() {
        let place = tempfile::tempdir().unwrap();
        for (name, file) in [("usb1", "authorized_default"), ("1-1", "authorized"), ("1-2", "authorized")] {
            fs::create_dir_all(place.path().join(name)).unwrap();
            fs::write(place.path().join(name).join(file), "0").unwrap();
        }
        fs::remove_file(place.path().join("1-1/authorized")).unwrap();
        fs::create_dir(place.path().join("1-1/authorized")).unwrap();
        assert!(open(place.path()).unwrap_err().to_string().starts_with("1-1: "));
        assert_eq!(fs::read_to_string(place.path().join("1-2/authorized")).unwrap(), "1");
    }
}
