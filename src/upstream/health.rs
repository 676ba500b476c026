//! Which URL of several is asked first, and which is left alone for a while. A refusal counts for
//! what was asked and for nothing else: one module that a server is slow with, or one kind of
//! request that it has had enough of, says nothing about the rest.
//!
//! | the answer | to | what follows | for how long |
//! |---|---|---|---|
//! | 429 | any request | requests of its [`Kind`] are not sent | its `Retry-After`, else 1 s, doubled each time; at most 60 s |
//! | 5xx with `Retry-After` | a look-up | that look-up is not sent: the server may be fetching the module | the same |
//! | 5xx with `Retry-After` | another request | requests of its kind are not sent | the same |
//! | no connection | any request | the URL is asked last, for everything | 1 s, doubled up to 5 min |
//! | any other failure | any request | the URL is asked last, for requests of its kind | 1 s, doubled up to 5 min |
//! | a lie | any request | the URL is asked last, for everything | 5 min, doubled up to a day |
//!
//! An answer ends what followed failures of its kind and of the connection; only time ends what
//! followed a lie or a refusal.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::error::FetchError;
use crate::clock::Clock;

/// The first pause after a failure; doubled by each further one.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failures: an upstream that comes back is used again within minutes.
const MAX_FAILURE_PAUSE: Duration = Duration::from_secs(300);
/// The longest that a URL is left alone because it asks for it. A server that wants more is asked
/// once in this time.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The first pause after a lie; doubled by each further one.
const LIE_PAUSE: Duration = Duration::from_secs(300);
/// The longest pause after lies.
const MAX_LIE_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// Look-ups that are not repeated yet; each takes some 200 bytes. Those beyond are repeated when
/// somebody asks.
const MAX_POSTPONED: usize = 10_000;
/// Reasons are cut off here.
const MAX_WHY_CHARS: usize = 300;

/// What is known of one URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlHealth {
    /// Failures of each kind of request since it last answered one, together.
    pub failures: u32,
    /// Lies that it was caught at.
    pub lies: u32,
    /// Why it failed or was marked last.
    pub why: Option<String>,
}

/// What a URL is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The newest head.
    Head,
    /// The record of a module version.
    Lookup,
    /// A tile.
    Tile,
    /// Whether a proxy passes the database on.
    Support,
}

const KINDS: usize = 4;

/// A question, as far as a URL's health depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) kind: Kind,
    /// The path below the URL.
    pub(super) path: &'a str,
}

#[derive(Debug)]
pub(super) struct SourceHealth {
    clock: Clock,
    urls: Mutex<Vec<Url>>,
    /// Until when a URL does not want to hear of a look-up.
    postponed: Cache<(usize, String), Instant>,
}

#[derive(Clone, Debug, Default)]
struct Url {
    kinds: [Record; KINDS],
    connection: Record,
    lies: u32,
    lied_until: Option<Instant>,
    why: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Record {
    failures: u32,
    failed_until: Option<Instant>,
    silent_until: Option<Instant>,
}

impl Record {
    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.failed_until = Some(now + backoff(FAILURE_PAUSE, MAX_FAILURE_PAUSE, self.failures));
    }

    fn answer(&mut self) {
        (self.failures, self.failed_until) = (0, None);
    }
}

impl SourceHealth {
    pub(super) fn new(count: usize, clock: Clock) -> SourceHealth {
        let urls = Mutex::new(vec![Url::default(); count]);
        SourceHealth { clock, urls, postponed: Cache::new(MAX_POSTPONED) }
    }

    /// Returns all URLs by number, the most promising for such a request first; equally good ones
    /// in the order of the configuration.
    pub(super) fn order(&self, kind: Kind) -> Vec<usize> {
        let now = self.clock.instant();
        let urls = self.urls();
        let still = |until: Option<Instant>| until.filter(|until| *until > now);
        let mut order: Vec<usize> = (0..urls.len()).collect();
        order.sort_by_key(|n| {
            let Url { kinds, connection, lied_until, .. } = &urls[*n];
            (still(*lied_until), still(connection.failed_until.max(kinds[kind as usize].failed_until)))
        });
        order
    }

    pub(super) fn answered(&self, n: usize, kind: Kind) {
        let url = &mut self.urls()[n];
        url.connection.answer();
        url.kinds[kind as usize].answer();
    }

