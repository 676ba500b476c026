//! The hold: keeps the first signature of a process back until the log's witnesses have been asked.
//!
//! A log and an anchor that were restored from one old backup agree with each other. Nothing on
//! this machine can tell that they are old; a witness that cosigned a newer head can. So a log that
//! has witnesses starts under a hold. What earlier processes signed is served at once. The writer
//! signs nothing new until the hold is released.
//!
//! The log does not decide what the witnesses' answers mean: whoever asks them calls
//! [`Log::release`]. The hold bounds itself, though. The writer waits for at most the time that
//! [`Conditions::hold`] gives, even when nobody ever answers or asks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(doc)]
use super::Conditions;
use super::Log;
use super::state::{ReadOnly, State};

/// Holds back the first signature. The default holds nothing back.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Changed by whoever releases, cautions or closes. The sequencer's thread gives it back while
    /// it waits.
    held: Mutex<Held>,
    /// Told after each change that may end the wait.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    /// How long the writer waits. `None`: the hold is released.
    longest: Option<Duration>,
    /// The log is closing: the writer must not wait any longer.
    is_closing: bool,
    /// What the witnesses have claimed without proof, for people.
    caution: Option<Arc<str>>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The hold was released before or meanwhile.
    Released,
    /// The hold still stands after the longest time.
    TooLong,
    /// The log is closing, or something ended signing.
    Ended,
}

impl Hold {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the hold is released. `is_over` tells whether signing has ended meanwhile.
    pub(super) fn wait(&self, is_over: impl Fn() -> bool) -> Waited {
        let held = self.held();
        let Some(longest) = held.longest else { return Waited::Released };
        let goes_on = |held: &mut Held| held.longest.is_some() && !held.is_closing && !is_over();
        let (held, waited) =
            self.changed.wait_timeout_while(held, longest, goes_on).unwrap_or_else(PoisonError::into_inner);
        match held.longest {
            None => Waited::Released,
            Some(_) if waited.timed_out() => Waited::TooLong,
            Some(_) => Waited::Ended,
        }
    }

    /// Makes the writer look again at what it waits for.
    pub(super) fn wake(&self) {
        // Under the lock, so that a writer which is about to wait does not miss it.
        let _held = self.held();
        self.changed.notify_all();
    }

    /// Makes the writer wait for so long, at most.
    pub(super) fn begin(&self, longest: Duration) {
        self.held().longest = Some(longest);
    }

    /// Ends the wait. Returns whether there was one.
    pub(super) fn release(&self) -> bool {
        let was_on = self.held().longest.take().is_some();
        self.changed.notify_all();
        was_on
    }

    /// Ends the writer's wait for good, without letting it sign.
    pub(super) fn close(&self) {
        self.held().is_closing = true;
        self.changed.notify_all();
    }
}

impl Log {
    /// Lets this process sign: see [`Conditions::hold`].
    pub fn release(&self) {
        self.shared.release();
    }

    /// Whether this process has not been allowed to sign yet.
    pub(crate) fn is_held(&self) -> bool {
        self.shared.hold.held().longest.is_some()
    }

    /// Keeps what witnesses claim without proof, to be shown by `/readyz` until it is replaced.
    pub fn caution(&self, text: Option<String>) {
        let text: Option<Arc<str>> = text.map(Arc::from);
        self.shared.hold.held().caution.clone_from(&text);
        if let Some(text) = text {
            let why = text.to_string();
            self.shared.replace_unasked(|| State::ReadOnly(ReadOnly::Unasked { why: why.clone() }));
        }
    }

    /// Returns what witnesses claim without proof, if they do.
    pub fn cautioned(&self) -> Option<Arc<str>> {
        self.shared.hold.held().caution.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_release_by_time_and_by_closing() {
        let never = || false;
        assert_eq!(Hold::default().wait(never), Waited::Released);
        let hold = |longest| {
            let hold = Hold::default();
            hold.held().longest = Some(longest);
            hold
        };
        assert_eq!(hold(Duration::from_millis(1)).wait(never), Waited::TooLong);
        let hold = hold(Duration::from_secs(3600));
        assert_eq!(hold.wait(|| true), Waited::Ended, "signing has ended");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hold.wait(never));
            hold.close();
            assert_eq!(waiting.join().expect("no panic"), Waited::Ended);
        });
    }
}
