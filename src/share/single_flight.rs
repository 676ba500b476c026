//! Single flight: what several callers want at the same time is done once, and all of them get the
//! answer.
//!
//! The work runs as a task of its own, so a caller who gives up does not take the answer away from
//! the others. A call can be joined while its work runs, and after that for as long as somebody
//! holds the [`Call`]: a caller who still has to verify and store the answer holds it until then,
//! so that nobody does the work again in between.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

/// The calls of one kind that are under way, by key.
pub(crate) struct SingleFlight<K, V>(Arc<Mutex<HashMap<K, Weak<Shared<V>>>>>);

/// What all callers of one key hold together.
struct Shared<V> {
    answer: watch::Receiver<Option<V>>,
    /// Takes the call out of the map when the last caller drops it.
    _leave: Leave,
}

struct Leave(Option<Box<dyn FnOnce() + Send + Sync>>);

/// A caller's part in work that is under way or done. Clones are further callers.
pub(crate) struct Call<V>(Arc<Shared<V>>);

impl<V> Clone for Call<V> {
    fn clone(&self) -> Call<V> {
        Call(self.0.clone())
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> SingleFlight<K, V> {
        SingleFlight(Arc::default())
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static> SingleFlight<K, V> {
    /// Joins the call of `key`, or starts it with `work`.
    pub(crate) fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Call<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        match self.join_unless(key, || None::<Infallible>, work) {
            Ok(call) => call,
            Err(known) => match known {},
        }
    }

    /// Joins the call of `key`. When there is none, `Err` has what is `known` by now, and otherwise
    /// `work` starts one.
    ///
    /// A caller who looked first and found nothing may come here when the call that brought it has
    /// just ended. No call of the key can start or end while `known` looks once more, so it must be
    /// quick, and must not drop a call.
    pub(crate) fn join_unless<T, F>(
        &self,
        key: K,
        known: impl FnOnce() -> Option<T>,
        work: impl FnOnce() -> F,
    ) -> Result<Call<V>, T>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut calls = lock(&self.0);
        if let Some(shared) = calls.get(&key).and_then(Weak::upgrade) {
            return Ok(Call(shared));
        }
        if let Some(known) = known() {
            return Err(known);
        }
        let (sender, answer) = watch::channel(None);
        let (map, leaving) = (Arc::downgrade(&self.0), key.clone());
        let leave = move || {
            let Some(map) = map.upgrade() else { return };
            let mut calls = lock(&map);
            // The next call of this key may have started already.
            if calls.get(&leaving).is_some_and(|shared| shared.strong_count() == 0) {
                calls.remove(&leaving);
            }
        };
        let call = Call(Arc::new(Shared { answer, _leave: Leave(Some(Box::new(leave))) }));
        calls.insert(key, Arc::downgrade(&call.0));
        drop(calls);
        let (work, until_done) = (work(), call.clone());
        tokio::spawn(async move {
            sender.send_replace(Some(work.await));
            drop(until_done);
        });
        Ok(call)
    }
}

impl<V: Clone> Call<V> {
    /// Waits for the answer. There is none when the task ended without one, as at the end of the
    /// process.
    pub(crate) async fn answer(&self) -> Option<V> {
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
    async fn callers_share_the_work_until_the_last_of_them_leaves() {
        let (flight, started) = (SingleFlight::<u8, usize>::default(), Arc::new(AtomicUsize::new(0)));
        let (gate, opened) = watch::channel(false);
        let join = || {
            let (started, mut opened) = (started.clone(), opened.clone());
            flight.join(7, || async move {
                let number = started.fetch_add(1, Ordering::SeqCst);
                opened.wait_for(|open| *open).await.expect("the gate is there");
                number
            })
        };
        let (first, second) = (join(), join());
        gate.send_replace(true);
        assert_eq!((first.answer().await, second.answer().await), (Some(0), Some(0)));
        drop(second);
        assert_eq!(join().answer().await, Some(0), "a caller is still there");
        drop(first);
        while !lock(&flight.0).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(join().answer().await, Some(1));
    }

    #[tokio::test]
    async fn what_a_call_has_just_brought_is_not_fetched_again() {
        let (flight, stored) = (SingleFlight::<u8, u8>::default(), Mutex::new(None));
        // Two callers have looked and found nothing. The call of one brings it before the other
        // comes here.
        let join =
            |brings: u8| flight.join_unless(3, || *stored.lock().unwrap(), move || async move { brings });
        let call = join(8).expect("nothing is known yet");
        *stored.lock().unwrap() = call.answer().await;
        drop(call);
        while !lock(&flight.0).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(join(9).err(), Some(8));
    }

    #[tokio::test]
    async fn the_work_goes_on_without_the_caller_who_started_it() {
        let flight = SingleFlight::<u8, u8>::default();
        let (gate, opened) = watch::channel(false);
        let work = |mut opened: watch::Receiver<bool>| async move {
            opened.wait_for(|open| *open).await.expect("the gate is there");
            5
        };
        drop(flight.join(1, || work(opened.clone())));
        tokio::task::yield_now().await;
        let later = flight.join(1, || async { 6 });
        gate.send_replace(true);
        assert_eq!(later.answer().await, Some(5));
    }
}
