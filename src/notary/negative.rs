//! Remembered failures: "not found" and "forbidden" for at most a minute, so that a client which
//! asks again and again costs its source nothing; what may pass by itself for two seconds, so that
//! a source that is down is left alone for a moment.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::limits::MAX_NEGATIVE_CACHE;
use super::{Delay, NotaryError};
use crate::module::ModuleVersion;

/// Failures that are remembered; each takes less than 2 KB.
const MAX_FAILURES: usize = 10_000;
/// How long a failure is remembered that may pass by itself.
const PASSING: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Failure {
    error: NotaryError,
    until: Instant,
}

/// What failed lately.
pub(super) struct Negative {
    failures: Cache<ModuleVersion, Failure>,
    keep: Duration,
}

impl Negative {
    pub(super) fn new(keep: Duration) -> Negative {
        Negative { failures: Cache::new(MAX_FAILURES), keep: keep.min(MAX_NEGATIVE_CACHE) }
    }

    /// Remembers a failure, if it is one to remember.
    pub(super) fn remember(&self, error: &NotaryError, now: Instant) {
        let keep = match error {
            NotaryError::NotFound { .. }
            | NotaryError::Forbidden { .. }
            | NotaryError::Unfetchable { .. } => self.keep,
            NotaryError::TryLater {
                why: Delay::Source { .. } | Delay::GitHost { .. } | Delay::Unproven { .. },
                ..
            }
            | NotaryError::Refused { .. } => PASSING.min(self.keep),
            _ => return,
        };
        if !keep.is_zero() {
            let failure = Failure { error: error.clone(), until: now + keep };
            self.failures.insert(error.module().clone(), failure);
        }
    }

    /// The failure that still counts. "Not found" is to be believed only as long as it is
    /// remembered here: caches behind us add their time to ours.
    pub(super) fn recall(&self, module: &ModuleVersion, now: Instant) -> Option<NotaryError> {
        let failure = self.failures.get(module)?;
        let left = failure.until.checked_duration_since(now).filter(|left| !left.is_zero());
        let Some(left) = left else {
            self.failures.remove(module);
            return None;
        };
        let mut error = failure.error;
        if let NotaryError::NotFound { max_age, .. } = &mut error {
            *max_age = left;
        }
        Some(error)
    }
}
