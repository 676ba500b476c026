//! How fast one remote log is asked: requests and bytes a second, over everything that is asked of
//! it.
//!
//! Two buckets that hold a second's worth each. A request waits until those before it are paid for;
//! bytes are counted as they come, and the next piece of any body, and the next request, wait until
//! they are paid for. So the rate holds over any longer time, whatever is in flight, and a short
//! exchange is not slowed down at all.
//!
//! ```text
//! requests_per_second = 5      five at once, then one each 200 ms
//! bytes_per_second = 1048576   a megabyte at once, then a megabyte a second
//! ```

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::clock::Clock;

/// What a bucket holds when nothing was taken for a while.
const BURST: Duration = Duration::from_secs(1);

/// How fast a remote log may be asked; no limit where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    /// Requests begun in a second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Bytes of bodies received in a second.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// Keeps a [`Speed`].
#[derive(Debug)]
pub(super) struct Throttle {
    clock: Clock,
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// When everything that was taken is paid for; never more than [`BURST`] ago, as far as it
    /// counts.
    paid_at: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(super) fn new(speed: Speed, clock: Clock) -> Throttle {
        let bucket = |per_second: f64| Bucket { per_second, paid_at: Mutex::new(None) };
        Throttle {
            clock,
            requests: speed.requests_per_second.map(|rate| bucket(f64::from(rate.get()))),
            bytes: speed.bytes_per_second.map(|rate| bucket(rate.get() as f64)),
        }
    }

    /// Waits until one more request may begin; returns for how long.
    pub(super) async fn request(&self) -> Duration {
        let now = self.clock.instant();
        let begun = self.requests.as_ref().map_or(Duration::ZERO, |bucket| bucket.take(1, now));
        // Nothing is added to what cannot be paid for yet.
        let owed = self.bytes.as_ref().map_or(Duration::ZERO, |bucket| bucket.take(0, now));
        pause(begun.max(owed)).await
    }

    /// Counts bytes that came, and waits until they are paid for; returns for how long.
    pub(super) async fn received(&self, bytes: u64) -> Duration {
        let Some(bucket) = &self.bytes else { return Duration::ZERO };
        pause(bucket.take(bytes, self.clock.instant())).await
    }
}

async fn pause(wait: Duration) -> Duration {
    if !wait.is_zero() {
        sleep(wait).await;
    }
    wait
}

impl Bucket {
    /// Takes so many; returns how long it is until they are paid for.
    fn take(&self, count: u64, now: Instant) -> Duration {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = now.checked_sub(BURST).unwrap_or(now);
        let from = paid_at.map_or(full, |paid_at| paid_at.max(full));
        let until = from + Duration::from_secs_f64(count as f64 / self.per_second);
        *paid_at = Some(until);
        until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: f64) -> (Bucket, Clock) {
        let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
        // A machine that was just started has no earlier instant to count from.
        clock.advance(Duration::from_secs(10));
        (Bucket { per_second, paid_at: Mutex::new(None) }, clock)
    }

    #[test]
    fn a_second_is_free_and_the_rest_is_paid_for() {
        let (bucket, clock) = bucket(5.0);
        let waits: Vec<u128> = (0..8).map(|_| bucket.take(1, clock.instant()).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 200, 400, 600]);
        clock.advance(Duration::from_millis(600));
        assert_eq!(bucket.take(0, clock.instant()), Duration::ZERO, "all is paid for");
        assert_eq!(bucket.take(1, clock.instant()).as_millis(), 200, "and nothing saved up");
        clock.advance(Duration::from_secs(3600));
        assert_eq!(bucket.take(5, clock.instant()), Duration::ZERO, "an hour of silence saves up a second");
        assert_eq!(bucket.take(1, clock.instant()).as_millis(), 200);
    }

    #[test]
    fn what_is_larger_than_a_second_is_paid_for_in_full() {
        let (bucket, clock) = bucket(1000.0);
        assert_eq!(bucket.take(1_000_000, clock.instant()).as_secs(), 999);
        assert_eq!(bucket.take(500, clock.instant()).as_millis(), 999_500);
    }
}