    /// Notes that a URL gave no answer, and whether it wants to be left alone.
    pub(super) fn failed(&self, n: usize, question: Question<'_>, error: &FetchError) {
        let now = self.clock.instant();
        let url = &mut self.urls()[n];
        url.why = Some(error.to_string().chars().take(MAX_WHY_CHARS).collect());
        let kind = &mut url.kinds[question.kind as usize];
        match error {
            FetchError::Unreachable { .. } => url.connection.fail(now),
            _ => kind.fail(now),
        }
        let FetchError::Unavailable { status, retry_after, .. } = error else { return };
        let unsaid = || (*status == 429).then(|| backoff(FAILURE_PAUSE, MAX_SILENCE, kind.failures));
        let Some(pause) = retry_after.filter(|asked| !asked.is_zero()).or_else(unsaid) else { return };
        let until = now + pause.min(MAX_SILENCE);
        if question.kind == Kind::Lookup && *status != 429 {
            self.postponed.insert((n, question.path.to_owned()), until);
        } else {
            kind.silent_until = kind.silent_until.max(Some(until));
        }
    }

    pub(super) fn lied(&self, n: usize, why: &str) {
        let url = &mut self.urls()[n];
        url.lies = url.lies.saturating_add(1);
        url.lied_until = Some(self.clock.instant() + backoff(LIE_PAUSE, MAX_LIE_PAUSE, url.lies));
        url.why = Some(why.chars().take(MAX_WHY_CHARS).collect());
    }

