//! The flights that one look-up starts ahead, and which of them it still waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::clock::Clock;

/// If nothing becomes ready for this long, the look-up does not wait any more.
const STALL: Duration = Duration::from_millis(300);

/// What belongs to one look-up.
pub(super) struct AheadGroup {
    /// How many more it may have.
    left: AtomicUsize,
    /// How many are not ready yet.
    pending: watch::Sender<usize>,
}

/// How a flight that is ahead hangs together with others.
pub(super) struct Ahead {
    /// 1 for what the module requires that a client asked for.
    pub(super) depth: u32,
    pub(super) group: Arc<AheadGroup>,
}

/// Counts down when it is dropped: the flight is ready, has failed, or has died.
pub(super) struct AheadPending(Arc<AheadGroup>);

impl Drop for AheadPending {
    fn drop(&mut self) {
        self.0.pending.send_modify(|pending| *pending -= 1);
    }
}

impl AheadGroup {
    pub(super) fn new(left: usize) -> Arc<AheadGroup> {
        Arc::new(AheadGroup { left: AtomicUsize::new(left), pending: watch::Sender::new(0) })
    }

    pub(super) fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    }

    pub(super) fn enter(self: &Arc<Self>) -> AheadPending {
        self.pending.send_modify(|pending| *pending += 1);
        AheadPending(self.clone())
    }

    /// Waits until all are ready, one does not move, or `until`.
    pub(super) async fn ready(&self, clock: &Clock, until: Instant) {
        let mut pending = self.pending.subscribe();
        while *pending.borrow_and_update() > 0 {
            let patience = until.min(clock.instant() + STALL);
            if timeout_at(patience.into(), pending.changed()).await.is_err() {
                return;
            }
        }
    }
}
