//! One event, and what it means.

use super::words;
use crate::Digest;
use crate::bytes::{Reader, Short};

/// Types of events that have a meaning here (TCG PC Client Platform Firmware Profile, table 27).
pub mod kind {
    /// `EV_NO_ACTION`: says something, extends nothing.
    pub const NO_ACTION: u32 = 0x03;
    /// `EV_SEPARATOR`: ends what the firmware measures before it starts anything.
    pub const SEPARATOR: u32 = 0x04;
    /// `EV_S_CRTM_VERSION`.
    pub const CRTM_VERSION: u32 = 0x08;
    /// `EV_IPL`: whatever a boot loader measures.
    pub const IPL: u32 = 0x0d;
    /// `EV_EVENT_TAG`: a tagged event, also what the kernel's own EFI stub measures.
    pub const EVENT_TAG: u32 = 0x06;
    /// `EV_EFI_VARIABLE_DRIVER_CONFIG`.
    pub const VARIABLE_CONFIG: u32 = 0x8000_0001;
    /// `EV_EFI_VARIABLE_BOOT`.
    pub const VARIABLE_BOOT: u32 = 0x8000_0002;
    /// `EV_EFI_BOOT_SERVICES_APPLICATION`.
    pub const APPLICATION: u32 = 0x8000_0003;
    /// `EV_EFI_BOOT_SERVICES_DRIVER`.
    pub const BOOT_DRIVER: u32 = 0x8000_0004;
    /// `EV_EFI_RUNTIME_SERVICES_DRIVER`.
    pub const RUNTIME_DRIVER: u32 = 0x8000_0005;
    /// `EV_EFI_GPT_EVENT`.
    pub const PARTITIONS: u32 = 0x8000_0006;
    /// `EV_EFI_ACTION`.
    pub const ACTION: u32 = 0x8000_0007;
    /// `EV_EFI_PLATFORM_FIRMWARE_BLOB`.
    pub const FIRMWARE: u32 = 0x8000_0008;
    /// `EV_EFI_HANDOFF_TABLES`.
    pub const TABLES: u32 = 0x8000_0009;
    /// `EV_EFI_PLATFORM_FIRMWARE_BLOB2`.
    pub const FIRMWARE2: u32 = 0x8000_000a;
    /// `EV_EFI_VARIABLE_BOOT2`.
    pub const VARIABLE_BOOT2: u32 = 0x8000_000c;
    /// `EV_EFI_VARIABLE_AUTHORITY`.
    pub const AUTHORITY: u32 = 0x8000_00e0;
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log; the log's own beginning is 0.
    pub number: usize,
    /// The PCR that was extended.
    pub pcr: u32,
    /// Its type; [`kind`] has the names.
    pub kind: u32,
    /// What the PCR was extended with.
    pub digest: Digest,
    /// What the firmware says about it.
    pub data: Vec<u8>,
}

/// An EFI variable as it was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable<'a> {
    /// The namespace, as it is in memory.
    pub vendor: [u8; 16],
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: &'a [u8],
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meaning<'a> {
    /// The locality of `TPM2_Startup`; extends nothing.
    Locality(u8),
    /// The end of what the firmware measures before it starts anything; false if because of an error.
    Separator(bool),
    /// A step, in words.
    Action(String),
    /// A variable that configures Secure Boot or the boot.
    Variable(Variable<'a>),
    /// The entry of `db` that allowed an image to start: the variable has the entry alone as its value.
    Authority(Variable<'a>),
    /// An EFI program or driver that was loaded; the digest is its Authenticode hash. Where it came from is a mere claim.
    Image(String),
    /// Something that a boot loader measured, by the name it gave it, which is a mere claim.
    Named(String),
    /// Anything else.
    Other,
}

impl Event {
    /// It extended its PCR.
    #[must_use]
    pub fn extends(&self) -> bool {
        self.kind != kind::NO_ACTION
    }

    /// The digest is that of the data, so that the data may be believed as far as the digest is.
    #[must_use]
    pub fn is_described(&self) -> bool {
        Digest::of(&self.data) == self.digest
    }

    /// What it says. Data that contradicts the type, or a digest that is not of the data where the type says so, makes
    /// [`Meaning::Other`].
    #[must_use]
    pub fn meaning(&self) -> Meaning<'_> {
        let known = match self.kind {
            kind::NO_ACTION => self.locality(),
            kind::APPLICATION | kind::BOOT_DRIVER | kind::RUNTIME_DRIVER => {
                Some(Meaning::Image(words::image_path(&self.data)))
            }
            kind::IPL => words::utf16(&self.data).map(Meaning::Named),
            kind::SEPARATOR if self.is_described() => self.separator(),
            kind::ACTION if self.is_described() => words::ascii(&self.data).map(Meaning::Action),
            kind::VARIABLE_CONFIG if self.is_described() => variable(&self.data).map(Meaning::Variable),
            kind::AUTHORITY if self.is_described() => variable(&self.data).map(Meaning::Authority),
            _ => None,
        };
        known.unwrap_or(Meaning::Other)
    }

    /// For people: one printable line of at most a hundred characters or so.
    #[must_use]
    pub fn title(&self) -> String {
        match self.meaning() {
            Meaning::Locality(locality) => format!("TPM started at locality {locality}"),
            Meaning::Separator(true) => "firmware ready to start what it boots".to_owned(),
            Meaning::Separator(false) => "firmware had an error".to_owned(),
            Meaning::Action(text) => text,
            Meaning::Variable(variable) => format!("EFI variable {}", variable.name),
            Meaning::Authority(variable) => {
                format!("entry of {} that an image was allowed by", variable.name)
            }
            Meaning::Image(from) => format!("EFI image {from}"),
            Meaning::Named(name) if self.pcr == 11 => format!("section {name} of the kernel image"),
            Meaning::Named(name) => format!("boot loader: {name}"),
            Meaning::Other => words::kind(self.kind).to_owned(),
        }
    }

    /// What a boot loader handed on, in quotes and cut to a line, if the digest proves it; else [`Event::title`].
    #[must_use]
    pub fn text(&self) -> String {
        let proven = if self.is_described() { words::beginning(&self.data) } else { None };
        proven.map_or_else(|| self.title(), |text| format!("\"{text}\""))
    }

    fn locality(&self) -> Option<Meaning<'_>> {
        match self.data.strip_prefix(b"StartupLocality\0")? {
            // Others may start a TPM by no specification.
            [locality @ (0 | 3)] => Some(Meaning::Locality(*locality)),
            _ => None,
        }
    }

    fn separator(&self) -> Option<Meaning<'_>> {
        match self.data.as_slice() {
            [0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff] => Some(Meaning::Separator(true)),
            [1, 0, 0, 0] => Some(Meaning::Separator(false)),
            _ => None,
        }
    }
}

/// `UEFI_VARIABLE_DATA`.
fn variable(data: &[u8]) -> Option<Variable<'_>> {
    let read = || -> Result<_, Short> {
        let mut reader = Reader::new(data);
        let vendor = reader.array()?;
        let units = usize::try_from(reader.u64_le()?).map_err(|_| Short)?;
        let length = usize::try_from(reader.u64_le()?).map_err(|_| Short)?;
        let name = reader.take(units.checked_mul(2).ok_or(Short)?)?;
        let value = reader.take(length)?;
        Ok((vendor, name, value, reader.is_empty()))
    };
    let (vendor, name, value, whole) = read().ok()?;
    whole.then_some(Variable { vendor, name: words::utf16(name)?, value })
}
