//! Who gets a deployment, and when the next wave follows. Without clock, database or chance.
//!
//! What holds:
//! * Who is in a wave is in every later one: a device has one place in a deployment, and a wave is a share of the places.
//! * Who was told of a deployment is told so again until it stops; who runs it is not sent back by that.
//! * What stopped does not begin again, and no wave is passed over.
//!
//! What devices say of themselves decides; a device that lies counts as one device.

mod places;
mod progress;
mod said;

pub use places::{PLACES, place};
pub use progress::{overall, removal, standing, subject};
pub use said::{Account, Earlier, Said};

use service_api::deployments::{Counts, DeploymentState as State, Wave};
use service_api::updates::Stage;

/// Where a deployment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout<'a> {
    /// How it is doing.
    pub state: State,
    /// Its waves: at least one, rising, the last of 100 percent.
    pub waves: &'a [Wave],
    /// How many of them are open: at least one.
    pub open: usize,
    /// The devices in these.
    pub counts: Counts,
}

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Open the next wave.
    Open,
    /// Wait for somebody's approval of the next wave.
    Wait,
    /// Stop: too many have failed.
    Stop(String),
    /// It is done.
    Finish,
}

/// Why waves are refused.
pub fn check(waves: &[Wave]) -> Result<(), &'static str> {
    let shares = || waves.iter().map(|wave| wave.percent);
    if waves.iter().any(|wave| wave.success_percent > 100 || wave.error_percent > 100) {
        return Err("a threshold is 0 to 100 percent");
    }
    if shares().next().is_none_or(|first| first == 0) || shares().zip(shares().skip(1)).any(|(a, b)| a >= b) {
        return Err("each wave is of more percent than the one before");
    }
    if shares().next_back() != Some(100) {
        return Err("the last wave is of 100 percent");
    }
    Ok(())
}

impl Rollout<'_> {
    /// What follows from how the devices are doing; none: nothing.
    pub fn next(&self) -> Option<Next> {
        if !matches!(self.state, State::Running | State::Waiting) {
            return None;
        }
        let wave = self.waves.get(self.open.checked_sub(1)?)?;
        // Devices that came to the group since count as well.
        let all = self.counts.chosen.max(self.counts.told);
        let errors = self.counts.failed + self.counts.rolled_back;
        if wave.error_percent < 100 && errors * 100 > all * u64::from(wave.error_percent) {
            let most = wave.error_percent;
            return Some(Next::Stop(format!(
                "{errors} of {all} devices failed, which is more than {most} %"
            )));
        }
        if self.state == State::Waiting || self.counts.complete * 100 < all * u64::from(wave.success_percent)
        {
            return None;
        }
        Some(match (self.open < self.waves.len(), wave.approval) {
            (false, _) => Next::Finish,
            (true, true) => Next::Wait,
            (true, false) => Next::Open,
        })
    }

    /// Places that are open.
    pub fn open_places(&self) -> u32 {
        let last = self.open.checked_sub(1).and_then(|last| self.waves.get(last));
        last.map_or(0, |wave| u32::from(wave.percent) * (PLACES / 100))
    }

    /// The wave, counted from nought, in which a place is.
    pub fn wave_of(&self, place: u32) -> Option<usize> {
        self.waves.iter().position(|wave| place < u32::from(wave.percent) * (PLACES / 100))
    }

    /// Whether a device at `place` is meant to run it. `told`: how far it was when it was told so before, if it was.
    pub fn entitles(&self, place: u32, told: Option<Option<Stage>>) -> bool {
        match (self.state, told) {
            (_, Some(Some(Stage::RolledBack))) => false,
            (State::Stopped, told) => matches!(told, Some(Some(Stage::Trial | Stage::Complete))),
            (_, Some(_)) => true,
            (State::Running | State::Waiting | State::Finished, None) => place < self.open_places(),
            // All were to get it, and the later one is not for this device yet.
            (State::Replaced, None) => self.open_places() == PLACES,
            (State::Paused, None) => false,
        }
    }
}

#[cfg(test)]
mod tests;
