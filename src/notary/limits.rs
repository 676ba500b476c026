//! What look-ups of unknown modules may cost: time, memory, requests to sources, and growth of the log.
//!
//! The growth is the one that cannot be taken back: a record stays for ever. So every miss that starts work is counted, for its
//! client and in all, and what is notarised ahead is counted apart, so that it can never make a client's own look-up fail. In all,
//! the log grows by at most one and a half times [`NotaryLimits::misses_per_minute`].

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::dirhash::ZipLimits;
use crate::share::Claimant;

/// Negative answers are kept no longer than this, whatever is configured: a version that was just published must appear.
pub const MAX_NEGATIVE_CACHE: Duration = Duration::from_secs(60);
/// Clients whose recent misses are remembered, some 100 bytes each. Idle ones are dropped; beyond this all share one allowance.
const MAX_CLIENTS: usize = 65_536;
/// Idle clients are dropped after this many misses: often enough that they cannot pile up, rarely enough to cost nothing.
const MISSES_BETWEEN_SWEEPS: u32 = 1_024;

/// The limits of a notary. The defaults are those of the configuration where it has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotaryLimits {
    /// How long a client waits at most. Below the 60 s after which load balancers give up without saying why.
    pub deadline: Duration,
    /// How long the work itself may take. Longer than `deadline`: who was told to try again finds it done.
    pub flight_deadline: Duration,
    /// Misses that are worked on at the same time; more wait, and clients take turns.
    pub concurrency: usize,
    /// The same for one route, and for one server: a source that hangs must not stop the others.
    /// Where modules come from version control, one host has three quarters of it.
    pub route_concurrency: usize,
    /// Look-ups that wait for an answer, and misses that are worked on or wait. Beyond it each
    /// client has its share, and is told to try later when it is used up.
    pub max_flights: usize,
    /// Misses of one client in a minute, all of which may come at once.
    pub client_misses_per_minute: NonZeroU32,
    /// Misses of all clients in a minute.
    pub misses_per_minute: NonZeroU32,
    /// How long "not found" and "forbidden" are remembered, at most [`MAX_NEGATIVE_CACHE`].
    pub negative_cache: Duration,
    /// The sizes that a zip may have.
    pub zip: ZipLimits,
    /// How long a finished candidate waits for others that are on their way; up to five times as long where they are known to
    /// come together.
    pub gather: Duration,
    /// What is notarised before anybody asks.
    pub ahead: AheadLimits,
}

/// The limits of notarising ahead what a go.mod requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AheadLimits {
    /// Whether it is done at all.
    pub enabled: bool,
    /// How far from what a client asked for: 1 is what its go.mod requires. Since Go 1.17 that names all that a build needs.
    pub depth: u32,
    /// Modules for one look-up.
    pub per_lookup: usize,
    /// Modules that are fetched at the same time.
    pub concurrency: usize,
    /// Modules that are fetched or wait for it.
    pub max_flights: usize,
    /// How long the look-up that led to them waits for them, as long as they make progress.
    pub wait: Duration,
}

impl Default for NotaryLimits {
    fn default() -> NotaryLimits {
        NotaryLimits {
            deadline: Duration::from_secs(25),
            flight_deadline: Duration::from_secs(120),
            concurrency: 64,
            route_concurrency: 48,
            max_flights: 4_096,
            client_misses_per_minute: NonZeroU32::new(3_000).expect("it is not zero"),
            misses_per_minute: NonZeroU32::new(30_000).expect("it is not zero"),
            negative_cache: Duration::from_secs(30),
            zip: ZipLimits::default(),
            gather: Duration::from_millis(10),
            ahead: AheadLimits::default(),
        }
    }
}

impl Default for AheadLimits {
    fn default() -> AheadLimits {
        AheadLimits {
            enabled: true,
            depth: 1,
            // The longest go.mod files that people write list some hundreds; one that lists more is served as it is asked.
            per_lookup: 512,
            concurrency: 24,
            max_flights: 1_024,
            wait: Duration::from_secs(2),
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// A client known by its address. IPv6 addresses count by their /64, which one customer has whole.
    Address(IpAddr),
    /// A command of the operator: not limited, and nothing is done ahead for it.
    Operator,
}

impl ClientId {
    /// Returns whose share a look-up of this client takes.
    pub fn claimant(&self) -> Claimant {
        match self {
            ClientId::Address(address) => Claimant::at(*address),
            ClientId::Operator => Claimant::Operator,
        }
    }
}

/// Which allowance is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// The client's own.
    Client,
    /// That of all clients together.
    All,
}

/// An allowance is used up for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Which.
    pub allowance: Allowance,
    /// When there will be some of it again.
    pub retry_after: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Client(Claimant),
    /// Everybody, when there are more clients than are remembered.
    OpenMisses,
}

/// The program's clock for the rate limiters.
#[derive(Clone, Debug)]
struct LimiterClock(Clock);

impl governor::clock::Clock for LimiterClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.instant()
    }
}

type Middleware = NoOpMiddleware<Instant>;
type PerClient = RateLimiter<Key, DashMapStateStore<Key>, LimiterClock, Middleware>;
type InAll = RateLimiter<NotKeyed, InMemoryState, LimiterClock, Middleware>;

