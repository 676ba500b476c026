//! Decides whether a head with the log's own signature contradicts the log. Whoever was shown such
//! a head asks here.
//!
//! Ending signing cannot be taken back by the process, so the decision is made against the newest
//! committed tree, never against a view that the caller has taken before. A witness that shows the
//! head which was published a moment ago, while the caller still asks for an older one, proves
//! nothing.
//!
//! ```text
//! writer    order ├─ begin, sign, commit, newest := committed ─┤  anchor → gate → publish
//! judge     newest has the head? yes: nothing
//!                                no:  order ├─ newest has the head? no: stop kept, state turned ─┤
//! ```
//!
//! - A head that this process has shown to anybody was committed before, so the first comparison finds it. Most heads are
//!   judged so, without a lock: a committed tree never loses anything.
//! - A head that the writer is signing at the moment is compared after its commit has ended.
//! - A stop that is decided precedes every later commit: the writer looks at the state again when it has the order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::snapshot::Snapshot;
use super::state::{ReadOnly, State};
use super::{IncidentReport, Log};
use crate::store::StoreError;
use crate::tlog::TreeHead;

/// The newest committed tree, published or not, and the order of commits and judgments.
pub(super) struct CommittedTree {
    /// Only the sequencer's thread replaces it, after a commit and under `order`.
    newest: ArcSwap<Snapshot>,
    /// Held by the sequencer over a commit, and by a judge over a decision that ends signing.
    order: Mutex<()>,
}

impl CommittedTree {
    pub(super) fn new(newest: Snapshot) -> CommittedTree {
        CommittedTree { newest: ArcSwap::from_pointee(newest), order: Mutex::new(()) }
    }

    /// The writer holds this from before it signs a head until [`CommittedTree::advance`] has shown
    /// the commit.
    pub(super) fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what was committed just now.
    pub(super) fn advance(&self, newest: Snapshot) {
        self.newest.store(Arc::new(newest));
    }

    /// Why a log with this tree may not sign beside a head. None: the tree contains the head.
    fn contradiction(&self, shown: &TreeHead) -> Result<Option<ReadOnly>, StoreError> {
        let newest = self.newest.load();
        if shown.size > newest.size() {
            return Ok(Some(ReadOnly::Behind { found: newest.head.tree, anchored: *shown }));
        }
        let found = newest.root_at(shown.size)?;
        Ok((found != shown.root).then_some(ReadOnly::Beside { found, anchored: *shown }))
    }
}

/// What a head with the log's own signature means for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgment {
    /// The committed tree contains it, whether or not it is published yet.
    Contained,
    /// The committed tree lacks it, and nothing is signed any more.
    Contradicts {
        /// Whether this process sees this contradiction for the first time.
        is_new: bool,
    },
    /// The committed tree lacks it, and an operator has decided that the log signs all the same.
    Settled,
}

impl Log {
    /// Judges a head that this log's key has signed, and stops signing if the committed tree lacks
    /// it: another copy of the log has signed it, or this one was rolled back together with its
    /// anchor. `note` is the head as it is signed. `report` makes the incident; it is told why the
    /// log must not sign.
    ///
    /// The stop outlasts this process ([`Stop`](super::Stop)). A row that is too damaged to judge
    /// by stops signing too, and is the error.
    pub fn judge(
        &self,
        shown: &TreeHead,
        note: &str,
        report: impl FnOnce(&ReadOnly) -> IncidentReport,
    ) -> Result<Judgment, StoreError> {
        self.decide(shown, note, report).inspect_err(|error| {
            if let StoreError::Damaged { .. } = error {
                self.stop_signing(error);
            }
        })
    }

    fn decide(
        &self,
        shown: &TreeHead,
        note: &str,
        report: impl FnOnce(&ReadOnly) -> IncidentReport,
    ) -> Result<Judgment, StoreError> {
        let committed = &self.shared.committed;
        if committed.contradiction(shown)?.is_none() {
            return Ok(Judgment::Contained);
        }
        let order = committed.order();
        let Some(why) = committed.contradiction(shown)? else { return Ok(Judgment::Contained) };
        let report = report(&why);
        let stop = self.shared.stops.stop(shown, note, why.to_string(), report.digest());
        let Some(reason) = stop else { return Ok(Judgment::Settled) };
        tracing::error!(%reason, "a head with this log's signature contradicts it");
        self.shared.turn(State::ReadOnly(reason));
        drop(order);
        Ok(Judgment::Contradicts { is_new: self.tell(report) })
    }
}
