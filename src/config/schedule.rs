//! Times as cron writes them, in UTC: minute, hour, day of the month, month, day of the week.
//!
//! ```
//! use tallystick::config::Schedule;
//! let schedule: Schedule = "*/5 1-3 * * MON-FRI".parse().unwrap();
//! // A Saturday; the next one is on Monday.
//! let next = schedule.next_after("2026-11-21T12:00:00Z".parse()?).unwrap();
//! assert_eq!(next.to_string(), "2026-11-23T01:00:00Z");
//! assert!("*/5 * * *".parse::<Schedule>().is_err() && "0 0 30 2 *".parse::<Schedule>().is_err());
//! # Ok::<(), jiff::Error>(())
//! ```

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A list of times that never ends.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

/// A text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no schedule as in */5 * * * *: {why}")]
pub struct ScheduleError {
    why: String,
}

/// From here on each schedule must have a time: whether it has any does not depend on when it is read.
const SOME_TIME: DateTime = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0);

impl Schedule {
    /// The first of its times after `at`; none at the end of the calendar.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = TimeZone::UTC.to_datetime(at);
        let next = self.cron.find_next_occurrence(&at, false).ok()?;
        TimeZone::UTC.to_timestamp(next).ok()
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let wrong = |why: &dyn fmt::Display| ScheduleError { why: why.to_string() };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.starts_with('@') && text.split(' ').count() != 5 {
            return Err(wrong(&"it must have five fields: minute, hour, day, month, day of the week"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|error| wrong(&error))?;
        cron.find_next_occurrence(&SOME_TIME, true).map_err(|_| wrong(&"no day is ever like that"))?;
        Ok(Schedule { text, cron })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Schedule) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the rules of POSIX crontab, by hand; 2026-11-21 is a Saturday.
    #[test]
    fn times_are_those_of_cron() {
        for (text, at, want) in [
            ("*/5 * * * *", "2026-11-21T12:00:00Z", "2026-11-21T12:05:00Z"),
            ("*/5 * * * *", "2026-11-21T12:04:59.9Z", "2026-11-21T12:05:00Z"),
            ("0 3 * * *", "2026-12-31T03:00:00Z", "2027-01-01T03:00:00Z"),
            ("15,45 9-17 * * 1-5", "2026-11-21T12:00:00Z", "2026-11-23T09:15:00Z"),
            ("0 0 29 2 *", "2026-11-21T12:00:00Z", "2028-02-29T00:00:00Z"),
            // Both days given: either will do.
            ("0 0 1 * 0", "2026-11-21T12:00:00Z", "2026-11-22T00:00:00Z"),
            ("@hourly", "2026-11-21T12:00:00Z", "2026-11-21T13:00:00Z"),
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.next_after(at.parse().unwrap()).unwrap().to_string(), want, "{text}");
            assert_eq!(schedule.to_string(), text);
        }
        for bad in [
            "",
            "*",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "a b c d e",
            "0 0 31 2 *",
            "@never",
            "*/0 * * * *",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
