//! The witnesses as the gate of their log: which heads need cosignatures, and the wait for them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Inner, Round, Witnesses, lock};
use crate::log::{Gate, NotPassed, Opened, Snapshot};
use crate::store::cosignatures::GateMemory;
use crate::tlog::{TreeHead, TreeSize};

impl Gate for Witnesses {
    fn start(&self, opened: &Opened) -> bool {
        let (options, log) = (&self.0.options, self.0.options.log.to_string());
        let exempt = self.0.exempt(opened, &log);
        self.0.exempt.store(exempt.0, Ordering::Relaxed);
        let Some(epoch) = opened.epoch else { return options.required };
        let memory = GateMemory { log, epoch, exempt: options.required.then_some(exempt) };
        if let Err(error) = options.store.keep_gate_memory(&memory) {
            // The next start then takes this memory for an old copy: closed, not open.
            tracing::error!(%error, "the memory of the cosignatures cannot be written");
        }
        options.required
    }

    fn has_passed(&self, tree: &TreeHead) -> bool {
        let Inner { options, exempt, .. } = &*self.0;
        !options.required
            || tree.size.0 <= exempt.load(Ordering::Relaxed)
            || self.0.stored(tree).len() >= options.quorum
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
    fn exempt(&self, opened: &Opened, log: &str) -> TreeSize {
        let unreadable = |error| tracing::error!(%error, "the memory of the cosignatures cannot be read");
        let memory = self.options.store.gate_memory().map_err(unreadable).ok().flatten();
        match memory.filter(|memory| memory.log == *log && memory.epoch == opened.last_epoch) {
            Some(GateMemory { exempt: Some(size), .. }) => size.max(opened.before),
            Some(GateMemory { exempt: None, .. }) => opened.newest,
            None => opened.before,
        }
    }
}
