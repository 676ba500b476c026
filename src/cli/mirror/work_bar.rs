//! How far work on a full mirror is, for a person.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::ProgressMeter;
use crate::operate::{Tell, WorkProgress};

/// A bar for the first thing that is counted, then one for the next.
#[derive(Default)]
pub(super) struct WorkBar(Arc<Mutex<Option<Bar>>>);

impl WorkBar {
    /// Returns where the work tells its progress.
    pub(super) fn tell(&self) -> Tell {
        let bar = self.0.clone();
        Arc::new(move |at| show(&mut bar.lock().unwrap_or_else(PoisonError::into_inner), at))
    }
}

impl Drop for WorkBar {
    fn drop(&mut self) {
        let bar = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.progress.finish();
        }
    }
}

struct Bar {
    what: String,
    progress: ProgressMeter,
}

fn show(bar: &mut Option<Bar>, WorkProgress { what, done, total }: WorkProgress) {
    if let Some(other) = bar.take_if(|bar| bar.what != what) {
        other.progress.finish();
    }
    let bar = bar.get_or_insert_with(|| {
        let mut progress = match total {
            Some(total) => ProgressMeter::new("records", total),
            None => ProgressMeter::bytes("unpacked", None),
        };
        progress.begin_at(done);
        Bar { what, progress }
    });
    bar.progress.set(done);
}
