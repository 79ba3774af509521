//! Dates of metadata: `2026-11-26T01:02:03Z`, in this form alone, as seconds since 1970.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY_S: i64 = 86_400;

/// A moment, in seconds since 1970, between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(i64);

impl Date {
    /// The moment that is so many seconds after 1970; none outside of the years 1 to 9999.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        (-62_135_596_800..=253_402_300_799).contains(&seconds).then_some(Self(seconds))
    }

    /// Seconds since 1970.
    pub fn unix(self) -> i64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
        let form = b"0000-00-00T00:00:00Z";
        let fits =
            |(byte, like): (&u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == like };
        if !bytes.iter().zip(form).all(fits) {
            return None;
        }
        let number = |from: usize, digits: usize| text.get(from..from + digits)?.parse::<i64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = days_before(year, month, day)?;
        Self::from_unix(days * DAY_S + hour * 3600 + minute * 60 + second)
    }
}

/// Days from 1970-01-01 to this date of the Gregorian calendar. (Howard Hinnant, "chrono-compatible low-level date
/// algorithms": years begin in March, so that the day that some lack is the last.)
fn days_before(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let march_year = if month <= 2 { year - 1 } else { year };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    // A day that the month has not would be a day of the next one.
    (civil(days) == (year, month, day)).then_some(days)
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = days.div_euclid(146_097) * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(DAY_S));
        let second = self.0.rem_euclid(DAY_S);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a date is YYYY-MM-DDTHH:MM:SSZ"))
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn date_is_what_others_say_it_is() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-26T01:02:03Z", 1_795_654_923),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(Date::parse(text), Some(Date(seconds)), "{text}");
        }
        for bad in
            ["2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-26T01:02:03+00:00", "2026-1-1", ""]
        {
            assert_eq!(Date::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn date_is_read_as_it_is_written(seconds in -62_135_596_800..=253_402_300_799_i64) {
            let date = Date::from_unix(seconds);
            prop_assert_eq!(date.and_then(|date| Date::parse(&date.to_string())), date);
        }
    }
}
