//! `update.toml`: what the device may run, and how it updates. Written by whoever makes the image, or by the device's owner.
//!
//! ```toml
//! product = "box"                     # the system is of this product
//! catalog = "acme"                    # apps are of this catalog, and of no other
//! check_s = 21600                     # asks the service at least this often
//! bytes_per_s = 131072                # fetches no faster
//! metered = false                     # true: fetches when the owner says so, with `gabion update check`
//! health_s = 600                      # a new system has to be well this long after the device booted
//! trial_s = 60                        # a new app has to run this long
//! disks = false                       # true: takes updates of disks that are put in
//! stores = ["cdn.example.com:443"]    # where the repository's server may send us besides itself
//! [[windows]]                         # applied in these times alone, UTC
//! day = "monday"
//! from = "02:00"
//! minutes = 180
//! ```
//!
//! `product` and `catalog` are not left to the service: one that was taken over, or another customer of it, could give a
//! device what was signed for somebody else's.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use service_api::Name;
use service_api::updates::Window;

/// Between two checks, seconds: what is taken, and what there is without a word.
const CHECK_S: std::ops::RangeInclusive<u32> = 60..=604_800;
const CHECK_DEFAULT_S: u32 = 6 * 3600;
/// Slower than the first is what a server is given up for (`tuf::http`).
const BYTES_PER_S: std::ops::RangeInclusive<u64> = 1024..=1 << 30;
/// Until a new system is well, seconds. The last is below what sandboxd waits for by itself.
const HEALTH_S: std::ops::RangeInclusive<u32> = 60..=840;
const HEALTH_DEFAULT_S: u32 = 600;
/// How long a new app has to run, seconds.
const TRIAL_S: std::ops::RangeInclusive<u32> = 5..=3600;
const TRIAL_DEFAULT_S: u32 = 60;
/// Servers that may be named: with the service and the repository they are what the firewall lets us reach.
pub const STORES_MAX: usize = 2;
/// Windows that may be named.
const WINDOWS_MAX: usize = 32;
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The system is of this product.
    pub product: Name,
    /// Apps are of this catalog.
    pub catalog: Name,
    /// Longest time between two checks, seconds.
    pub check_s: u32,
    /// At most so many bytes are fetched in a second.
    pub bytes_per_s: Option<u64>,
    /// Fetched is when the owner says so.
    pub metered: bool,
    /// Updates are taken of disks that are put in.
    pub disks: bool,
    /// How long a new system has to become well, seconds since the device booted.
    pub health_s: u32,
    /// How long a new app has to run, seconds.
    pub trial_s: u32,
    /// `HOST:PORT` of other servers.
    pub stores: Vec<(String, u16)>,
    /// When updates are applied; at any time if none.
    pub windows: Vec<Window>,
}

/// What is wrong with `update.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    product: String,
    catalog: String,
    check_s: Option<u32>,
    bytes_per_s: Option<u64>,
    #[serde(default)]
    metered: bool,
    #[serde(default)]
    disks: bool,
    health_s: Option<u32>,
    trial_s: Option<u32>,
    #[serde(default)]
    stores: Vec<String>,
    #[serde(default)]
    windows: Vec<ClaimedWindow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimedWindow {
    day: String,
    from: String,
    minutes: u16,
}

impl FromStr for Settings {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let claimed: Claimed = toml::from_str(text).map_err(|e| SettingsError(one_line(e.message())))?;
        let name =
            |key: &str, text: String| Name::try_from(text).map_err(|e| SettingsError(format!("{key}: {e}")));
        if claimed.stores.len() > STORES_MAX || claimed.windows.len() > WINDOWS_MAX {
            let text = format!("at most {STORES_MAX} stores and {WINDOWS_MAX} windows may be named");
            return Err(SettingsError(text));
        }
        Ok(Self {
            product: name("product", claimed.product)?,
            catalog: name("catalog", claimed.catalog)?,
            check_s: within("check_s", claimed.check_s.unwrap_or(CHECK_DEFAULT_S), CHECK_S)?,
            bytes_per_s: claimed
                .bytes_per_s
                .map(|rate| within("bytes_per_s", rate, BYTES_PER_S))
                .transpose()?,
            metered: claimed.metered,
            disks: claimed.disks,
            health_s: within("health_s", claimed.health_s.unwrap_or(HEALTH_DEFAULT_S), HEALTH_S)?,
            trial_s: within("trial_s", claimed.trial_s.unwrap_or(TRIAL_DEFAULT_S), TRIAL_S)?,
            stores: claimed.stores.iter().map(|text| store(text)).collect::<Result<_, _>>()?,
            windows: claimed.windows.iter().map(window).collect::<Result<_, _>>()?,
        })
    }
}

