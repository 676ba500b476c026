//! Turns: a bounded number of jobs runs at once, and clients take turns.
//!
//! A semaphore serves first come, first served, so the client that asks most gets most. [`Turns`]
//! queues jobs per client and gives each free place to the client that holds fewest, in rotation
//! where several hold equally few. Four rules follow from what a job costs:
//!
//! | situation | rule |
//! |---|---|
//! | nobody else wants a place | a client may hold them all |
//! | a client has waited for [`GRACE`] and holds at least two places fewer than another | the other's youngest job is revoked |
//! | a job runs that nobody waits for | it is revoked as soon as a job that somebody waits for has no place |
//! | several clients wait for one job | it counts for the one of them that holds fewest |
//!
//! A revoked job is stopped and queued again, so its work must be safe to repeat. The youngest job
//! loses least, and the older ones still come to their end. Places that come free by themselves are
//! given at once; [`GRACE`] only bounds the wait for those that do not.
//!
//! Places can be bounded in several ways at once: by host, by route and in all. A [`Line`] is a
//! queue of jobs that the same bounds apply to. Lines that have room take turns too.

mod book;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use book::Book;

/// How long a client below its share waits before a place is freed for it. Longer than most work
/// takes, so that such places come free by themselves; a newcomer still has its share within a
/// second.
pub const GRACE: Duration = Duration::from_millis(200);

/// A job was given up because nobody waits for it and its memory was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Waits,
    Runs,
    /// It must stop and may queue again.
    Revoked,
    /// It must end.
    Shed,
}

/// A queue of [`Turns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line(usize);

/// A bound of [`Turns`] on how many jobs run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound(usize);

/// Places for jobs named `J`, shared among clients `K`. Clones share everything.
pub struct Turns<J, K>(Arc<Mutex<Inner<J, K>>>);

struct Inner<J, K> {
    book: Book<J, K>,
    standings: HashMap<J, watch::Sender<Standing>>,
}

impl<J, K> Clone for Turns<J, K> {
    fn clone(&self) -> Turns<J, K> {
        Turns(self.0.clone())
    }
}

impl<J: Clone + Eq + Hash, K: Clone + Ord> Default for Turns<J, K> {
    fn default() -> Turns<J, K> {
        Turns(Arc::new(Mutex::new(Inner { book: Book::default(), standings: HashMap::new() })))
    }
}

impl<J: Clone + Eq + Hash, K: Clone + Ord> Turns<J, K> {
    /// Returns turns with one line, of which `places` jobs run at once.
    pub fn with_places(places: usize) -> (Turns<J, K>, Line) {
        let turns = Turns::default();
        let line = turns.line(&[turns.bound(places)]);
        (turns, line)
    }

    /// Adds a bound: so many jobs at once, at least one.
    pub fn bound(&self, places: usize) -> Bound {
        Bound(self.inner().book.add_bound(places.max(1)))
    }

    /// Adds a line to which all of `bounds` apply, the narrowest first.
    pub fn line(&self, bounds: &[Bound]) -> Line {
        Line(self.inner().book.add_line(bounds.iter().map(|bound| bound.0).collect()))
    }

    /// Notes that `client` waits for `job` until the returned value is dropped, whether or not
    /// there is such a job yet.
    pub fn want(&self, job: J, client: K) -> Want<J, K> {
        self.change(|book| book.want(&job, &client));
        Want { turns: self.clone(), job, client }
    }

    /// Queues `job`. There must be no other turn of the same name.
    pub fn turn(&self, job: J, line: Line) -> Turn<J, K> {
        let standing = {
            let mut inner = self.inner();
            let (sender, standing) = watch::channel(Standing::Waits);
            let other = inner.standings.insert(job.clone(), sender);
            assert!(other.is_none(), "a job has one turn at a time");
            standing
        };
        self.change(|book| book.wait(&job, line.0));
        Turn { turns: self.clone(), job, standing }
    }

    /// Runs `work` when it is the job's turn, and again from the start when its place was revoked.
    /// `work` is told for which client the job counts.
    pub async fn run<F: Future>(
        &self,
        job: &J,
        line: Line,
        mut work: impl FnMut(Option<K>) -> F,
    ) -> Result<F::Output, Shed> {
        loop {
            let mut turn = self.turn(job.clone(), line);
            turn.granted().await?;
            let client = turn.client();
            tokio::select! {
                biased;
                done = work(client) => return Ok(done),
                ended = turn.ended() => ended?,
            }
        }
    }

