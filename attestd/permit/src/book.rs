//! What a device makes of permits, and what it remembers of them: one is in force, or none.
//!
//! What holds, whatever order permits, ends and clocks come in:
//! * the permit in force names this device and is signed by its catalog's authority, at each look and not only when it was taken;
//! * each permit that is taken was issued after every one that was taken before, so that none comes back: neither one that was
//!   ended, nor one that another took the place of;
//! * the clock it is held against never goes back, so that a clock set back prolongs nothing. Only the service, which offers a
//!   permit when it is in force, can bring it back to where it is: a clock that was wrong once locks nobody out for ever.
//!
//! Not covered: whoever puts an older copy of the device's storage back, which is encrypted, brings back what it remembered then.
//! A permit's own end holds for him, too.

use serde::{Deserialize, Serialize};

use crate::text::TEXT_MAX;
use crate::{Claimed, Permit, Refusal};

/// How far the service's clock may be ahead of the device's, seconds.
pub const SKEW_S: u64 = 300;

/// Which device this is, and whose.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Its id.
    pub device: &'a str,
    /// Its catalog.
    pub catalog: &'a str,
    /// The key of its catalog's authority: an uncompressed point.
    pub authority: &'a [u8],
}

/// By which way a permit came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The device's service offered it, now.
    Service,
    /// Anybody.
    Hand,
}

/// What became of a permit that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was in force before.
    Same,
    /// It is in force now, in place of what was before.
    New,
}

/// See the module. Kept across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Book {
    /// The latest time that was seen, seconds since 1970-01-01 UTC.
    seen_s: u64,
    /// When the newest permit of all that were taken was issued.
    newest_s: u64,
    /// The permit that was taken last, unless it was ended.
    held: Option<String>,
}

impl Book {
    /// Takes a permit, or says why not. `now_s` is what the clock shows, which has been set.
    ///
    /// # Errors
    /// Why not.
    pub fn take(&mut self, text: &str, ground: Ground<'_>, way: Way, now_s: u64) -> Result<Taken, Refusal> {
        let permit = read(text, ground)?;
        let time_s = match way {
            Way::Service => now_s,
            Way::Hand => self.time_s(now_s),
        };
        let terms = permit.terms();
        if terms.expires_s <= time_s {
            return Err(Refusal::Expired);
        }
        if terms.issued_s > time_s.saturating_add(SKEW_S) {
            return Err(Refusal::Early);
        }
        let is_held = self.held.as_deref() == Some(text.trim_ascii());
        if !is_held && terms.issued_s <= self.newest_s {
            return Err(Refusal::Used);
        }
        self.seen_s = time_s;
        self.newest_s = terms.issued_s;
        self.held = Some(text.trim_ascii().to_owned());
        Ok(if is_held { Taken::Same } else { Taken::New })
    }

    /// The permit in force, when the clock, which has been set, shows this. One that has ended or is no longer good is let go.
    pub fn in_force(&mut self, ground: Option<Ground<'_>>, now_s: u64) -> Option<Permit> {
        self.seen_s = self.time_s(now_s);
        let held = self.held.as_deref()?;
        let permit = ground.and_then(|ground| read(held, ground).ok());
        let permit = permit.filter(|permit| permit.terms().expires_s > self.seen_s);
        if permit.is_none() {
            self.held = None;
        }
        permit
    }

    /// Ends the permit that is held; whether there was one.
    pub fn end(&mut self) -> bool {
        self.held.take().is_some()
    }

    /// Whether one is held, in force or not.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether this very permit is held.
    pub fn holds(&self, text: &str) -> bool {
        self.held.as_deref() == Some(text.trim_ascii())
    }

    /// The latest time that was seen.
    pub fn seen_s(&self) -> u64 {
        self.seen_s
    }

    fn time_s(&self, now_s: u64) -> u64 {
        now_s.max(self.seen_s)
    }
}

/// A permit for this device by its catalog.
fn read(text: &str, ground: Ground<'_>) -> Result<Permit, Refusal> {
    // Before anything is copied.
    if text.len() > TEXT_MAX {
        return Err(Refusal::Form("it is too long"));
    }
    let permit = Claimed::read(text)?.checked(ground.authority)?;
    let terms = permit.terms();
    if terms.device != ground.device {
        return Err(Refusal::Device(terms.device.clone()));
    }
    if terms.catalog != ground.catalog {
        return Err(Refusal::Catalog);
    }
    Ok(permit)
}
