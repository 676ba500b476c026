//! Requests that wait: for a body that comes slowly, for a look-up under way, for another server.
//! They are bounded in all, and each client has a share.
//!
//! An answer that is ready at once needs no place, so hits, heads and tiles are never refused for
//! somebody else's requests that hang. Joining work that is under way costs nothing but a place
//! here, so it is this bound that keeps one client from filling the server with requests for one
//! name that never comes. [`Slots`] says who makes room; none of these slots rests. A proxy's
//! requests count for the clients that it names, not for the proxy.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::eviction::Eviction;
use super::{Claimant, SlotHolder, SlotId, Slots};

/// A request got no place, or lost it to another client: its client holds its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this client has its share of the requests that may wait here\nTry again in a few seconds.")]
pub struct NoPlace;

/// Places for one kind of requests.
pub struct Waiters(Mutex<Slots<Arc<Eviction>>>);

/// A request that waits; its place is free when this is dropped.
pub struct Waiter<'a> {
    waiters: &'a Waiters,
    slot: SlotId,
    eviction: Arc<Eviction>,
}

impl Waiters {
    /// Returns room for so many requests, at least one.
    pub fn new(places: usize) -> Waiters {
        Waiters(Mutex::new(Slots::new(places)))
    }

    /// Works for a client, and holds a place from the moment at which the work has to wait.
    pub async fn hold<T>(&self, client: Claimant, work: impl Future<Output = T>) -> Result<T, NoPlace> {
        let mut work = pin!(work);
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Ok(done);
        }
        let waiter = self.enter(client).ok_or(NoPlace)?;
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = waiter.evicted() => Err(NoPlace),
        }
    }

    /// Lets a request wait. `None`: there is no room, and its client has its share.
    pub fn enter(&self, client: Claimant) -> Option<Waiter<'_>> {
        let eviction = Arc::<Eviction>::default();
        let arrival = self.slots().arrive(SlotHolder::Client(client), || Arc::clone(&eviction), |_| false)?;
        if let Some(evicted) = arrival.evicted {
            evicted.tell();
        }
        Some(Waiter { waiters: self, slot: arrival.slot, eviction })
    }

    fn slots(&self) -> MutexGuard<'_, Slots<Arc<Eviction>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    /// Waits until the place was needed for a client that had less than its share.
    pub async fn evicted(&self) {
        self.eviction.told().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.slots().leave(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn client(address: &str) -> Claimant {
        Claimant::at(address.parse().expect("an address"))
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_oldest_place_of_the_client_that_holds_most() {
        let waiters = Waiters::new(6);
        let [first, second, third] = ["127.1.1.1", "127.1.1.2", "127.1.1.3"].map(client);
        let mut a: Vec<_> = (0..6).map(|_| waiters.enter(first).expect("alone it has all")).collect();
        assert!(waiters.enter(first).is_none());
        let b: Vec<_> = (0..3).map(|_| waiters.enter(second).expect("a share")).collect();
        assert!(waiters.enter(second).is_none() && waiters.enter(first).is_none(), "three each");
        for evicted in a.drain(..3) {
            evicted.evicted().await;
        }
        assert_eq!(waiters.slots().taken(), 6, "an evicted request frees no second place");
        let c: Vec<_> = (0..2).map(|_| waiters.enter(third).expect("a share")).collect();
        assert!(waiters.enter(third).is_none(), "two each");
        drop((a, b, c));
        assert_eq!(waiters.slots().taken(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_is_ready_needs_no_place_and_the_longest_wait_ends_first() {
        let waiters = Arc::new(Waiters::new(3));
        let wait = |address: &str| {
            let (waiters, client) = (waiters.clone(), client(address));
            tokio::spawn(async move { waiters.hold(client, pending::<()>()).await })
        };
        let greedy: Vec<_> = (0..3).map(|_| wait("127.1.1.1")).collect();
        tokio::task::yield_now().await;
        assert_eq!(waiters.hold(client("127.1.1.1"), pending::<()>()).await, Err(NoPlace));
        assert_eq!(waiters.hold(client("127.1.1.1"), ready(7)).await, Ok(7));
        let other = wait("127.2.2.2");
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let lost: Vec<bool> = greedy.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert_eq!((lost, other.is_finished()), (vec![true, false, false], false));
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
        other.abort();
    }
}
