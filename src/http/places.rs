//! Places for requests that wait: for a body that comes slowly, a look-up under way, another server.
//!
//! What is answered at once needs no place, so hits, heads and tiles are never refused for somebody else's
//! requests that hang. The places are shared among client networks as [`Slots`] says: a client that is alone may
//! take all of them; a newcomer takes one from the client whose requests hold most, and that request is answered
//! 503. A proxy's requests count for the clients that it names, not for the proxy.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::eviction::Eviction;
use crate::share::{ClientNetwork, SlotHolder, SlotId, Slots};

/// When a request that got no place, or lost it, is worth another try.
pub(super) const NO_PLACE_RETRY: Duration = Duration::from_secs(5);

/// The request got no place, or lost it to another client: this client holds its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this client has its share of the requests that may wait here\nTry again in a few seconds.")]
pub(super) struct NoPlace;

/// Places for one kind of requests.
pub struct Places(Mutex<Slots<Arc<Eviction>>>);

impl Places {
    /// So many of them.
    pub fn new(capacity: usize) -> Places {
        Places(Mutex::new(Slots::new(capacity)))
    }

    /// Works for a client, and holds a place from the moment at which the work has to wait.
    pub(super) async fn hold<T>(&self, client: IpAddr, work: impl Future<Output = T>) -> Result<T, NoPlace> {
        let mut work = pin!(work);
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Ok(done);
        }
        let place = self.enter(client).ok_or(NoPlace)?;
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = place.eviction.told() => Err(NoPlace),
        }
    }

    fn enter(&self, client: IpAddr) -> Option<Place<'_>> {
        let eviction = Arc::<Eviction>::default();
        let holder = SlotHolder::Client(ClientNetwork::of(client));
        let arrival = self.slots().arrive(holder, || Arc::clone(&eviction), |_| false)?;
        if let Some(evicted) = arrival.evicted {
            evicted.tell();
        }
        Some(Place { places: self, slot: arrival.slot, eviction })
    }

    fn slots(&self) -> MutexGuard<'_, Slots<Arc<Eviction>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is held; it is free when this is dropped.
struct Place<'a> {
    places: &'a Places,
    slot: SlotId,
    eviction: Arc<Eviction>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.slots().leave(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn client(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_the_client_that_holds_most_and_what_is_ready_needs_none() {
        let places = Arc::new(Places::new(3));
        let wait = |address: &str| {
            let (places, address) = (places.clone(), client(address));
            tokio::spawn(async move { places.hold(address, pending::<()>()).await })
        };
        let greedy: Vec<_> = (0..3).map(|_| wait("127.1.1.1")).collect();
        tokio::task::yield_now().await;
        assert_eq!(places.hold(client("127.1.1.1"), pending::<()>()).await, Err(NoPlace));
        assert_eq!(places.hold(client("127.1.1.1"), ready(7)).await, Ok(7));
        let other = wait("127.2.2.2");
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let lost: Vec<bool> = greedy.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert_eq!(
            (lost, other.is_finished()),
            (vec![true, false, false], false),
            "the one that waited longest"
        );
        greedy.iter().for_each(tokio::task::JoinHandle::abort);
        other.abort();
    }
}