/// Rates of one kind of miss: what a client may make us do for it, and what all of them together may.
pub struct Rates {
    per_client: PerClient,
    in_all: InAll,
    unswept: AtomicU32,
    /// The most that can be admitted at once.
    burst: NonZeroU32,
}

impl Rates {
    /// So many in a minute, all of which may come at once.
    pub fn new(per_client: NonZeroU32, in_all: NonZeroU32, clock: &Clock) -> Rates {
        let clock = LimiterClock(clock.clone());
        Rates {
            per_client: RateLimiter::new(
                Quota::per_minute(per_client),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            in_all: RateLimiter::direct_with_clock(Quota::per_minute(in_all), clock),
            unswept: AtomicU32::new(0),
            burst: per_client.min(in_all),
        }
    }

    /// Counts one. The client's allowance first: one that exceeds its own must not use up that of all.
    pub fn admit(&self, client: &ClientId) -> Result<(), Exhausted> {
        self.admit_many(client, NonZeroU32::MIN)
    }

    /// Counts so many at once: all of them, or none. More than a whole minute's worth count as a minute's worth.
    pub fn admit_many(&self, client: &ClientId, count: NonZeroU32) -> Result<(), Exhausted> {
        let key = match client.claimant() {
            Claimant::Operator => return Ok(()),
            client => Key::Client(client),
        };
        if self.unswept.fetch_add(1, Ordering::Relaxed) >= MISSES_BETWEEN_SWEEPS {
            self.unswept.store(0, Ordering::Relaxed);
            self.per_client.retain_recent();
        }
        let key = if self.per_client.len() < MAX_CLIENTS { key } else { Key::OpenMisses };
        let exhausted = |allowance| move |retry_after| Exhausted { allowance, retry_after };
        let now = self.per_client.clock().now();
        let count = count.min(self.burst);
        self.per_client
            .check_key_n(&key, count)
            .expect("no more than a minute's worth is asked for")
            .map_err(|until| until.wait_time_from(now))
            .map_err(exhausted(Allowance::Client))?;
        self.in_all
            .check_n(count)
            .expect("no more than a minute's worth is asked for")
            .map_err(|until| until.wait_time_from(now))
            .map_err(exhausted(Allowance::All))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_client: u32, in_all: u32) -> (Rates, Clock) {
        let clock = Clock::fixed("2026-11-21T13:00:00Z".parse().unwrap());
        (Rates::new(NonZeroU32::new(per_client).unwrap(), NonZeroU32::new(in_all).unwrap(), &clock), clock)
    }

    fn address(text: &str) -> ClientId {
        ClientId::Address(text.parse().unwrap())
    }

    #[test]
    fn a_client_has_its_own_allowance_and_gets_it_back() {
        let (rates, clock) = rates(2, 100);
        let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
        assert!(rates.admit(&a).is_ok() && rates.admit(&a).is_ok());
        let refused = rates.admit(&a).unwrap_err();
        assert_eq!(refused.allowance, Allowance::Client);
        assert_eq!(refused.retry_after, Duration::from_secs(30), "two a minute");
        assert!(rates.admit(&b).is_ok(), "another client is not affected");
        clock.advance(Duration::from_secs(30));
        assert!(rates.admit(&a).is_ok());
        assert!((0..1000).all(|_| rates.admit(&ClientId::Operator).is_ok()));
    }

    #[test]
    fn several_are_admitted_all_or_none() {
        let (rates, clock) = rates(10, 100);
        let (a, n) = (address("10.0.0.1"), |n| NonZeroU32::new(n).unwrap());
        assert!(rates.admit_many(&a, n(8)).is_ok());
        assert_eq!(
            rates.admit_many(&a, n(4)).unwrap_err().retry_after,
            Duration::from_secs(12),
            "two are missing"
        );
        assert!(rates.admit_many(&a, n(2)).is_ok(), "the refusal cost nothing");
        clock.advance(Duration::from_secs(60));
        assert!(rates.admit_many(&a, n(1_000)).is_ok() && rates.admit(&a).is_err());
    }

    #[test]
    fn all_clients_together_are_limited() {
        let (rates, _) = rates(10, 3);
        let refused = (0..4).map(|n| rates.admit(&address(&format!("10.0.0.{n}")))).find_map(Result::err);
        assert_eq!(refused.unwrap().allowance, Allowance::All);
    }

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        let (rates, _) = rates(1, 100);
        assert!(rates.admit(&address("2001:db8:0:1::1")).is_ok());
        assert!(rates.admit(&address("2001:db8:0:1:ffff::2")).is_err());
        assert!(rates.admit(&address("2001:db8:0:2::1")).is_ok());
        assert!(rates.admit(&address("10.0.0.1")).is_ok());
        assert!(rates.admit(&address("::ffff:10.0.0.1")).is_err());
    }

    #[test]
    fn idle_clients_are_forgotten() {
        let (rates, clock) = rates(10, 1_000_000);
        for n in 0..MISSES_BETWEEN_SWEEPS {
            assert!(rates.admit(&ClientId::Address(IpAddr::from(n.to_be_bytes()))).is_ok());
        }
        assert_eq!(rates.per_client.len(), MISSES_BETWEEN_SWEEPS as usize);
        clock.advance(Duration::from_secs(60));
        assert!(rates.admit(&address("10.0.0.1")).is_ok());
        assert_eq!(rates.per_client.len(), 1);
    }
}
