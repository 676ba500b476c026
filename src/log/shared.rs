//! What the threads of an open log share: what is published, and whether the log signs.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::AppendError;
use super::checkpoint::Cosignatures;
use super::hold::Hold;
use super::judge::CommittedTree;
use super::prover::Prover;
use super::snapshot::Snapshot;
use super::state::{ReadOnly, State};
use super::stops::Stops;
use crate::tlog::TreeSize;

/// What the sequencer and the handles share.
///
/// The sequencer's thread owns what is published and committed, and is the only one that replaces
/// it. Everybody else reads it without a lock.
pub(super) struct SharedLog {
    /// What readers see. Only [`SharedLog::publish`] replaces it, on the sequencer's thread.
    pub(super) published: ArcSwap<Snapshot>,
    /// Whether the log signs. Any thread may change it, only by [`SharedLog::turn`] and its like,
    /// which compare and swap: a reason that stays is never replaced by one that passes.
    pub(super) state: ArcSwap<State>,
    /// Wakes up who waits for the next publication or change of state.
    pub(super) changed: watch::Sender<TreeSize>,
    /// What heads from outside are judged by. Its own lock orders commits and judgments.
    pub(super) committed: CommittedTree,
    /// Whoever asks the witnesses replaces it; never by those of a smaller tree.
    pub(super) cosignatures: Cosignatures,
    /// What the first signature waits for, under a lock of its own.
    pub(super) hold: Hold,
    /// Remembers tiles, each under the lock of its part of the cache.
    pub(super) prover: Prover,
    /// The heads that contradict this log, under a lock of its own.
    pub(super) stops: Stops,
    /// What was found while the log was read, and became incidents. Locked by whoever finds
    /// something.
    pub(super) told: Mutex<HashSet<String>>,
}

impl SharedLog {
    pub(super) fn snapshot(&self) -> Snapshot {
        (**self.published.load()).clone()
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        let size = snapshot.size();
        self.published.store(Arc::new(snapshot));
        self.changed.send_replace(size);
    }

    /// Why no head may be signed any more while this process lives, if so.
    pub(super) fn is_over(&self) -> Option<ReadOnly> {
        match &*self.state.load_full() {
            State::Writing => None,
            State::ReadOnly(reason) => (!reason.passes()).then(|| reason.clone()),
        }
    }

    /// Why the writer takes nothing more.
    pub(super) fn stopped(&self) -> AppendError {
        match &*self.state.load_full() {
            State::ReadOnly(reason) => AppendError::ReadOnly(reason.clone()),
            State::Writing => {
                AppendError::ReadOnly(ReadOnly::Stopped { why: "the writer has ended".to_owned() })
            }
        }
    }

    /// Changes the state, and wakes up who watches it. What does not [pass](ReadOnly::passes) stays
    /// while the process lives: what a reader finds damaged stays so, whatever the writer finds out
    /// about its disk at the same moment. Only a failed write is worse than damage: it ends the
    /// process.
    pub(super) fn turn(&self, state: State) {
        let stays = |now: &State| match now {
            State::Writing => matches!(state, State::Writing),
            State::ReadOnly(reason) if reason.passes() => false,
            State::ReadOnly(now) if now.ends_process() => true,
            State::ReadOnly(_) => !matches!(&state, State::ReadOnly(next) if next.ends_process()),
        };
        let before = self.state.rcu(|now| if stays(now) { now.clone() } else { Arc::new(state.clone()) });
        if !stays(&before) {
            self.changed.send_modify(|_| {});
            self.hold.wake();
        }
    }
}

impl SharedLog {
    /// Keeps the writer from signing until it is released, or has waited for so long.
    pub(super) fn hold_back(&self, longest: Duration) {
        self.hold.begin(longest);
        let why = "none of them has answered yet".to_owned();
        if matches!(*self.state.load_full(), State::Writing) {
            self.turn(State::ReadOnly(ReadOnly::Unasked { why }));
        }
    }

    /// Lets the log sign. A reason of its own that keeps it from signing stays.
    pub(super) fn release(&self) {
        if self.hold.release() {
            self.replace_unasked(|| State::Writing);
        }
    }

    /// Changes the state if it is that of a log that waits for its witnesses' answers.
    pub(super) fn replace_unasked(&self, state: impl Fn() -> State) {
        let is_unasked = |now: &State| matches!(now, State::ReadOnly(ReadOnly::Unasked { .. }));
        let before = self.state.rcu(|now| if is_unasked(now) { Arc::new(state()) } else { now.clone() });
        if is_unasked(&before) {
            self.changed.send_modify(|_| {});
        }
    }
}
