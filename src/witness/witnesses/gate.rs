//! The witnesses as the gate of their log: which heads need cosignatures, and the wait for them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Inner, Round, Witnesses, lock, unverified};
use crate::log::{NotPassed, OpenedLog, PublishGate, Snapshot};
use crate::store::StoreError;
use crate::store::cosignatures::GateMemory;
use crate::tlog::{TreeHead, TreeSize};

/// What to do where neither copy of a cosignature verifies and the log may not start without it.
const FIX: &str = "\n  fix: put the newest copy of cosignatures.db back; without one, move the file away: \
                   the witnesses then cosign the newest head again";

impl PublishGate for Witnesses {
    fn start(&self, opened: &OpenedLog) -> Result<bool, StoreError> {
        let inner = self.current();
        let (standing, log) = (&inner.standing, inner.standing.log.to_string());
        let exempt = inner.exempt(opened, &log)?;
        inner.exempt.store(exempt.0, Ordering::Relaxed);
        let Some(epoch) = opened.epoch else { return Ok(standing.required) };
        let memory = GateMemory { log, epoch, exempt: standing.required.then_some(exempt) };
        if let Err(error) = standing.store.keep_gate_memory(&memory) {
            // The next start then takes this memory for an old copy: closed, not open.
            tracing::error!(%error, "the memory of the cosignatures cannot be written");
        }
        Ok(standing.required)
    }

    fn has_passed(&self, tree: &TreeHead) -> Result<bool, StoreError> {
        let inner = self.current();
        let Inner { standing, panel, exempt, .. } = &*inner;
        if !standing.required || tree.size.0 <= exempt.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let (verified, bad) = inner.sorted(tree)?;
        if verified.len() >= panel.quorum {
            return Ok(true);
        }
        // It had passed, or it had not: an older head must not be served on a guess.
        bad.first().map_or(Ok(false), |bad| Err(unverified(bad, FIX)))
    }

    fn pass(&self, snapshot: &Snapshot) -> Result<(), NotPassed> {
        loop {
            let inner = self.current();
            let passed = inner.pass(snapshot);
            // A reload has named other witnesses meanwhile: the head waits for those.
            if passed.is_ok() || !inner.is_replaced.load(Ordering::Acquire) {
                return passed;
            }
        }
    }
}

impl Inner {
    fn pass(&self, snapshot: &Snapshot) -> Result<(), NotPassed> {
        if !self.standing.required {
            return Ok(());
        }
        self.aim_at(snapshot);
        let (want, waited) = (self.panel.quorum, self.panel.patience);
        let round = lock(&self.round);
        let tree = snapshot.head().tree;
        let missing = |round: &mut Round| {
            let is_waited_for = !self.is_replaced.load(Ordering::Acquire);
            is_waited_for && round.tree == Some(tree) && round.signatures.len() < want
        };
        let (round, _) =
            self.arrived.wait_timeout_while(round, waited, missing).unwrap_or_else(PoisonError::into_inner);
        let have = round.signatures.len();
        if round.tree != Some(tree) || have < want {
            return Err(NotPassed { have, want, waited });
        }
        drop(round);
        // Before it is published, so that nobody sees it without.
        if let (Some(log), Some(checkpoint)) = (lock(&self.log).clone(), snapshot.checkpoint()) {
            self.put(&log, checkpoint);
        }
        Ok(())
    }

    /// Returns the size up to which heads need no cosignatures:
    ///
    /// | what the memory says | exempt |
    /// |---|---|
    /// | the process before this one demanded them after a size | up to it, or before the newest |
    /// | the process before this one demanded none | heads up to the newest, all published |
    /// | nothing: it is missing, an old copy, or another log's | heads before the newest |
    ///
    /// Heads before the newest were published: nothing is built beside a head that waits. In the last
    /// case nobody knows whether the newest was, so it needs its cosignatures again. Its witnesses
    /// give them at once, if it was.
    ///
    /// A damaged memory is an error where cosignatures are demanded: the newest head may have passed,
    /// and an older one must not be served in its place.
    fn exempt(&self, opened: &OpenedLog, log: &str) -> Result<TreeSize, StoreError> {
        let memory = match self.standing.store.gate_memory() {
            Err(error @ StoreError::Damaged { .. }) if self.standing.required => return Err(error),
            Err(error) => {
                tracing::error!(%error, "the memory of the cosignatures cannot be read");
                None
            }
            Ok(memory) => memory,
        };
        Ok(match memory.filter(|memory| memory.log == *log && memory.epoch == opened.last_epoch) {
            Some(GateMemory { exempt: Some(size), .. }) => size.max(opened.before),
            Some(GateMemory { exempt: None, .. }) => opened.newest,
            None => opened.before,
        })
    }
}