fn within<T: PartialOrd + fmt::Display>(
    key: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, SettingsError> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(SettingsError(format!("{key} is {value}; it can be {} to {}", range.start(), range.end())))
}

fn store(text: &str) -> Result<(String, u16), SettingsError> {
    let wrong = || SettingsError(format!("\"{text}\" below stores is not of the form HOST:PORT"));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
    if !plain {
        return Err(wrong());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

fn window(claimed: &ClaimedWindow) -> Result<Window, SettingsError> {
    let ClaimedWindow { day, from, minutes } = claimed;
    let known = DAYS.iter().position(|known| known == day);
    let day = known
        .ok_or_else(|| SettingsError(format!("\"{day}\" is no day; write one of {}", DAYS.join(", "))))?;
    let time = from.split_once(':').and_then(|(hours, minutes)| {
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    });
    let time = time.ok_or_else(|| SettingsError(format!("\"{from}\" is no time of the form HH:MM")))?;
    let minutes = within("minutes", *minutes, 1..=10_080)?;
    Ok(Window { from: u16::try_from(day * 1440).unwrap_or(0) + time, minutes })
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "product = \"box\"\ncatalog = \"acme\"\n";

    #[test]
    fn settings_with_the_least_have_what_the_rest_is_without_a_word() {
        let settings: Settings = LEAST.parse().unwrap();
        assert_eq!((settings.health_s, settings.trial_s, settings.check_s), (600, 60, 21_600));
        assert!(!settings.metered && settings.windows.is_empty() && settings.bytes_per_s.is_none());
    }

    #[test]
    fn window_is_read_as_minutes_of_the_week() {
        let text = format!(
            "{LEAST}stores = [\"[fd00::1]:443\"]\n[[windows]]\nday = \"tuesday\"\nfrom = \"02:30\"\nminutes = 60\n"
        );
        let settings: Settings = text.parse().unwrap();
        assert_eq!(settings.windows, [Window { from: 1440 + 150, minutes: 60 }]);
        assert_eq!(settings.stores, [("fd00::1".to_owned(), 443)]);
    }

    #[test]
    fn settings_with_a_fault_are_refused_with_what_to_write() {
        for (more, word) in [
            ("check_s = 1\n", "check_s"),
            ("health_s = 841\n", "840"),
            ("bytes_per_s = 5\n", "bytes_per_s"),
            ("trial_s = 4\n", "trial_s"),
            ("colour = 1\n", "colour"),
            ("stores = [\"a\"]\n", "HOST:PORT"),
            ("stores = [\"a:1\", \"b:1\", \"c:1\"]\n", "at most"),
            ("[[windows]]\nday = \"someday\"\nfrom = \"02:30\"\nminutes = 60\n", "monday"),
            ("[[windows]]\nday = \"monday\"\nfrom = \"24:30\"\nminutes = 60\n", "HH:MM"),
            ("[[windows]]\nday = \"monday\"\nfrom = \"12:30\"\nminutes = 0\n", "minutes"),
        ] {
            let error = format!("{LEAST}{more}").parse::<Settings>().unwrap_err().to_string();
            assert!(error.contains(word), "{more}: {error}");
        }
        assert!("product = \"box\"\n".parse::<Settings>().unwrap_err().0.contains("catalog"));
        assert!("product = \"Box/\"\ncatalog = \"a\"\n".parse::<Settings>().is_err());
    }
}
