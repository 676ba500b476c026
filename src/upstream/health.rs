//! Which URL of several is asked first. A URL that failed goes to the end for a while, longer each time; one that sent lies goes
//! behind those, and answering again does not bring it back: only time does. None is left out, since it may be the only one, but
//! for one that asked to be left alone (`Retry-After`): it is, until that is over. A 5xx to a look-up speaks of that module only,
//! which the server may be fetching while we wait, so only that look-up is not repeated before its time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::error::FetchError;
use crate::clock::Clock;

/// The first pause after a failure; doubled by each further one.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failures: an upstream that comes back is used again within minutes.
const MAX_FAILURE_PAUSE: Duration = Duration::from_secs(300);
/// The first pause after a lie; doubled by each further one.
const LIE_PAUSE: Duration = Duration::from_secs(300);
/// The longest pause after lies.
const MAX_LIE_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// Look-ups that are not repeated yet; each takes some 200 bytes. Those beyond are repeated when somebody asks.
const MAX_POSTPONED: usize = 10_000;
/// Reasons are cut off here.
const MAX_WHY_CHARS: usize = 300;

/// What is known of one URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlHealth {
    /// Failures since it last answered.
    pub failures: u32,
    /// Lies that it was caught at.
    pub lies: u32,
    /// Why it failed or was marked last.
    pub why: Option<String>,
    failed_until: Option<Instant>,
    silent_until: Option<Instant>,
    lied_until: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Health {
    clock: Clock,
    urls: Mutex<Vec<UrlHealth>>,
    /// Until when a URL does not want to hear of a look-up.
    postponed: Cache<(usize, String), Instant>,
}

impl Health {
    pub(super) fn new(count: usize, clock: Clock) -> Health {
        let urls = Mutex::new(vec![UrlHealth::default(); count]);
        Health { clock, urls, postponed: Cache::new(MAX_POSTPONED) }
    }

    /// All URLs by number, the most promising first; equally good ones in the order of the configuration.
    pub(super) fn order(&self) -> Vec<usize> {
        let now = self.clock.instant();
        let urls = self.urls();
        let still = |until: Option<Instant>| until.filter(|until| *until > now);
        let mut order: Vec<usize> = (0..urls.len()).collect();
        order.sort_by_key(|n| (still(urls[*n].lied_until), still(urls[*n].failed_until)));
        order
    }

    pub(super) fn answered(&self, n: usize) {
        let url = &mut self.urls()[n];
        (url.failures, url.failed_until) = (0, None);
    }

    pub(super) fn failed(&self, n: usize, error: &FetchError) {
        let url = &mut self.urls()[n];
        url.failures = url.failures.saturating_add(1);
        let pause = backoff(FAILURE_PAUSE, MAX_FAILURE_PAUSE, url.failures);
        let now = self.clock.instant();
        let asked = error.retry_after().unwrap_or_default();
        url.failed_until = Some(now + pause.max(asked));
        url.why = Some(error.to_string().chars().take(MAX_WHY_CHARS).collect());
    }

    /// It failed and said for how long it wants to be left alone: with everything, or with this look-up.
    pub(super) fn silenced(&self, n: usize, lookup: Option<&str>, error: &FetchError) {
        let Some(asked) = error.retry_after().filter(|asked| !asked.is_zero()) else { return };
        let until = self.clock.instant() + asked;
        match (lookup, error) {
            (Some(path), FetchError::Unavailable { status: 500.., .. }) => {
                self.postponed.insert((n, path.to_owned()), until);
            }
            _ => {
                let url = &mut self.urls()[n];
                url.silent_until = url.silent_until.max(Some(until));
            }
        }
    }

    pub(super) fn lied(&self, n: usize, why: &str) {
        let url = &mut self.urls()[n];
        url.lies = url.lies.saturating_add(1);
        url.lied_until = Some(self.clock.instant() + backoff(LIE_PAUSE, MAX_LIE_PAUSE, url.lies));
        url.why = Some(why.chars().take(MAX_WHY_CHARS).collect());
    }

