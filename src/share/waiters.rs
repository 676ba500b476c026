//! Waiters: the requests that wait for work to be done, bounded in all, with a share for each
//! client.
//!
//! Joining work that is under way costs nothing but a place here. So it is this bound that keeps
//! one client from filling the server with requests for one name that never comes. When there is no
//! room, a client that holds at least two places fewer than another gets the place that the other
//! has had longest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Claimant;

/// The requests that wait.
pub struct Waiters {
    places: usize,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    count: usize,
    /// The requests of each client, the oldest first. No queue is empty.
    by_client: BTreeMap<Claimant, VecDeque<Arc<Notify>>>,
}

/// A request that waits, for as long as this lives.
pub struct Waiter<'a> {
    waiters: &'a Waiters,
    client: Claimant,
    evicted: Arc<Notify>,
}

impl Waiters {
    /// Returns room for so many requests, at least one.
    pub fn new(places: usize) -> Waiters {
        Waiters { places: places.max(1), book: Mutex::default() }
    }

    /// Lets a request wait. `None`: there is no room, and its client has its share.
    pub fn enter(&self, client: &Claimant) -> Option<Waiter<'_>> {
        let evicted = Arc::new(Notify::new());
        let mut book = self.book();
        if book.count >= self.places {
            let held = book.by_client.get(client).map_or(0, VecDeque::len);
            let most = book.by_client.iter().max_by_key(|(_, requests)| requests.len());
            let (loser, requests) = most.filter(|(_, requests)| requests.len() >= held + 2)?;
            let (loser, oldest) = (loser.clone(), requests[0].clone());
            book.remove(&loser, &oldest);
            oldest.notify_one();
        }
        book.count += 1;
        book.by_client.entry(client.clone()).or_default().push_back(evicted.clone());
        Some(Waiter { waiters: self, client: client.clone(), evicted })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Frees the place of a request, unless it was evicted before.
    fn remove(&mut self, client: &Claimant, request: &Arc<Notify>) {
        let Some(requests) = self.by_client.get_mut(client) else { return };
        let Some(place) = requests.iter().position(|other| Arc::ptr_eq(other, request)) else { return };
        requests.remove(place);
        self.count -= 1;
        if requests.is_empty() {
            self.by_client.remove(client);
        }
    }
}

impl Waiter<'_> {
    /// Waits until the place was needed for a client that had less than its share.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.book().remove(&self.client, &self.evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> Claimant {
        Claimant::Named(name.into())
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_oldest_place_of_the_client_that_holds_most() {
        let waiters = Waiters::new(6);
        let enter = |name| waiters.enter(&client(name));
        let mut a: Vec<_> = (0..6).map(|_| enter("a").expect("alone it has all")).collect();
        assert!(enter("a").is_none());
        let b: Vec<_> = (0..3).map(|_| enter("b").expect("a share")).collect();
        assert!(enter("b").is_none() && enter("a").is_none(), "three each");
        for evicted in a.drain(..3) {
            evicted.evicted().await;
        }
        assert_eq!(waiters.book().count, 6, "what was evicted frees no second place");
        let c: Vec<_> = (0..2).map(|_| enter("c").expect("a share")).collect();
        assert!(enter("c").is_none(), "two each");
        drop((a, b, c));
        assert!(waiters.book().count == 0 && waiters.book().by_client.is_empty());
    }
}
