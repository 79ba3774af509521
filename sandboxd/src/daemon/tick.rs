//! What time brings: watchdogs, the worker's patience, paused sources, the table.

use std::io;

use sys::bundle::Request;

use super::Daemon;
use crate::console;
use crate::table;

/// How often dropped lines are told of.
pub(super) const SETTLE_EVERY_MS: u64 = 2000;
/// How soon an answer that did not fit into `appsd`'s socket is tried again.
const DESK_RETRY_MS: u64 = 20;

impl Daemon {
    /// The next time [`Daemon::tick`] has something to do.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let watchdogs = self.apps.values().filter_map(|a| a.watchdog.deadline_ms()).min();
        let paused = self.paused.iter().map(|(until, _)| *until).min();
        let all = [
            watchdogs,
            paused,
            self.schedule.deadline_ms(),
            self.worker.deadline_ms(),
            self.bus.deadline_ms(),
            self.desk_power_ms().filter(|at| *at != u64::MAX),
            self.desk_waits().then(|| sys::process::now_ms() + DESK_RETRY_MS),
            self.settle_at_ms,
            self.denied_deadline_ms(),
            self.wiping.deadline_ms(),
            self.net.deadline_ms(),
            self.attest.deadline_ms(),
            self.update.deadline_ms(self.config.safe_mode),
            self.installs.deadline_ms(),
            self.developer_deadline_ms(),
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: u64) -> io::Result<()> {
        self.watchdogs(now)?;
        self.next_plan(now)?;
        self.worker_patience(now)?;
        self.packages_tick(now)?;
        self.door_tick()?;
        if !self.locked && !self.worker.reading() && !self.bus.grants.is_complete() {
            self.net_complete();
            self.bus_complete();
        }
        self.desk_power_due(now)?;
        self.denied_due(now);
        self.wipe_some()?;
        if self.desk_waits() {
            self.desk_flush();
        }
        if self.bus.deadline_ms().is_some_and(|at| at <= now) {
            self.bus_flush();
        }
        if self.net.deadline_ms().is_some_and(|at| at <= now) {
            self.net_flush();
        }
        if self.attest.deadline_ms().is_some_and(|at| at <= now) {
            self.attest_flush();
        }
        if self.update.outbox_ms().is_some_and(|at| at <= now) {
            self.update_flush();
        }
        self.update_overdue(now);
        self.update_disks(now);
        let (due, later) = self.paused.drain(..).partition(|(until, _)| *until <= now);
        self.paused = later;
        let due: Vec<_> = due;
        for (_, ready) in due {
            self.listen(ready, true);
        }
        if self.settle_at_ms.is_some_and(|at| at <= now) {
            self.settle_at_ms = None;
            self.apps.values_mut().filter(|a| a.log.unsettled()).for_each(|a| a.log.settle());
        }
        let busy = self.worker.reading() || self.apps.values().any(|a| a.busy());
        if let Some(first) = self.schedule.due(busy, now) {
            self.table(first);
        }
        Ok(())
    }

    fn watchdogs(&mut self, now: u64) -> io::Result<()> {
        for app in self.apps.values_mut() {
            if let Some(limit) = app.watchdog.overdue(now) {
                app.killed_for_ms = Some(limit);
                console::say(format_args!("event overdue id={} silent_ms={limit}", app.id));
                self.init.ask(&Request::Kill(app.uid))?;
            }
        }
        Ok(())
    }

    fn table(&self, first: bool) {
        let mut rows: Vec<_> = self.apps.values().map(|a| a.row()).collect();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        let mut text = String::from("gabion: boxes\n");
        text.push_str(&table::render(&rows));
        text.push_str("gabion: end of boxes\n");
        console::write(&text);
        if first {
            let running = rows.iter().filter(|r| r.pid.is_some()).count();
            console::say(format_args!("ready boxes={} running={running}", rows.len()));
        }
    }
}
