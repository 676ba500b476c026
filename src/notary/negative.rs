//! Remembered failures: "not found" and "forbidden" for at most a minute, so that a client which
//! asks again and again costs its source nothing; what may pass by itself for two seconds, so that
//! a source that is down is left alone for a moment.
//!
//! A failure counts for the route that it came from: a reload that changes the route empties its
//! part of this cache.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::limits::MAX_NEGATIVE_CACHE;
use super::routing::RouteToken;
use super::{Delay, NotaryError};
use crate::module::ModuleVersion;

/// Failures that are remembered; each takes less than 2 KB.
const MAX_FAILURES: usize = 10_000;
/// How long a failure is remembered that may pass by itself.
const PASSING: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Failure {
    error: NotaryError,
    route: RouteToken,
    until: Instant,
}

/// What failed lately.
pub(super) struct Negative(Cache<ModuleVersion, Failure>);

impl Negative {
    pub(super) fn new() -> Negative {
        Negative(Cache::new(MAX_FAILURES))
    }

    /// Remembers a failure on a route for at most `keep`, if it is one to remember.
    pub(super) fn remember(&self, error: &NotaryError, route: RouteToken, keep: Duration, now: Instant) {
        let keep = keep.min(MAX_NEGATIVE_CACHE);
        let keep = match error {
            NotaryError::NotFound { .. }
            | NotaryError::Forbidden { .. }
            | NotaryError::Unfetchable { .. } => keep,
            NotaryError::TryLater {
                why: Delay::Source { .. } | Delay::GitHost { .. } | Delay::Unproven { .. },
                ..
            }
            | NotaryError::Refused { .. } => PASSING.min(keep),
            _ => return,
        };
        if !keep.is_zero() {
            let failure = Failure { error: error.clone(), route, until: now + keep };
            self.0.insert(error.module().clone(), failure);
        }
    }

    /// The failure that still counts on this route. "Not found" is to be believed only as long as it is
    /// remembered here: caches behind us add their time to ours.
    pub(super) fn recall(
        &self,
        module: &ModuleVersion,
        route: RouteToken,
        now: Instant,
    ) -> Option<NotaryError> {
        let failure = self.0.get(module)?;
        let left = failure.until.checked_duration_since(now).filter(|left| !left.is_zero());
        let Some(left) = left.filter(|_| failure.route == route) else {
            self.0.remove(module);
            return None;
        };
        let mut error = failure.error;
        if let NotaryError::NotFound { max_age, .. } = &mut error {
            *max_age = left;
        }
        Some(error)
    }
}
