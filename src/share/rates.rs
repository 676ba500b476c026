//! Rates: how much a client may ask for in a minute, and all clients together.
//!
//! A client's own allowance is charged first, so a client that exceeds it uses up nothing of the
//! allowance of all.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::Claimant;
use crate::clock::Clock;

/// Clients whose recent requests are remembered, some 100 bytes each. Idle ones are dropped; beyond
/// this number all new clients share one allowance.
const MAX_CLIENTS: usize = 65_536;
/// Idle clients are dropped after this many requests: often enough that they cannot pile up, rarely
/// enough to cost nothing.
const REQUESTS_BETWEEN_SWEEPS: u32 = 1_024;

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
    Everybody,
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

/// How often one kind of request is admitted: a client's own, and those of all clients together.
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
    pub fn admit(&self, client: Claimant) -> Result<(), Exhausted> {
        self.admit_many(client, NonZeroU32::MIN)
    }

    /// Counts so many at once: all of them, or none. More than a whole minute's worth count as a minute's worth.
    pub fn admit_many(&self, client: Claimant, count: NonZeroU32) -> Result<(), Exhausted> {
        let key = match client {
            Claimant::Operator => return Ok(()),
            client => Key::Client(client),
        };
        if self.unswept.fetch_add(1, Ordering::Relaxed) >= REQUESTS_BETWEEN_SWEEPS {
            self.unswept.store(0, Ordering::Relaxed);
            self.per_client.retain_recent();
        }
        let key = if self.per_client.len() < MAX_CLIENTS { key } else { Key::Everybody };
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
    use std::net::IpAddr;

    use super::*;

    fn rates(per_client: u32, in_all: u32) -> (Rates, Clock) {
        let clock = Clock::fixed("2026-11-21T13:00:00Z".parse().unwrap());
        (Rates::new(NonZeroU32::new(per_client).unwrap(), NonZeroU32::new(in_all).unwrap(), &clock), clock)
    }

    fn address(text: &str) -> Claimant {
        Claimant::at(text.parse().unwrap())
    }

    #[test]
    fn a_client_has_its_own_allowance_and_gets_it_back() {
        let (rates, clock) = rates(2, 100);
        let (a, b) = (address("10.0.0.1"), address("10.0.0.2"));
        assert!(rates.admit(a).is_ok() && rates.admit(a).is_ok());
        let refused = rates.admit(a).unwrap_err();
        assert_eq!(refused.allowance, Allowance::Client);
        assert_eq!(refused.retry_after, Duration::from_secs(30), "two a minute");
        assert!(rates.admit(b).is_ok(), "another client is not affected");
        clock.advance(Duration::from_secs(30));
        assert!(rates.admit(a).is_ok());
        assert!((0..1000).all(|_| rates.admit(Claimant::Operator).is_ok()));
    }

    #[test]
    fn several_are_admitted_all_or_none() {
        let (rates, clock) = rates(10, 100);
        let (a, n) = (address("10.0.0.1"), |n| NonZeroU32::new(n).unwrap());
        assert!(rates.admit_many(a, n(8)).is_ok());
        assert_eq!(
            rates.admit_many(a, n(4)).unwrap_err().retry_after,
            Duration::from_secs(12),
            "two are missing"
        );
        assert!(rates.admit_many(a, n(2)).is_ok(), "the refusal cost nothing");
        clock.advance(Duration::from_secs(60));
        assert!(rates.admit_many(a, n(1_000)).is_ok() && rates.admit(a).is_err());
    }

    #[test]
    fn all_clients_together_are_limited() {
        let (rates, _) = rates(10, 3);
        let refused = (0..4).map(|n| rates.admit(address(&format!("10.0.0.{n}")))).find_map(Result::err);
        assert_eq!(refused.unwrap().allowance, Allowance::All);
    }

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        let (rates, _) = rates(1, 100);
        assert!(rates.admit(address("2001:db8:0:1::1")).is_ok());
        assert!(rates.admit(address("2001:db8:0:1:ffff::2")).is_err());
        assert!(rates.admit(address("2001:db8:0:2::1")).is_ok());
        assert!(rates.admit(address("10.0.0.1")).is_ok());
        assert!(rates.admit(address("::ffff:10.0.0.1")).is_err());
    }

    #[test]
    fn idle_clients_are_forgotten() {
        let (rates, clock) = rates(10, 1_000_000);
        for n in 0..REQUESTS_BETWEEN_SWEEPS {
            assert!(rates.admit(Claimant::at(IpAddr::from(n.to_be_bytes()))).is_ok());
        }
        assert_eq!(rates.per_client.len(), REQUESTS_BETWEEN_SWEEPS as usize);
        clock.advance(Duration::from_secs(60));
        assert!(rates.admit(address("10.0.0.1")).is_ok());
        assert_eq!(rates.per_client.len(), 1);
    }
}