    /// How long a URL wants to be left alone yet, with everything or with this look-up.
    pub(super) fn wants_silence(&self, n: usize, lookup: Option<&str>) -> Option<Duration> {
        let postponed = lookup.and_then(|path| self.postponed.get(&(n, path.to_owned())));
        let until = self.urls()[n].silent_until.max(postponed)?;
        let left = until.checked_duration_since(self.clock.instant())?;
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn snapshot(&self) -> Vec<UrlHealth> {
        self.urls().clone()
    }

    fn urls(&self) -> MutexGuard<'_, Vec<UrlHealth>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `first` doubled for each time after the first, at most `longest`, less a random part of up to a quarter: many nodes that lost
/// the same upstream at once do not come back to it at once.
pub(crate) fn backoff(first: Duration, longest: Duration, times: u32) -> Duration {
    let doubled = 2u32.checked_pow(times.saturating_sub(1)).and_then(|factor| first.checked_mul(factor));
    let pause = doubled.map_or(longest, |pause| pause.min(longest));
    // Without randomness the pause is merely not spread.
    let random = getrandom::u32().unwrap_or(0);
    pause - pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Said, SourceUrl};

    fn unavailable(retry_after: Option<u64>) -> FetchError {
        let url = SourceUrl::parse("https://a.example").unwrap().redacted();
        let retry_after = retry_after.map(Duration::from_secs);
        FetchError::Unavailable { url, status: 503, retry_after, said: Said::default() }
    }

    fn three() -> (Health, Clock) {
        let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
        (Health::new(3, clock.clone()), clock)
    }

    #[test]
    fn a_failed_url_goes_last_and_comes_back_in_time() {
        let (health, clock) = three();
        assert_eq!(health.order(), [0, 1, 2]);
        health.failed(0, &unavailable(None));
        assert_eq!(health.order(), [1, 2, 0]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(health.order(), [0, 1, 2], "one failure is forgiven after a second");
        for _ in 0..20 {
            health.failed(0, &unavailable(None));
        }
        clock.advance(Duration::from_secs(200));
        assert_eq!(health.order(), [1, 2, 0]);
        clock.advance(Duration::from_secs(101));
        assert_eq!(health.order(), [0, 1, 2], "no pause is longer than five minutes");
        health.failed(1, &unavailable(Some(1000)));
        clock.advance(Duration::from_secs(999));
        assert_eq!(health.order(), [0, 2, 1], "the server asked for a longer one");
        health.answered(1);
        assert_eq!(health.order(), [0, 1, 2]);
    }

    #[test]
    fn silence_is_kept_for_all_or_for_one_look_up() {
        let (health, clock) = three();
        health.silenced(1, None, &unavailable(Some(10)));
        health.silenced(0, Some("lookup/a"), &unavailable(Some(10)));
        health.silenced(2, None, &unavailable(None));
        clock.advance(Duration::from_secs(9));
        let (one, left) = (Some("lookup/a"), Some(Duration::from_secs(1)));
        health.answered(1);
        assert_eq!(
            health.wants_silence(1, None),
            left,
            "an answer that was on its way does not end the silence"
        );
        assert_eq!((health.wants_silence(1, one), health.wants_silence(2, one)), (left, None));
        assert_eq!((health.wants_silence(0, one), health.wants_silence(0, Some("lookup/b"))), (left, None));
        assert_eq!(health.wants_silence(0, None), None, "heads and tiles are another matter");
        clock.advance(Duration::from_secs(1));
        assert_eq!((health.wants_silence(1, None), health.wants_silence(0, one)), (None, None));
    }

    #[test]
    fn a_lie_is_behind_a_failure_and_an_answer_does_not_redeem_it() {
        let (health, clock) = three();
        health.lied(0, "a forged tile");
        health.failed(1, &unavailable(None));
        assert_eq!(health.order(), [2, 1, 0]);
        health.answered(0);
        health.answered(1);
        assert_eq!(health.order(), [1, 2, 0]);
        assert_eq!(
            (health.snapshot()[0].lies, health.snapshot()[0].why.as_deref()),
            (1, Some("a forged tile"))
        );
        clock.advance(Duration::from_secs(301));
        assert_eq!(health.order(), [0, 1, 2]);
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(300));
        for (times, want) in [(0, 1), (1, 1), (2, 2), (5, 16), (10, 300), (u32::MAX, 300)] {
            let want = Duration::from_secs(want);
            for _ in 0..100 {
                let pause = backoff(first, longest, times);
                assert!(pause <= want && pause >= want.mul_f64(0.7499), "{times}: {pause:?}");
            }
        }
    }
}