    /// How long a URL wants to be left alone yet with a question.
    pub(super) fn wants_silence(&self, n: usize, question: Question<'_>) -> Option<Duration> {
        let is_lookup = question.kind == Kind::Lookup;
        let postponed = is_lookup.then(|| self.postponed.get(&(n, question.path.to_owned()))).flatten();
        let until = self.urls()[n].kinds[question.kind as usize].silent_until.max(postponed)?;
        let left = until.checked_duration_since(self.clock.instant())?;
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn snapshot(&self) -> Vec<UrlHealth> {
        let health = |Url { kinds, connection, lies, why, .. }: &Url| {
            let failures =
                kinds.iter().map(|kind| kind.failures).fold(connection.failures, u32::saturating_add);
            UrlHealth { failures, lies: *lies, why: why.clone() }
        };
        self.urls().iter().map(health).collect()
    }

    fn urls(&self) -> MutexGuard<'_, Vec<Url>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `first` doubled for each time after the first, at most `longest`, less a random part of up to a
/// quarter: many nodes that lost the same upstream at once do not come back to it at once.
pub(crate) fn backoff(first: Duration, longest: Duration, times: u32) -> Duration {
    let doubled = 2u32.checked_pow(times.saturating_sub(1)).and_then(|factor| first.checked_mul(factor));
    let pause = doubled.map_or(longest, |pause| pause.min(longest));
    // Without randomness the pause is merely not spread.
    let random = getrandom::u32().unwrap_or(0);
    pause - pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::Kind::{Head, Lookup, Support, Tile};
    use super::*;
    use crate::source::SourceUrl;
    use crate::upstream::{Stage, UpstreamMessage};

    fn said(status: u16, retry_after: Option<u64>) -> FetchError {
        let url = SourceUrl::parse("https://a.example").unwrap().redacted();
        let retry_after = retry_after.map(Duration::from_secs);
        FetchError::Unavailable { url, status, retry_after, said: UpstreamMessage::default() }
    }

    fn unreachable() -> FetchError {
        let url = SourceUrl::parse("https://a.example").unwrap().redacted();
        FetchError::Unreachable { url, stage: Stage::Connect, why: "refused".into(), fix: None }
    }

    fn about(kind: Kind) -> Question<'static> {
        Question { kind, path: "lookup/a" }
    }

    fn three() -> (SourceHealth, Clock) {
        let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
        (SourceHealth::new(3, clock.clone()), clock)
    }

    #[test]
    fn a_failed_url_goes_last_and_comes_back_in_time() {
        let (health, clock) = three();
        assert_eq!(health.order(Head), [0, 1, 2]);
        health.failed(0, about(Head), &said(503, None));
        assert_eq!(health.order(Head), [1, 2, 0]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(health.order(Head), [0, 1, 2], "one failure is forgiven after a second");
        for _ in 0..20 {
            health.failed(0, about(Head), &said(503, None));
        }
        clock.advance(Duration::from_secs(200));
        assert_eq!(health.order(Head), [1, 2, 0]);
        clock.advance(Duration::from_secs(101));
        assert_eq!(health.order(Head), [0, 1, 2], "no pause is longer than five minutes");
    }

    #[test]
    fn a_failure_counts_for_its_kind_and_a_lost_connection_for_all() {
        let (health, _) = three();
        health.failed(0, about(Lookup), &said(500, None));
        assert_eq!(
            (health.order(Lookup), health.order(Head), health.order(Tile)),
            (vec![1, 2, 0], vec![0, 1, 2], vec![0, 1, 2])
        );
        health.answered(0, Tile);
        assert_eq!(health.order(Lookup), [1, 2, 0], "a tile says nothing about look-ups");
        health.answered(0, Lookup);
        assert_eq!(health.order(Lookup), [0, 1, 2]);
        health.failed(1, about(Lookup), &unreachable());
        assert_eq!((health.order(Head), health.order(Lookup)), (vec![0, 2, 1], vec![0, 2, 1]));
        health.answered(1, Tile);
        assert_eq!((health.order(Head), health.snapshot()[1].failures), (vec![0, 1, 2], 0));
    }

    /// The table above, row by row: what was asked, what was said, and how long each kind is left
    /// alone after it.
    #[test]
    fn a_refusal_pauses_what_was_asked_and_no_longer_than_a_minute() {
        let all = [
            about(Head),
            about(Lookup),
            about(Tile),
            about(Support),
            Question { kind: Lookup, path: "lookup/b" },
        ];
        for (asked, status, retry_after, want) in [
            (Head, 429, Some(10), [10, 0, 0, 0, 0]),
            (Lookup, 429, Some(10), [0, 10, 0, 0, 10]),
            (Tile, 429, Some(10), [0, 0, 10, 0, 0]),
            (Support, 429, Some(10), [0, 0, 0, 10, 0]),
            (Lookup, 429, Some(3600), [0, 60, 0, 0, 60]),
            (Lookup, 503, Some(10), [0, 10, 0, 0, 0]),
            (Lookup, 503, Some(3600), [0, 60, 0, 0, 0]),
            (Lookup, 503, None, [0; 5]),
            (Tile, 503, Some(3600), [0, 0, 60, 0, 0]),
            (Head, 503, Some(10), [10, 0, 0, 0, 0]),
            (Head, 500, None, [0; 5]),
        ] {
            let (health, clock) = three();
            health.failed(1, about(asked), &said(status, retry_after));
            health.answered(1, asked);
            let left = all.map(|question| health.wants_silence(1, question).unwrap_or_default().as_secs());
            assert_eq!(left, want, "{asked:?} {status} {retry_after:?}");
            assert!(all.iter().all(|question| health.wants_silence(0, *question).is_none()));
            clock.advance(Duration::from_secs(60));
            assert!(all.iter().all(|question| health.wants_silence(1, *question).is_none()));
        }
    }

    #[test]
    fn who_has_had_too_much_and_does_not_say_for_how_long_is_left_alone_longer_each_time() {
        let (health, clock) = three();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            health.failed(0, about(Lookup), &said(429, None));
            let pause = health.wants_silence(0, about(Lookup)).unwrap();
            clock.advance(pause);
            pauses.push(pause.as_secs_f64());
        }
        let want: Vec<f64> = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60].map(f64::from).to_vec();
        let is_spread = |(pause, want): (&f64, &f64)| *pause <= *want && *pause >= want * 0.7499;
        assert!(pauses.iter().zip(&want).all(is_spread), "{pauses:?}");
    }

    #[test]
    fn a_lie_is_behind_a_failure_and_an_answer_does_not_redeem_it() {
        let (health, clock) = three();
        health.lied(0, "a forged tile");
        health.failed(1, about(Tile), &said(503, None));
        assert_eq!(health.order(Tile), [2, 1, 0]);
        health.answered(0, Tile);
        health.answered(1, Tile);
        assert_eq!(health.order(Tile), [1, 2, 0]);
        assert_eq!(
            (health.snapshot()[0].lies, health.snapshot()[0].why.as_deref()),
            (1, Some("a forged tile"))
        );
        clock.advance(Duration::from_secs(301));
        assert_eq!(health.order(Tile), [0, 1, 2]);
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
