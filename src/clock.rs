//! Time: the only place of the program that reads a clock.
//!
//! Two clocks are told apart. [`Clock::now`] is the calendar time that is written into evidence and shown to people; it may
//! jump. [`Clock::instant`] is the monotonic time that deadlines and back-off are measured with; it never goes back. No
//! decision about the log's integrity depends on either.
//!
//! ```
//! use std::time::Duration;
//! use tallystick::clock::Clock;
//! let clock = Clock::fixed("2026-11-21T13:00:00.5Z".parse()?);
//! assert_eq!(clock.now().to_string(), "2026-11-21T13:00:00.5Z");
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(clock.unix_time().seconds, 1_795_266_060);
//! assert_eq!(clock.unix_time().nanos, 500_000_000);
//! # Ok::<(), jiff::Error>(())
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A point in time as the store keeps it: seconds since 1970-01-01T00:00:00Z and the nanoseconds after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime {
    /// Whole seconds, rounded down; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, 0 to 999,999,999.
    pub nanos: u32,
}

/// Where time comes from. Clones share the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed: Option<Arc<FixedClock>>,
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
struct FixedClock {
    start: Timestamp,
    /// How far the calendar was set back.
    back: Mutex<Duration>,
    /// Real monotonic time at creation: timers of the runtime, which are real, then agree with deadlines made from this clock.
    start_instant: Instant,
    elapsed: Mutex<Duration>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// A clock for tests that shows `start` until [`Clock::advance`] is called.
    pub fn fixed(start: Timestamp) -> Clock {
        let fixed = FixedClock {
            start,
            back: Mutex::new(Duration::ZERO),
            start_instant: Instant::now(),
            elapsed: Mutex::new(Duration::ZERO),
        };
        Clock { fixed: Some(Arc::new(fixed)) }
    }

    /// Calendar time.
    pub fn now(&self) -> Timestamp {
        match &self.fixed {
            None => Timestamp::now(),
            // A test that leaves the calendar (year 9999) sees the last moment of it.
            Some(fixed) => {
                let now = fixed.start.checked_add(fixed.elapsed()).unwrap_or(Timestamp::MAX);
                let back = *fixed.back.lock().unwrap_or_else(PoisonError::into_inner);
                now.checked_sub(back).unwrap_or(Timestamp::MIN)
            }
        }
    }

    /// Calendar time as seconds and nanoseconds.
    pub fn unix_time(&self) -> UnixTime {
        let nanos = self.now().as_nanosecond();
        let seconds =
            i64::try_from(nanos.div_euclid(1_000_000_000)).expect("a timestamp's seconds fit 64 bits");
        let nanos = u32::try_from(nanos.rem_euclid(1_000_000_000)).expect("less than 10^9 fits 32 bits");
        UnixTime { seconds, nanos }
    }

    /// Monotonic time, for deadlines and durations.
    pub fn instant(&self) -> Instant {
        match &self.fixed {
            None => Instant::now(),
            Some(fixed) => fixed.start_instant + fixed.elapsed(),
        }
    }

    /// Moves a fixed clock, calendar and monotonic time alike. Panics on the machine's clock: that is a mistake in a test.
    pub fn advance(&self, by: Duration) {
        let fixed = self.fixed.as_ref().expect("only a fixed clock can be moved");
        *fixed.elapsed.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Sets the calendar of a fixed clock back; monotonic time stays. Panics on the machine's clock.
    pub fn set_back(&self, by: Duration) {
        let fixed = self.fixed.as_ref().expect("only a fixed clock can be set back");
        *fixed.back.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

/// Notices that the calendar was set back: less of it has passed than of monotonic time.
///
/// A machine that sleeps stops both, so it is no reason for an alarm; one that is set forward makes
/// nothing happen twice.
#[derive(Debug)]
pub struct ClockWatch {
    clock: Clock,
    /// Both times at the last look.
    last: (Timestamp, Instant),
}

impl ClockWatch {
    /// Smaller steps are how a time service keeps a clock right.
    pub const TOLERANCE: Duration = Duration::from_secs(1);

    /// Begins to watch.
    pub fn new(clock: Clock) -> ClockWatch {
        let last = (clock.now(), clock.instant());
        ClockWatch { clock, last }
    }

    /// Returns how far the calendar was set back since the last look, if it was.
    pub fn look(&mut self) -> Option<Duration> {
        let now = (self.clock.now(), self.clock.instant());
        let passed = now.1.saturating_duration_since(self.last.1);
        let expected = self.last.0.checked_add(passed).unwrap_or(Timestamp::MAX);
        self.last = now;
        let back = Duration::try_from(expected.duration_since(now.0)).ok()?;
        (back > ClockWatch::TOLERANCE).then_some(back)
    }
}

/// What the kernel's monotonic clock shows. Unlike an [`Instant`] it can be told to another process
/// of this machine.
pub(crate) fn kernel_monotonic() -> Duration {
    let found = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(found).unwrap_or_default()
}

impl FixedClock {
    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_forward_and_is_after_this_was_written() {
        let clock = Clock::system();
        let before = clock.instant();
        assert!(clock.now() > "2026-01-01T00:00:00Z".parse().unwrap());
        assert!(clock.instant() >= before);
    }

    #[test]
    fn clones_of_a_fixed_clock_move_together() {
        let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
        let (other, before) = (clock.clone(), clock.instant());
        clock.advance(Duration::from_millis(1500));
        assert_eq!(other.now().to_string(), "2026-11-21T00:00:01.5Z");
        assert_eq!(other.instant() - before, Duration::from_millis(1500));
    }

    #[test]
    fn a_calendar_that_is_set_back_is_noticed_once() {
        let clock = Clock::fixed("2026-12-01T00:00:00Z".parse().unwrap());
        let mut watch = ClockWatch::new(clock.clone());
        clock.advance(Duration::from_secs(3600));
        assert_eq!(watch.look(), None);
        clock.set_back(Duration::from_millis(900));
        assert_eq!(watch.look(), None, "a time service corrects so much");
        clock.advance(Duration::from_secs(10));
        clock.set_back(Duration::from_secs(600));
        assert_eq!(clock.now().to_string(), "2026-12-01T00:50:09.1Z");
        assert_eq!(watch.look(), Some(Duration::from_secs(600)));
        assert_eq!(watch.look(), None);
    }

    #[test]
    fn unix_time_rounds_down_before_1970() {
        let clock = Clock::fixed("1969-12-31T23:59:59.25Z".parse().unwrap());
        assert_eq!(clock.unix_time(), UnixTime { seconds: -1, nanos: 250_000_000 });
    }
}
