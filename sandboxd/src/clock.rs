//! The wall clock as stamps people read. Deadlines use `sys::process::now_ms`, which never goes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock as RFC 3339 in UTC with milliseconds.
pub fn stamp() -> String {
    stamp_ago(0)
}

/// The same, so many milliseconds ago.
pub fn stamp_ago(ms: u64) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = since.saturating_sub(Duration::from_millis(ms));
    rfc3339(then.as_secs(), then.subsec_millis())
}

/// The wall clock, seconds since 1970-01-01 UTC.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How long the process `pid` has been there, milliseconds; `None` when it is gone.
pub fn uptime_ms(pid: u32) -> Option<u64> {
    // proc_pid_stat(5): the 22nd field, of which the second may have spaces; in hundredths of a second since the boot (`USER_HZ`).
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let began: u64 = text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = text.split_whitespace().next()?.split_once('.')?;
    let now = seconds.parse::<u64>().ok()? * 1000 + rest.parse::<u64>().ok()? * 10;
    Some(now.saturating_sub(began * 10))
}

/// `seconds` after 1970-01-01 as RFC 3339.
pub fn rfc3339(seconds: u64, millis: u32) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Days after 1970-01-01 to year, month, day (Howard Hinnant's `civil_from_days`, for days not negative).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_known_moments() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(rfc3339(1_709_210_096, 999), "2024-02-29T12:34:56.999Z");
        assert_eq!(rfc3339(4_102_444_799, 0), "2099-12-31T23:59:59.000Z");
    }
}
