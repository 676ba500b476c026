//! What look-ups of unknown modules may cost: time, memory, requests to sources, and growth of the
//! log.
//!
//! The growth is the one that cannot be taken back: a record stays for ever. So every miss that
//! starts work is counted, for its client and in all, and what is notarised ahead is counted apart,
//! so that it can never make a client's own look-up fail. In all, the log grows by at most one and
//! a half times [`NotaryLimits::misses_per_minute`].

use std::num::NonZeroU32;
use std::time::Duration;

use crate::dirhash::ZipLimits;

/// Negative answers are kept no longer than this, whatever is configured: a version that was just
/// published must appear.
pub const MAX_NEGATIVE_CACHE: Duration = Duration::from_secs(60);

/// How long a client is told to wait where a source does not say.
pub(super) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The limits of a notary. The defaults are those of the configuration where it has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotaryLimits {
    /// How long a client waits at most. Below the 60 s after which load balancers give up without
    /// saying why.
    pub deadline: Duration,
    /// How long the work itself may take. Longer than `deadline`: who was told to try again finds
    /// it done.
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
    /// How long a finished candidate waits for others that are on their way; up to five times as
    /// long where they are known to come together.
    pub gather: Duration,
    /// What is notarised before anybody asks.
    pub ahead: AheadLimits,
}

/// The limits of notarising ahead what a go.mod requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AheadLimits {
    /// Whether it is done at all.
    pub enabled: bool,
    /// How far from what a client asked for: 1 is what its go.mod requires. Since Go 1.17 that
    /// names all that a build needs.
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
            // The longest go.mod files that people write list some hundreds; one that lists more is
            // served as it is asked.
            per_lookup: 512,
            concurrency: 24,
            max_flights: 1_024,
            wait: Duration::from_secs(2),
        }
    }
}
