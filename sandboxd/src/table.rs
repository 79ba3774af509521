//! The table of boxes for people, and when to print it. No clock inside.

/// Quiet time after a change before the set counts as settled, milliseconds.
const SETTLE_MS: u64 = 1000;
/// Least time between two tables.
const EVERY_MS: u64 = 2000;
/// The first table is not put off for ever by an app that never settles.
const FIRST_BY_MS: u64 = 15_000;

/// One box's line.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// App id.
    pub id: String,
    /// State in one word.
    pub state: &'static str,
    /// Its uid; `None` before it has one.
    pub uid: Option<u32>,
    /// Its first process.
    pub pid: Option<u32>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Launches after the first.
    pub restarts: u32,
    /// How it last ended.
    pub last: String,
}

/// The table, whole lines.
pub fn render(rows: &[Row]) -> String {
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let head = ["APP", "STATE", "UID", "PID", "MEMORY", "RESTARTS", "LAST"].map(str::to_owned);
    let body = rows.iter().map(|row| {
        [
            row.id.clone(),
            row.state.to_owned(),
            cell(row.uid.map(|n| n.to_string())),
            cell(row.pid.map(|n| n.to_string())),
            cell(row.memory.map(kib)),
            row.restarts.to_string(),
            if row.last.is_empty() { "-".to_owned() } else { row.last.clone() },
        ]
    });
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(body).collect();
    let width =
        |column: usize| lines.iter().filter_map(|l| l.get(column)).map(String::len).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(widths).map(|(c, w)| format!("{c:<w$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn kib(bytes: u64) -> String {
    if bytes >= 10 << 20 { format!("{}MiB", bytes >> 20) } else { format!("{}KiB", bytes >> 10) }
}

/// When the table is due.
#[derive(Debug)]
pub struct Schedule {
    began_ms: u64,
    /// The first and the last change since the last table.
    changed_ms: Option<(u64, u64)>,
    printed_ms: Option<u64>,
}

impl Schedule {
    /// Starting now.
    pub fn new(now_ms: u64) -> Self {
        Self { began_ms: now_ms, changed_ms: Some((now_ms, now_ms)), printed_ms: None }
    }

    /// Something that the table shows changed.
    pub fn changed(&mut self, now_ms: u64) {
        let first = self.changed_ms.map_or(now_ms, |(first, _)| first);
        self.changed_ms = Some((first, now_ms));
    }

    /// When to look again.
    pub fn deadline_ms(&self) -> Option<u64> {
        let (first, last) = self.changed_ms?;
        Some(match self.printed_ms {
            Some(printed) => (last + SETTLE_MS).min(first + 2 * EVERY_MS).max(printed + EVERY_MS),
            None => (last + SETTLE_MS).min(self.began_ms + FIRST_BY_MS),
        })
    }

    /// Whether to print now; `busy` while boxes are still on their way up. The first time gives `Some(true)`.
    pub fn due(&mut self, busy: bool, now_ms: u64) -> Option<bool> {
        if self.deadline_ms()? > now_ms {
            return None;
        }
        let first = self.printed_ms.is_none();
        if first && busy && now_ms < self.began_ms + FIRST_BY_MS {
            self.changed(now_ms);
            return None;
        }
        self.changed_ms = None;
        self.printed_ms = Some(now_ms);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_lines_up() {
        let rows = [
            Row {
                id: "a.b".into(),
                state: "up",
                uid: Some(10_000),
                pid: Some(7),
                memory: Some(2048),
                ..Row::default()
            },
            Row { id: "com.example.long".into(), state: "problem", last: "code=1".into(), ..Row::default() },
        ];
        let text = render(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "APP               STATE    UID    PID  MEMORY  RESTARTS  LAST");
        assert_eq!(lines[1], "a.b               up       10000  7    2KiB    0         -");
        assert_eq!(lines[2], "com.example.long  problem  -      -    -       0         code=1");
    }

    #[test]
    fn schedule_waits_for_quiet_then_prints_once_then_seldom() {
        let mut schedule = Schedule::new(0);
        schedule.changed(500);
        assert_eq!(schedule.due(false, 1400), None);
        assert_eq!(schedule.due(true, 1500), None);
        assert_eq!(schedule.due(false, 2500), Some(true));
        assert_eq!(schedule.due(false, 9000), None);
        schedule.changed(9000);
        assert_eq!(schedule.due(false, 9999), None);
        assert_eq!(schedule.due(true, 10_000), Some(false));
        let mut printed = 0;
        for now in 10_001..20_000 {
            schedule.changed(now);
            printed += u32::from(schedule.due(false, now).is_some());
        }
        assert!((2..=5).contains(&printed), "{printed}");
    }

    #[test]
    fn schedule_first_table_is_not_put_off_for_ever() {
        let mut schedule = Schedule::new(0);
        let first = (0..60_000).find(|now| {
            schedule.changed(*now);
            schedule.due(true, *now).is_some()
        });
        assert_eq!(first, Some(FIRST_BY_MS));
    }
}
