//! One flight for many passengers: what several callers want at the same time is done once.
//!
//! A flight runs as a task of its own, so that a caller who gives up does not take the others' answer away. It can be
//! joined while it runs, and after that for as long as somebody holds a [`Seat`]: who still has to verify what it
//! brought keeps the seat until it is verified and kept, so that nobody fetches it again in between.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

/// The flights of one kind.
pub(super) struct Flights<K, V>(Arc<Mutex<HashMap<K, Weak<Flight<V>>>>>);

struct Flight<V> {
    answer: watch::Receiver<Option<V>>,
    /// Takes the flight out of the map when the last seat is given up.
    _leave: Leave,
}

struct Leave(Option<Box<dyn FnOnce() + Send + Sync>>);

/// A place in a flight.
pub(super) struct Seat<V>(Arc<Flight<V>>);

impl<V> Clone for Seat<V> {
    fn clone(&self) -> Seat<V> {
        Seat(self.0.clone())
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Flights<K, V> {
        Flights(Arc::default())
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    /// Joins the flight of `key`, or starts it with `work`.
    pub(super) fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Seat<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        match self.join_unless(key, || None::<Infallible>, work) {
            Ok(seat) => seat,
            Err(known) => match known {},
        }
    }

    /// Joins the flight of `key`. When there is none, `Err` has what is `known` by now, and otherwise `work` starts one.
    ///
    /// A caller who looked first and found nothing may come here when the flight that brought it has just ended. No
    /// flight of the key can start or end while `known` looks once more, so it must be quick, and must not drop a seat.
    pub(super) fn join_unless<T, F>(
        &self,
        key: K,
        known: impl FnOnce() -> Option<T>,
        work: impl FnOnce() -> F,
    ) -> Result<Seat<V>, T>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.0);
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade) {
            return Ok(Seat(flight));
        }
        if let Some(known) = known() {
            return Err(known);
        }
        let (sender, answer) = watch::channel(None);
        let (map, leaving) = (Arc::downgrade(&self.0), key.clone());
        let leave = move || {
            let Some(map) = map.upgrade() else { return };
            let mut flights = lock(&map);
            // The next flight of this key may have started already.
            if flights.get(&leaving).is_some_and(|flight| flight.strong_count() == 0) {
                flights.remove(&leaving);
            }
        };
        let seat = Seat(Arc::new(Flight { answer, _leave: Leave(Some(Box::new(leave))) }));
        flights.insert(key, Arc::downgrade(&seat.0));
        drop(flights);
        let (work, crew) = (work(), seat.clone());
        tokio::spawn(async move {
            sender.send_replace(Some(work.await));
            drop(crew);
        });
        Ok(seat)
    }
}

impl<V: Clone> Seat<V> {
    /// What the flight brought; nothing when its task ended without an answer, as at the end of the process.
    pub(super) async fn answer(&self) -> Option<V> {
        let mut answer = self.0.answer.clone();
        answer.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(leave) = self.0.take() {
            leave();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn callers_share_a_flight_until_the_last_seat_is_given_up() {
        let (flights, started) = (Flights::<u8, usize>::default(), Arc::new(AtomicUsize::new(0)));
        let (gate, opened) = watch::channel(false);
        let join = || {
            let (started, mut opened) = (started.clone(), opened.clone());
            flights.join(7, || async move {
                let number = started.fetch_add(1, Ordering::SeqCst);
                opened.wait_for(|open| *open).await.expect("the gate is there");
                number
            })
        };
        let (first, second) = (join(), join());
        gate.send_replace(true);
        assert_eq!((first.answer().await, second.answer().await), (Some(0), Some(0)));
        drop(second);
        assert_eq!(join().answer().await, Some(0), "a seat is still held");
        drop(first);
        while !lock(&flights.0).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(join().answer().await, Some(1));
    }

    #[tokio::test]
    async fn what_a_flight_has_just_brought_is_not_fetched_again() {
        let (flights, kept) = (Flights::<u8, u8>::default(), Mutex::new(None));
        // Two callers have looked and found nothing. The flight of one brings it before the other comes here.
        let join =
            |brings: u8| flights.join_unless(3, || *kept.lock().unwrap(), move || async move { brings });
        let seat = join(8).expect("nothing is known yet");
        *kept.lock().unwrap() = seat.answer().await;
        drop(seat);
        while !lock(&flights.0).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(join(9).err(), Some(8));
    }

    #[tokio::test]
    async fn a_flight_goes_on_without_the_caller_who_started_it() {
        let flights = Flights::<u8, u8>::default();
        let (gate, opened) = watch::channel(false);
        let fly = |mut opened: watch::Receiver<bool>| async move {
            opened.wait_for(|open| *open).await.expect("the gate is there");
            5
        };
        drop(flights.join(1, || fly(opened.clone())));
        tokio::task::yield_now().await;
        let later = flights.join(1, || async { 6 });
        gate.send_replace(true);
        assert_eq!(later.answer().await, Some(5));
    }
}
