//! What the service should hear of: as sandboxd tells it, in the words of the service.

use std::collections::BTreeMap;

use bus::attest_link::Report as Told;
use service_api::device::{REPORTS_MAX, Report, ReportBatch, ReportKind};
use service_api::{Few, Text};

/// Reports that the service does not have, by their number.
#[derive(Debug, Default)]
pub struct Reports(BTreeMap<u64, Told>);

impl Reports {
    /// Begins anew: everything is told again.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes one in; what it was before is replaced.
    pub fn add(&mut self, told: Told) {
        self.0.retain(|_, before| !alike(before, &told));
        self.0.insert(told.number, told);
        while self.0.len() > REPORTS_MAX {
            self.0.pop_first();
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as one batch of the system that runs, numbered as the last of them; `None` when there is none.
    pub fn batch(&self, os_version: &str) -> Option<ReportBatch> {
        let (batch, _) = self.0.last_key_value()?;
        // Numbers begin at 0, batches at 1.
        Some(ReportBatch {
            batch: batch.saturating_add(1),
            reports: Few::new(self.0.values().map(|told| report(told, os_version)).collect())?,
        })
    }

    /// The service has the batch. Gives the number up to which sandboxd can forget.
    pub fn taken(&mut self, batch: u64) -> u64 {
        let number = batch.saturating_sub(1);
        self.0.retain(|at, _| *at > number);
        number
    }
}

fn alike(a: &Told, b: &Told) -> bool {
    (&a.id, &a.version, &a.kind, &a.detail) == (&b.id, &b.version, &b.kind, &b.detail)
}

fn report(told: &Told, os_version: &str) -> Report {
    let kind = kind(&told.kind, &told.detail);
    // `signal=SIGSEGV`, `code=3`: the service wants the value.
    let detail = match kind {
        ReportKind::Signal | ReportKind::Exit => {
            told.detail.split_once('=').map_or(&*told.detail, |(_, value)| value)
        }
        _ => &told.detail,
    };
    Report {
        os_version: Text::shown(os_version),
        app: Text::shown(&told.id),
        app_version: Text::shown(&told.version),
        kind,
        detail: Text::shown(detail),
        count: u32::try_from(told.count).unwrap_or(u32::MAX),
        first: told.first_s,
        last: told.last_s,
    }
}

/// sandboxd's word in the service's words.
fn kind(word: &str, detail: &str) -> ReportKind {
    match word {
        "signal" => ReportKind::Signal,
        "oom" => ReportKind::OutOfMemory,
        "watchdog" => ReportKind::Watchdog,
        "refused" => ReportKind::NotStarted,
        "seccomp" => ReportKind::DeniedSyscall,
        "denied" if detail.contains("by=firewall") => ReportKind::DeniedNetwork,
        "denied" if detail.contains("by=landlock") => ReportKind::DeniedPath,
        "denied" => ReportKind::DeniedSyscall,
        _ => ReportKind::Exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: u64, kind: &str, detail: &str, count: u64) -> Told {
        let (id, version) = ("com.example.a".to_owned(), "1.0.0".to_owned());
        Told {
            number,
            id,
            version,
            kind: kind.to_owned(),
            detail: detail.to_owned(),
            count,
            first_s: 5,
            last_s: 9,
        }
    }

    #[test]
    fn reports_are_one_batch_until_the_service_has_it() {
        let mut reports = Reports::default();
        assert!(reports.batch("1.0.0").is_none());
        reports.add(told(0, "exit", "code=3", 1));
        reports.add(told(1, "denied", "connect(1.2.3.4:5) by=firewall", 1));
        reports.add(told(2, "exit", "code=3", 2));
        let batch = reports.batch("1.0.0").unwrap();
        let kinds: Vec<_> = batch.reports.iter().map(|report| (report.kind, report.count)).collect();
        assert_eq!(kinds, [(ReportKind::DeniedNetwork, 1), (ReportKind::Exit, 2)]);
        assert_eq!((batch.batch, batch.reports[1].detail.as_str()), (3, "3"));
        // One more came while the batch was under way.
        reports.add(told(3, "exit", "code=3", 3));
        assert_eq!(reports.taken(3), 2);
        assert_eq!(reports.batch("1.0.0").unwrap().reports.len(), 1);
    }
}
