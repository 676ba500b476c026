//! The gate: what must agree before a head is published, where the operator demands it.
//!
//! The order is commit → anchor → gate → publish → answer. The gate is shown a head that is durable and anchored, so that whoever
//! cosigns it never sees it taken back. Stop anywhere: the head stays committed, and the next start shows it to the gate again, while it
//! serves the newest head that had passed. Nothing is built beside a head that waits at the gate, and no record in it is lost: whoever
//! asked for it is told to try again, and finds it there when the head is published.

use std::time::Duration;

use super::Snapshot;
use crate::store::StoreError;
use crate::tlog::{TreeHead, TreeSize};

/// What stands between the anchor and publication.
pub trait Gate: Send + Sync {
    /// Called once, at the start, with the newest committed size: heads up to there need not pass the first time that there is a gate.
    fn start(&self, newest: TreeSize) -> Result<(), StoreError>;

    /// Whether a head has passed before. An error where the gate's memory is damaged: then an older
    /// head must not be served as if it were the newest that has passed.
    fn has_passed(&self, tree: &TreeHead) -> Result<bool, StoreError>;

    /// Waits until the head of this snapshot may be published, or for as long as the operator said. Called on the writer's thread.
    fn pass(&self, snapshot: &Snapshot) -> Result<(), NotPassed>;
}

/// A head may not be published yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{have} of the {want} cosignatures that are demanded came within {} s", waited.as_secs())]
pub struct NotPassed {
    /// Witnesses that have cosigned.
    pub have: usize,
    /// Witnesses that must.
    pub want: usize,
    /// For how long it was waited.
    pub waited: Duration,
}
