//! The gate: what must agree before a head is published, where the operator demands it.
//!
//! The order is commit → anchor → gate → publish → answer. The gate is shown a head that is durable
//! and anchored, so that whoever cosigns it never sees it taken back. Stop anywhere: the head stays
//! committed, and the next start shows it to the gate again, while it serves the newest head that
//! had passed. Nothing is built beside a head that waits at the gate, and no record in it is lost:
//! whoever asked for it is told to try again, and finds it there when the head is published.

use std::sync::Arc;
use std::time::Duration;

use super::Snapshot;
use crate::store::StoreError;
use crate::tlog::{TreeHead, TreeSize};

/// What a log waits for: nothing, by default.
#[derive(Clone, Default)]
pub struct Conditions {
    /// What each head must pass before it is published.
    pub gate: Option<Arc<dyn PublishGate>>,
    /// Until somebody calls [`Log::release`](super::Log::release), or the writer has waited for so
    /// long, this process signs nothing. What was signed before is served at once. The first head
    /// of a new log is signed all the same, since the empty tree is the same in every log.
    pub hold: Option<Duration>,
}

/// What a gate is told of its log when the log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedLog {
    /// The size of the newest committed head.
    pub newest: TreeSize,
    /// The size of the head before it, or 0. That head was published: nothing is built beside a
    /// head that waits at the gate.
    pub before: TreeSize,
    /// The epoch of the process that wrote this log last.
    pub last_epoch: u64,
    /// The epoch of this process. None: it only reads.
    pub epoch: Option<u64>,
}

/// What stands between the anchor and publication.
pub trait PublishGate: Send + Sync {
    /// Called once, before the gate is asked for anything. On the first start with a gate, heads
    /// that were published before are exempt. Returns whether any head has to pass.
    fn start(&self, opened: &OpenedLog) -> Result<bool, StoreError>;

    /// Whether a head has passed before. An error where the gate's memory is damaged: then an older
    /// head must not be served as if it were the newest that has passed.
    fn has_passed(&self, tree: &TreeHead) -> Result<bool, StoreError>;

    /// Waits until the head of this snapshot may be published, or for as long as the operator said.
    /// Called on the writer's thread.
    fn pass(&self, snapshot: &Snapshot) -> Result<(), NotPassed>;
}

/// A head may not be published yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{have} of {want} demanded cosignatures came within {} s", waited.as_secs())]
pub struct NotPassed {
    /// Witnesses that have cosigned.
    pub have: usize,
    /// Witnesses that must.
    pub want: usize,
    /// For how long it was waited.
    pub waited: Duration,
}
