//! How a connection or a waiting request is told that it must make room for another client.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells everybody who works for one holder of a slot, once and for all.
#[derive(Debug, Default)]
pub(crate) struct Eviction {
    is_told: AtomicBool,
    told: Notify,
}

impl Eviction {
    pub(crate) fn tell(&self) {
        self.is_told.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
    }

    /// Ready once the slot is lost, also for those who ask afterwards.
    pub(crate) async fn told(&self) {
        // In this order: whoever tells between the two wakes the future, which exists by then.
        let told = self.told.notified();
        if !self.is_told.load(Ordering::SeqCst) {
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn everybody_is_told_before_and_after() {
        let eviction = Arc::new(Eviction::default());
        let early = tokio::spawn({
            let eviction = eviction.clone();
            async move { eviction.told().await }
        });
        tokio::task::yield_now().await;
        assert!(!early.is_finished());
        eviction.tell();
        early.await.expect("it is told");
        eviction.told().await;
    }
}
