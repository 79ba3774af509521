//! Devices that wait until what they are meant to run changes.
//!
//! Each waits for its own name and for its group's. What changed is read from the database each second, whichever process
//! changed it, and at once if it was this one. There is room for so many; whoever finds none comes again by the clock.

use crate::refusal::{Kind, Refusal};
use crate::store::deployments::Asker;
use crate::store::{Store, updates};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Devices that wait at a time.
pub const WAITING_MAX: usize = 20_000;
/// A group's devices are woken one after another, so long apart: each of them asks, and is written down.
const APART: Duration = Duration::from_millis(6);
/// How often the database is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Who waits.
#[derive(Debug, Default)]
pub struct Waiting {
    names: Mutex<HashMap<Name, (Arc<Notify>, usize)>>,
    /// Something was changed here.
    stirred: Notify,
    /// The service ends.
    ended: AtomicBool,
}

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Group(String, String, String),
    Device(String),
}

/// A place among those who wait.
#[derive(Debug)]
pub struct Place {
    waiting: Arc<Waiting>,
    names: [Name; 2],
    bells: [Arc<Notify>; 2],
}

impl Waiting {
    /// A place for a device.
    ///
    /// # Errors
    /// There is none.
    pub fn place(self: &Arc<Self>, asker: &Asker) -> Result<Place, Refusal> {
        let (catalog, place) = (asker.catalog.to_string(), &asker.place);
        let names = [
            Name::Group(catalog, place.product.to_string(), place.group.to_string()),
            Name::Device(asker.device.to_string()),
        ];
        let mut all = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= WAITING_MAX {
            return Err(Refusal::new(Kind::TooMany, "too many devices wait"));
        }
        let bells = names.each_ref().map(|name| {
            let (bell, users) = all.entry(name.clone()).or_default();
            *users += 1;
            bell.clone()
        });
        Ok(Place { waiting: self.clone(), names, bells })
    }

    /// Something was changed by this process.
    pub fn stir(&self) {
        self.stirred.notify_one();
    }

    /// How many names somebody waits for.
    pub fn len(&self) -> usize {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn ring(&self, name: &Name) {
        let all = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bell, _)) = all.get(name) {
            bell.notify_waiters();
        }
    }

    /// Whether the service ends: then nobody waits any more.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let all = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().for_each(|(bell, _)| bell.notify_waiters());
    }

    /// Looks at the database until `stop` says so, and then lets all go.
    pub async fn watch(&self, store: &Store, mut stop: watch::Receiver<bool>) {
        let mut known = None;
        loop {
            match self.look(store, known).await {
                Ok(generation) => known = Some(generation),
                Err(refusal) => tracing::warn!(?refusal, "who waits for updates is told later"),
            }
            tokio::select! {
                () = crate::run::told(&mut stop) => return self.end(),
                () = self.stirred.notified() => (),
                () = tokio::time::sleep(LOOK) => (),
            }
        }
    }

    async fn look(&self, store: &Store, known: Option<i64>) -> Result<i64, Refusal> {
        let mut read = store.read().await?;
        let generation = updates::generation(&mut read).await?;
        if let Some(known) = known.filter(|known| *known != generation) {
            let (groups, devices) = updates::changed_since(&mut read, known).await?;
            groups
                .into_iter()
                .for_each(|(catalog, product, name)| self.ring(&Name::Group(catalog, product, name)));
            devices.into_iter().for_each(|id| self.ring(&Name::Device(id)));
        }
        Ok(generation)
    }
}

impl Place {
    /// The group's bell and the device's own: to be listened to before it is looked whether anything changed.
    pub fn bells(&self) -> &[Arc<Notify>; 2] {
        &self.bells
    }

    /// How long after its group's bell the device has its turn, of so long that all who wait have theirs.
    pub fn turn(&self, asker: &Asker) -> Duration {
        let all = self.waiting.names.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.names.first().and_then(|group| all.get(group)).map_or(1, |(_, users)| *users);
        let share = asker.device.as_str().get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        APART * u32::try_from(waiting).unwrap_or(u32::MAX) / 65_536 * share.unwrap_or(0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.waiting.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            if let Some((_, users)) = all.get_mut(name) {
                *users -= 1;
                if *users == 0 {
                    all.remove(name);
                }
            }
        }
    }
}
