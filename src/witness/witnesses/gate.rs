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
        let (options, log) = (&self.0.options, self.0.options.log.to_string());
        let exempt = self.0.exempt(opened, &log)?;
        self.0.exempt.store(exempt.0, Ordering::Relaxed);
        let Some(epoch) = opened.epoch else { return Ok(options.required) };
        let memory = GateMemory { log, epoch, exempt: options.required.then_some(exempt) };
        if let Err(error) = options.store.keep_gate_memory(&memory) {
            // The next start then takes this memory for an old copy: closed, not open.
            tracing::error!(%error, "the memory of the cosignatures cannot be written");
        }
        Ok(options.required)
    }

    fn has_passed(&self, tree: &TreeHead) -> Result<bool, StoreError> {
        let Inner { options, exempt, .. } = &*self.0;
        if !options.required || tree.size.0 <= exempt.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let (verified, bad) = self.0.sorted(tree)?;
        if verified.len() >= options.quorum {
            return Ok(true);
        }
        // It had passed, or it had not: an older head must not be served on a guess.
        bad.first().map_or(Ok(false), |bad| Err(unverified(bad, FIX)))
    }

    fn pass(&self, snapshot: &Snapshot) -> Result<(), NotPassed> {
        if !self.0.options.required {
            return Ok(());
        }
        self.0.aim_at(snapshot);
        let (want, waited) = (self.0.options.quorum, self.0.options.patience);
        let round = lock(&self.0.round);
        let tree = snapshot.head().tree;
        let missing = |round: &mut Round| round.tree == Some(tree) && round.signatures.len() < want;
        let (round, _) =
            self.0.arrived.wait_timeout_while(round, waited, missing).unwrap_or_else(PoisonError::into_inner);
        let have = round.signatures.len();
        if round.tree != Some(tree) || have < want {
            return Err(NotPassed { have, want, waited });
        }
        drop(round);
        // Before it is published, so that nobody sees it without.
        if let (Some(log), Some(checkpoint)) = (lock(&self.0.log).clone(), snapshot.checkpoint()) {
            self.0.put(&log, checkpoint);
        }
        Ok(())
    }
}

impl Inner {
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
        let memory = match self.options.store.gate_memory() {
            Err(error @ StoreError::Damaged { .. }) if self.options.required => return Err(error),
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
