//! How many misses clients wait for, and how many come together: what gathering goes by.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a burst is remembered: a client's turn from one look-up to the next, with a download
/// between them. Remembering it too long costs one candidate the gathering time.
const BURST_MEMORY: Duration = Duration::from_secs(1);

/// The misses that clients wait for.
#[derive(Default)]
pub(super) struct OpenMisses {
    /// Those whose candidate is not ready yet. ModuleFlights count.
    fetching: AtomicUsize,
    /// Those that are not answered yet. ModuleFlights count.
    open: AtomicUsize,
    /// The most that were open at a time, and when that was. ModuleFlights raise it, the gatherer
    /// learns from each batch.
    burst: Mutex<Option<(usize, Instant)>>,
    /// Set at the end: nothing waits any more.
    hurry: AtomicBool,
    changed: Notify,
}

impl OpenMisses {
    pub(super) fn opened(&self, fetching: bool, now: Instant) {
        let open = self.open.fetch_add(1, Ordering::AcqRel) + 1;
        if fetching {
            self.fetching.fetch_add(1, Ordering::AcqRel);
        }
        if open > 1 {
            let mut burst = self.last_burst();
            let before = expected(*burst, now);
            *burst = Some((before.max(open), now));
        }
        self.changed.notify_one();
    }

    pub(super) fn fetched(&self) {
        self.fetching.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Lets nothing wait from now on.
    pub(super) fn hurry(&self) {
        self.hurry.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Clients' look-ups that are not answered yet.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Those whose candidate is not ready yet.
    pub(super) fn fetching(&self) -> usize {
        self.fetching.load(Ordering::Acquire)
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.hurry.load(Ordering::Acquire)
    }

    /// Waits until one begins, is fetched, or nothing waits any more. For the gatherer alone.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How many are expected to come together.
    pub(super) fn burst(&self, now: Instant) -> usize {
        expected(*self.last_burst(), now)
    }

    /// As many came together as came: the next one waits for no more than that.
    pub(super) fn learn(&self, wanted: usize, now: Instant) {
        if wanted == 0 {
            return;
        }
        let mut burst = self.last_burst();
        *burst = burst.map(|_| (wanted, now)).filter(|(count, _)| *count > 1);
    }

    fn last_burst(&self) -> MutexGuard<'_, Option<(usize, Instant)>> {
        self.burst.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many come together, as far as is remembered.
fn expected(burst: Option<(usize, Instant)>, now: Instant) -> usize {
    match burst {
        Some((count, at)) if now.saturating_duration_since(at) < BURST_MEMORY => count,
        _ => 1,
    }
}
