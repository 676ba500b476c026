//! Threads for work that is done in many small pieces, such as to verify tiles: one for each core, for as long as a run lasts.
//!
//! A tile is a quarter of a millisecond of work. Tokio's blocking threads take it as well, but each hop to them and back wakes two
//! threads, and with one hop a tile this alone was a tenth of a run. Here a thread that is busy finds the next tile in the queue.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;
type Panic = Box<dyn Any + Send>;

/// Threads that work off one queue. They end with it.
pub(crate) struct Crew(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    added: Condvar,
}

/// Not bounded by itself: each job belongs to a task that waits for it, and those are.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

/// Does work that blocks, on a thread of tokio's that may block. A panic in it is a panic here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => panic!("the runtime was shut down under blocking work"),
        },
    }
}

impl Crew {
    pub(crate) fn new() -> Crew {
        let shared = Arc::<Shared>::default();
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("crew".to_owned())
                .spawn(move || {
                    while let Some(job) = shared.next() {
                        job();
                    }
                })
                .expect("the system gives a thread");
        }
        Crew(shared)
    }

    /// Has some work done, and waits for it. A panic in it is a panic here.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = oneshot::channel::<Result<T, Panic>>();
        self.0.lock().jobs.push_back(Box::new(move || {
            // Nobody waits any more when the run was dropped.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        }));
        self.0.added.notify_one();
        match receiver.await.expect("a job is done as long as somebody waits for it") {
            Ok(done) => done,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.added.notify_all();
    }
}

impl Shared {
    /// The next job; waits for one until the queue is closed.
    fn next(&self) -> Option<Job> {
        let waiting = |queue: &mut Queue| queue.jobs.is_empty() && !queue.is_closed;
        let mut queue = self.added.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner);
        if queue.is_closed { None } else { queue.jobs.pop_front() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_a_panic_stays_with_who_asked() {
        let crew = Arc::new(Crew::new());
        let other = crew.clone();
        let failed = tokio::spawn(async move { other.run(|| panic!("one of them")).await }).await;
        assert!(failed.is_err_and(|error| error.is_panic()));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100 {
            let crew = crew.clone();
            tasks.spawn(async move { crew.run(move || n * 2).await });
        }
        assert_eq!(tasks.join_all().await.iter().sum::<u64>(), 9_900);
        let shared = Arc::downgrade(&crew.0);
        drop(crew);
        // The threads let go of the queue when they have seen that it is closed.
        let clock = crate::clock::Clock::system();
        let deadline = clock.instant() + std::time::Duration::from_secs(10);
        while shared.strong_count() > 0 {
            assert!(clock.instant() < deadline, "a thread is left behind");
            std::thread::yield_now();
        }
    }
}
