//! Places inside a box: paths and device files.
//!
//! An attacker chooses the text. What holds for every value: a path is absolute, normal (no `.`/`..`/empty part) and
//! bounded; a device path lies under `/dev` and belongs to its class by name. Whether the place exists is not known
//! here.

use crate::name::checked_text;
use crate::problem::{Invalid, quote};
use serde::{Deserialize, Serialize};

checked_text! {
    /// An absolute, normal path inside the box: starts with `/`, no `.`, `..` or empty part, no control character,
    /// at most 1024 bytes.
    AbsolutePath, check_path
}

fn check_path(text: &str) -> Result<(), Invalid> {
    let fault = |what: &str| {
        Err(Invalid::new(
            format!("{} {what}", quote(text)),
            "write an absolute path without \"..\", as \"/bin/thermostat\"",
        ))
    };
    let Some(relative) = text.strip_prefix('/') else { return fault("is not an absolute path") };
    if text.len() > 1024 {
        return fault("is longer than 1024 bytes");
    }
    if text.chars().any(char::is_control) {
        return fault("has a control character");
    }
    if !relative.is_empty() && relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return fault("has an empty part, \".\" or \"..\"");
    }
    Ok(())
}

/// The kinds of device a manifest may name, by the key in `[devices]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeviceClass {
    /// `/dev/ttyS*`, `/dev/ttyAMA*`, `/dev/ttyUSB*`, `/dev/ttyACM*`.
    Serial,
    /// `/dev/gpiochip*`.
    Gpio,
    /// `/dev/i2c-*`.
    I2c,
    /// `/dev/spidev*`.
    Spi,
    /// `/dev/tpmrm*`: system boxes only, apps reach keys over the bus.
    Tpm,
    /// `/dev/vport0p*`: a virtual machine's ports to its host, in developer images. System boxes only.
    Developer,
}

impl DeviceClass {
    /// Every class, in the order of the manifest's reference.
    pub const ALL: [Self; 6] = [Self::Serial, Self::Gpio, Self::I2c, Self::Spi, Self::Tpm, Self::Developer];

    /// The key in `[devices]`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Gpio => "gpio",
            Self::I2c => "i2c",
            Self::Spi => "spi",
            Self::Tpm => "tpm",
            Self::Developer => "developer",
        }
    }

    /// What the device's name begins with; digits (and one dot, for `spidev0.1`) follow.
    const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Serial => &["/dev/ttyS", "/dev/ttyAMA", "/dev/ttyUSB", "/dev/ttyACM"],
            Self::Gpio => &["/dev/gpiochip"],
            Self::I2c => &["/dev/i2c-"],
            Self::Spi => &["/dev/spidev"],
            Self::Tpm => &["/dev/tpmrm"],
            Self::Developer => &["/dev/vport0p"],
        }
    }

    /// Whether only a system box may have it.
    pub const fn system_only(self) -> bool {
        matches!(self, Self::Tpm | Self::Developer)
    }

    fn holds(self, path: &str) -> bool {
        self.prefixes().iter().any(|prefix| {
            let number = path.strip_prefix(prefix).unwrap_or("");
            (1..=7).contains(&number.len())
                && number.starts_with(|c: char| c.is_ascii_digit())
                && number.ends_with(|c: char| c.is_ascii_digit())
                && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        })
    }
}

/// One device file a box may open, exclusively.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(DeviceClass, String)", into = "(DeviceClass, String)")]
pub struct Device {
    class: DeviceClass,
    path: String,
}

impl Device {
    /// A device of `class` at `path`, if the path is one of that class.
    pub fn new(class: DeviceClass, path: &str) -> Result<Self, Invalid> {
        if class.holds(path) {
            return Ok(Self { class, path: path.to_owned() });
        }
        let names: Vec<String> = class.prefixes().iter().map(|prefix| format!("\"{prefix}0\"")).collect();
        Err(Invalid::new(
            format!("{} is not a {} device", quote(path), class.key()),
            format!("write a path such as {}", names.join(" or ")),
        ))
    }

    /// The kind of device.
    pub fn class(&self) -> DeviceClass {
        self.class
    }

    /// The path, the same on the device and in the box.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl TryFrom<(DeviceClass, String)> for Device {
    type Error = Invalid;
    fn try_from((class, path): (DeviceClass, String)) -> Result<Self, Invalid> {
        Self::new(class, &path)
    }
}

impl From<Device> for (DeviceClass, String) {
    fn from(device: Device) -> Self {
        (device.class, device.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_path_climbing_is_refused() {
        for good in ["/", "/bin/sh", "/data/a b"] {
            assert!(good.parse::<AbsolutePath>().is_ok(), "{good}");
        }
        for bad in ["", "bin/sh", "/a/../b", "/..", "/./a", "//a", "/a/", "/a\0b", "/a\nb"] {
            assert!(bad.parse::<AbsolutePath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn device_outside_its_class_is_refused() {
        assert!(Device::new(DeviceClass::Serial, "/dev/ttyS1").is_ok());
        assert!(Device::new(DeviceClass::Spi, "/dev/spidev0.1").is_ok());
        for bad in
            ["/dev/mem", "/dev/ttyS", "/dev/ttyS1/../mem", "/dev/ttySx", "/dev/tty1", "ttyS1", "/dev/ttyS."]
        {
            assert!(Device::new(DeviceClass::Serial, bad).is_err(), "{bad}");
        }
        assert!(Device::new(DeviceClass::Developer, "/dev/vport0p1").is_ok());
        for bad in ["/dev/vport0", "/dev/vport0p", "/dev/vport1p1", "/dev/vport0p1p1", "/dev/hvc0"] {
            assert!(Device::new(DeviceClass::Developer, bad).is_err(), "{bad}");
        }
    }
}
