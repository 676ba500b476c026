//! The one thread that writes to a database: it takes whatever has arrived, serves all of it at
//! once, and answers each caller.
//!
//! So any number of callers share a commit and its fsync, and an answer comes after it. Dropping
//! the worker serves what has arrived and waits for the thread.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::store::StoreError;

/// What becomes of one piece of work. An error is that of all that were served together.
type Answer<O> = Result<O, Arc<StoreError>>;

/// Pieces of work `W` with outcomes `O`.
pub(super) struct Worker<W, O> {
    name: &'static str,
    /// None only while it is dropped: the thread ends when the last sender is gone.
    queue: Option<mpsc::Sender<(W, oneshot::Sender<Answer<O>>)>>,
    thread: Option<JoinHandle<()>>,
}

impl<W: Send + 'static, O: Send + 'static> Worker<W, O> {
    /// Starts the thread. `serve` gets at most `max` pieces of work at a time, and gives as many
    /// outcomes in their order.
    pub(super) fn start(
        name: &'static str,
        max: usize,
        mut serve: impl FnMut(&[W]) -> Answer<Vec<O>> + Send + 'static,
    ) -> Result<Worker<W, O>, StoreError> {
        let (sender, queue) = mpsc::channel();
        let run = move || {
            while let Ok(first) = queue.recv() {
                let (work, replies): (Vec<W>, Vec<oneshot::Sender<Answer<O>>>) =
                    std::iter::once(first).chain(queue.try_iter().take(max - 1)).unzip();
                // A caller that does not wait any more is no concern of ours.
                match serve(&work) {
                    Ok(outcomes) => {
                        assert_eq!(outcomes.len(), replies.len(), "an outcome for each piece of work");
                        replies
                            .into_iter()
                            .zip(outcomes)
                            .for_each(|(reply, outcome)| drop(reply.send(Ok(outcome))));
                    }
                    Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|source| ended(name, source))?;
        Ok(Worker { name, queue: Some(sender), thread: Some(thread) })
    }

    /// Has a piece of work done, with whatever else has arrived.
    pub(super) async fn submit(&self, work: W) -> Answer<O> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().expect("the queue is there until the worker is dropped");
        // When the thread is gone the work is dropped, and the answer with it.
        drop(queue.send((work, reply)));
        let gone = || Err(Arc::new(ended(self.name, std::io::Error::other("it has ended"))));
        answer.await.unwrap_or_else(|_| gone())
    }
}

fn ended(name: &str, source: std::io::Error) -> StoreError {
    StoreError::File { path: format!("the thread {name}"), source }
}

impl<W, O> Drop for Worker<W, O> {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(thread = self.name, "a store's thread panicked");
        }
    }
}
