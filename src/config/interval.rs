//! How often stored data is verified again: a length of time, or `off`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::Span;

/// More often would only wear the disk; data that nobody looks at for a month is not being verified.
const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(31 * 24 * 3600);

/// In which time a whole mirror is verified again; none for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyInterval(pub Option<Duration>);

/// A text that is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither `off` nor a length of time between 1s and 744h")]
pub struct VerifyIntervalError;

impl Default for VerifyInterval {
    /// A day. Of 72 million records that is some ten minutes of a core and 7 GB of reading, and a rotten disk is found before
    /// the day on which the mirror is needed.
    fn default() -> VerifyInterval {
        VerifyInterval(Some(Duration::from_secs(24 * 3600)))
    }
}

impl FromStr for VerifyInterval {
    type Err = VerifyIntervalError;

    fn from_str(text: &str) -> Result<VerifyInterval, VerifyIntervalError> {
        if text == "off" {
            return Ok(VerifyInterval(None));
        }
        let Span(interval) = text.parse().map_err(|_| VerifyIntervalError)?;
        if INTERVALS.contains(&interval) {
            Ok(VerifyInterval(Some(interval)))
        } else {
            Err(VerifyIntervalError)
        }
    }
}

impl fmt::Display for VerifyInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(interval) => Span(interval).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_off_or_a_time() {
        for (text, seconds) in
            [("off", None), ("1s", Some(1)), ("24h", Some(86_400)), ("744h", Some(2_678_400))]
        {
            let interval: VerifyInterval = text.parse().unwrap();
            assert_eq!(interval.0, seconds.map(Duration::from_secs), "{text}");
            assert_eq!(interval.to_string().parse(), Ok(interval));
        }
        for wrong in ["", "0s", "500ms", "745h", "never", "-1h", "24"] {
            assert_eq!(wrong.parse::<VerifyInterval>(), Err(VerifyIntervalError), "{wrong}");
        }
    }
}