    /// Ends one job that nobody waits for: the one that has waited longest, else the one that has
    /// run shortest. Returns whether there was one.
    pub fn shed(&self) -> bool {
        self.change(Book::shed)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Book<J, K>) -> T) -> T {
        let mut inner = self.inner();
        let result = change(&mut inner.book);
        for (job, standing) in inner.book.take_news() {
            if let Some(sender) = inner.standings.get(&job) {
                sender.send_replace(standing);
            }
        }
        result
    }

    fn inner(&self) -> MutexGuard<'_, Inner<J, K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client waits for a job for as long as this lives.
pub struct Want<J: Clone + Eq + Hash, K: Clone + Ord> {
    turns: Turns<J, K>,
    job: J,
    client: K,
}

impl<J: Clone + Eq + Hash, K: Clone + Ord> Drop for Want<J, K> {
    fn drop(&mut self) {
        self.turns.change(|book| book.unwant(&self.job, &self.client));
    }
}

/// A job in its line or in its place; dropping it frees either.
pub struct Turn<J: Clone + Eq + Hash, K: Clone + Ord> {
    turns: Turns<J, K>,
    job: J,
    standing: watch::Receiver<Standing>,
}

impl<J: Clone + Eq + Hash, K: Clone + Ord> Turn<J, K> {
    /// Waits for a place.
    pub async fn granted(&mut self) -> Result<(), Shed> {
        loop {
            let waits = self.standing.wait_for(|standing| *standing != Standing::Waits);
            match timeout(GRACE, waits).await {
                Ok(standing) => match *standing.expect("its sender lives as long as the turn") {
                    Standing::Shed => return Err(Shed),
                    _ => return Ok(()),
                },
                Err(_) => self.turns.change(|book| book.press(&self.job)),
            }
        }
    }

    /// Waits until the place must be given back. `Ok`: the job may queue again.
    pub async fn ended(&mut self) -> Result<(), Shed> {
        let ends = |standing: &Standing| matches!(standing, Standing::Revoked | Standing::Shed);
        let standing = *self.standing.wait_for(ends).await.expect("its sender lives as long as the turn");
        if standing == Standing::Shed { Err(Shed) } else { Ok(()) }
    }

    /// Returns the client that the place counts for.
    pub fn client(&self) -> Option<K> {
        self.turns.inner().book.client_of(&self.job)
    }
}

impl<J: Clone + Eq + Hash, K: Clone + Ord> Drop for Turn<J, K> {
    fn drop(&mut self) {
        self.turns.inner().standings.remove(&self.job);
        self.turns.change(|book| book.leave(&self.job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Work that never ends, and how often it was begun.
    async fn hang(begun: &AtomicUsize) {
        begun.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_newcomer_runs_though_all_places_hang_and_what_was_revoked_starts_again() {
        let (turns, line) = Turns::<usize, char>::with_places(4);
        let begun = Arc::new(AtomicUsize::new(0));
        for job in 0..10 {
            let (turns, begun, want) = (turns.clone(), begun.clone(), turns.want(job, 'a'));
            tokio::spawn(async move {
                let _want = want;
                turns.run(&job, line, |_| hang(&begun)).await
            });
        }
        while begun.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
        for job in 100..103 {
            let _want = turns.want(job, 'b');
            let told = turns.run(&job, line, |client| async move { client }).await;
            assert_eq!(told, Ok(Some('b')));
        }
        // One place was revoked. It was given to `b` three times, and then back.
        while begun.load(Ordering::SeqCst) < 5 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_shed_and_says_so() {
        let (turns, line) = Turns::<usize, char>::with_places(1);
        let first = turns.turn(0, line);
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turns.run(&1, line, |_| std::future::pending::<()>()).await }
        });
        while !turns.inner().standings.contains_key(&1) {
            tokio::task::yield_now().await;
        }
        assert!(turns.shed());
        assert_eq!(second.await.expect("it does not panic"), Err(Shed));
        drop(first);
        assert!(!turns.shed());
    }
}
