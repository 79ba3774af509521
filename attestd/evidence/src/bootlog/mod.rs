//! The firmware's event log: what was measured into which PCR, from reset to the kernel.
//!
//! The crypto-agile form of the TCG PC Client Platform Firmware Profile, 10; the kernel shows it as
//! `/sys/kernel/security/tpm0/binary_bios_measurements`.
//!
//! **What may be believed of it.** The log is whatever the device sends. Once it replays to the PCR values that the TPM has
//! quoted, its *digests* are what was extended, in that order. An event's *type and data* are still anybody's words, unless the
//! digest is that of the data: [`Event::is_described`] says whether it is.

mod event;
mod read;
mod signatures;
mod words;

pub use event::{Event, Meaning, Variable, kind};
pub use read::{LogError, SIZE_MAX};
pub use signatures::signatures;

use crate::Digest;
use std::collections::BTreeMap;

/// PCRs below this one start from zero when the machine is reset, and only then.
const STATIC_PCRS: u32 = 16;

/// An event log that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLog {
    /// What was measured, in order.
    pub events: Vec<Event>,
}

impl BootLog {
    /// Reads a log of at most [`SIZE_MAX`] bytes.
    pub fn read(raw: &[u8]) -> Result<Self, LogError> {
        read::read(raw).map(|events| Self { events })
    }

    /// What the PCRs hold if the log is the truth: a value for each static PCR, zero where nothing was extended.
    #[must_use]
    pub fn replay(&self) -> BTreeMap<u32, Digest> {
        let mut values: BTreeMap<u32, Digest> = (0..STATIC_PCRS).map(|pcr| (pcr, Digest::ZERO)).collect();
        for event in &self.events {
            if event.extends() {
                values.entry(event.pcr).and_modify(|value| *value = value.extended(&event.digest));
            } else if let Meaning::Locality(locality) = event.meaning() {
                // 10.4.5.3: PCR 0 starts at the locality of TPM2_Startup. A note that comes later must not make what was
                // measured before it disappear.
                let mut start = Digest::ZERO;
                start.0[31] = locality;
                values
                    .entry(0)
                    .and_modify(|value| *value = if *value == Digest::ZERO { start } else { *value });
            }
        }
        values
    }

    /// The events that extended a PCR.
    pub fn of_pcr(&self, pcr: u32) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.pcr == pcr && event.extends())
    }
}
