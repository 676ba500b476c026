//! The negative cache: what a remote log said lately that it does not have, so that a client which
//! asks again and again costs that log nothing. For half a minute only, and only so many: a version
//! that was just published must appear.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::module::ModuleVersion;

/// How long "not found" is remembered.
const KEEP: Duration = Duration::from_secs(30);
/// How many; each takes some 200 bytes.
const MAX_MISSING: usize = 10_000;

/// Module versions that are missing in a log, and until when that is believed.
pub(super) struct NegativeCache(Cache<ModuleVersion, Instant>);

impl NegativeCache {
    pub(super) fn new() -> NegativeCache {
        NegativeCache(Cache::new(MAX_MISSING))
    }

    pub(super) fn remember(&self, module: &ModuleVersion, now: Instant) {
        self.0.insert(module.clone(), now + KEEP);
    }

    pub(super) fn forget(&self, module: &ModuleVersion) {
        self.0.remove(module);
    }

    /// Returns how long that is to be believed yet.
    pub(super) fn recall(&self, module: &ModuleVersion, now: Instant) -> Option<Duration> {
        let left = self.0.get(module)?.checked_duration_since(now).filter(|left| !left.is_zero());
        if left.is_none() {
            self.0.remove(module);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn it_is_believed_for_a_while_and_bounded() {
        let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
        let (missing, module) =
            (NegativeCache::new(), |n: usize| format!("a.example/m@v1.0.{n}").parse().unwrap());
        missing.remember(&module(0), clock.instant());
        clock.advance(Duration::from_secs(29));
        assert_eq!(missing.recall(&module(0), clock.instant()), Some(Duration::from_secs(1)));
        assert_eq!(missing.recall(&module(1), clock.instant()), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(missing.recall(&module(0), clock.instant()), None);
        (0..3 * MAX_MISSING).for_each(|n| missing.remember(&module(n), clock.instant()));
        assert!(missing.0.len() <= MAX_MISSING);
        let last = module(3 * MAX_MISSING - 1);
        missing.forget(&last);
        assert_eq!(missing.recall(&last, clock.instant()), None);
    }
}
