//! Calculation of nights. Pure. Times are milliseconds since 1970-01-01T00:00:00Z.

use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

use crate::Settings;

const MINUTE: Timestamp = 60_000;
const DAY: Timestamp = 24 * 60 * MINUTE;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "dask_operator_plugin::serde")]
#[schemars(crate = "dask_operator_plugin::schemars")]
#[allow(missing_docs, reason = "the names are self-explanatory")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All days, starting with Monday.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// Returns the day of the week that is `day` days after 1970-01-01, a Thursday.
    fn of(day: i64) -> Self {
        let index = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
        Self::ALL[index]
    }
}

/// The nights that the settings describe.
#[derive(Debug, Clone)]
pub(crate) struct Nights {
    offset: Timestamp,
    from: Timestamp,
    length: Timestamp,
    weekdays: Vec<Weekday>,
}

impl Nights {
    /// Reads the settings, or returns a finding for each invalid one.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut read = |field: &str, text: &str, value: Option<Timestamp>, example: &str| {
            if value.is_none() {
                let message = format!("{text:?} can't be used: write it as `\"{example}\"`");
                findings.push(Finding::error(field, message));
            }
            value.unwrap_or_default()
        };
        let offset = read(
            "utcOffset",
            &settings.utc_offset,
            offset(&settings.utc_offset),
            "+02:00",
        );
        let from = read("from", &settings.from, time_of_day(&settings.from), "20:00");
        let to = read("to", &settings.to, time_of_day(&settings.to), "06:00");
        if !findings.is_empty() {
            return Err(findings);
        }
        let length = if to > from { to - from } else { to + DAY - from };
        Ok(Self {
            offset,
            from,
            length,
            weekdays: settings.weekdays.clone(),
        })
    }

    /// Returns the end of the present night, or `None` by day.
    pub(crate) fn end_of_night(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.day(now);
        let nights = (today - 1..=today).filter_map(|day| self.start(day));
        nights
            .map(|start| (start, start + self.length))
            .find(|(start, end)| (*start..*end).contains(&now))
            .map(|(_, end)| end)
    }

    /// Returns the start of the next night, or `None` if there is none.
    pub(crate) fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.day(now);
        (today..=today + 7)
            .filter_map(|day| self.start(day))
            .find(|start| *start > now)
    }

    /// Returns the number of the local day, in days since 1970-01-01.
    fn day(&self, now: Timestamp) -> i64 {
        (now + self.offset).div_euclid(DAY)
    }

    /// Returns the start of the night that begins on a local day, or `None` if there is none.
    fn start(&self, day: i64) -> Option<Timestamp> {
        let has_one = self.weekdays.contains(&Weekday::of(day));
        has_one.then_some(day * DAY + self.from - self.offset)
    }
}

/// Parses a time of day, such as `20:00`, into milliseconds since midnight. Returns `None` if it is invalid.
fn time_of_day(text: &str) -> Option<Timestamp> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>()
            .ok()
            .filter(|number| digits && *number < below)
    };
    Some((number(hours, 24)? * 60 + number(minutes, 60)?) * MINUTE)
}

/// Parses an offset from UTC, such as `+02:00`, into milliseconds. Returns `None` if it is invalid.
fn offset(text: &str) -> Option<Timestamp> {
    // No time zone is 15 hours or more from UTC.
    let far = 15 * 60 * MINUTE;
    let (sign, time) = match text.split_at_checked(1)? {
        ("+", time) => (1, time),
        ("-", time) => (-1, time),
        _ => return None,
    };
    Some(sign * time_of_day(time).filter(|time| *time < far)?)
}

#[cfg(test)]
mod tests {
    use dask_operator_plugin::dask::time;

    use super::*;

    fn nights(settings: Settings) -> Nights {
        Nights::of(&settings).expect("settings")
    }

    fn at(text: &str) -> Timestamp {
        time::parse(text).expect("a time")
    }

    #[test]
    fn nights_of_workdays() {
        let workdays = nights(Settings {
            utc_offset: "-05:00".to_owned(),
            weekdays: Weekday::ALL[..5].to_vec(),
            ..Settings::default()
        });
        // 2026-01-02 is a Friday; its night is from 01:00Z to 11:00Z of the next day.
        for (now, end) in [
            ("2026-01-03T00:59:59Z", None),
            ("2026-01-03T01:00:00Z", Some("2026-01-03T11:00:00Z")),
            ("2026-01-03T10:59:59Z", Some("2026-01-03T11:00:00Z")),
            ("2026-01-03T11:00:00Z", None),
            ("2026-01-04T03:00:00Z", None),
        ] {
            assert_eq!(workdays.end_of_night(at(now)), end.map(at), "{now}");
        }
        let next = workdays.next_start(at("2026-01-03T12:00:00Z"));
        assert_eq!(next, Some(at("2026-01-06T01:00:00Z")), "Monday evening");
    }

    #[test]
    fn nights_of_24_hours() {
        let sundays = nights(Settings {
            from: "00:00".to_owned(),
            to: "00:00".to_owned(),
            weekdays: vec![Weekday::Sunday],
            ..Settings::default()
        });
        assert_eq!(
            sundays.end_of_night(at("2026-01-04T23:00:00Z")),
            Some(at("2026-01-05T00:00:00Z"))
        );
        assert_eq!(sundays.end_of_night(at("2026-01-05T00:00:00Z")), None);
        let never = nights(Settings {
            weekdays: Vec::new(),
            ..Settings::default()
        });
        assert_eq!(never.next_start(0), None);
    }

    #[test]
    fn reports_each_invalid_setting() {
        let invalid = Settings {
            utc_offset: "CET".to_owned(),
            from: "8pm".to_owned(),
            to: "24:00".to_owned(),
            ..Settings::default()
        };
        let findings = Nights::of(&invalid).expect_err("invalid settings");
        let fields: Vec<_> = findings.iter().map(|finding| finding.field.as_str()).collect();
        assert_eq!(fields, ["utcOffset", "from", "to"]);
        assert_eq!(
            findings[1].message,
            "\"8pm\" can't be used: write it as `\"20:00\"`"
        );
        for good in ["+00:00", "-09:30", "+14:00"] {
            assert!(offset(good).is_some(), "{good}");
        }
        for bad in ["", "02:00", "+2:00", "+15:00", "é02:00"] {
            assert!(offset(bad).is_none(), "{bad}");
        }
    }
}
