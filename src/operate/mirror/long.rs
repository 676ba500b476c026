//! Work that keeps a thread for long: it tells how far it is, and ends when nobody waits for it any
//! more.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkProgress {
    /// What is counted: `records`, or `bytes` while an archive is unpacked.
    pub(crate) what: String,
    /// How many are done.
    pub(crate) done: u64,
    /// Of how many, if that is known.
    pub(crate) total: Option<u64>,
}

/// Receives progress, from any thread.
pub(crate) type Tell = Arc<dyn Fn(WorkProgress) + Send + Sync>;

/// What the work is given: it tells that so many of so many are done, and hears whether to go on.
pub(super) type Step<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Ends the work on another thread when nobody waits for it any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Does work on records on a thread that may block. Dropping the future ends it at its next step.
pub(super) async fn blocking<T: Send + 'static>(
    tell: Tell,
    work: impl FnOnce(Step<'_>) -> T + Send + 'static,
) -> T {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let is_wanted = wanted.0.clone();
    let done = spawn_blocking(move || {
        work(&mut |done, total| {
            tell(WorkProgress { what: "records".to_owned(), done, total: Some(total) });
            if is_wanted.load(Ordering::Relaxed) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    });
    done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
