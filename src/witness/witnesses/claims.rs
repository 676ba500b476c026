//! Claims of witnesses about this log: what a claim is worth, and the evidence where it is proved.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{ATTEMPT, Inner, lock};
use crate::log::{IncidentReport, Judgment, Log, ReadOnly, SignedCheckpoint, Snapshot};
use crate::mirror::Misbehavior;
use crate::store::IncidentKind;
use crate::tlog::{ConsistencyProof, TreeHead};
use crate::witness::ask::AskError;
use crate::witness::hearing::{Claim, Word};

impl Inner {
    /// A witness that says that there is more of this log, or another history, is asked to show it. With the log's own signature that proves
    /// it, and nothing more is signed here.
    pub(super) async fn look_into(&self, at: usize, error: &AskError) {
        let claim = match error {
            AskError::Ahead { size } => Some(Claim::Ahead(*size)),
            AskError::Contradicted { .. } => Some(Claim::OtherHistory),
            AskError::Lie { .. } => None,
            AskError::Refused { status: 404, .. } => return self.hear(at, Word::NothingNewer),
            _ => return,
        };
        // Anybody may show a witness what this log has published: that it knows a newer head than the round's is no wonder.
        if let AskError::Ahead { size } = error
            && self.newest().is_some_and(|newest| *size <= newest.size())
        {
            return;
        }
        let (peer, tally) = (&self.panel.peers[at], &self.tallies[at]);
        tally.alarms.fetch_add(1, Ordering::Relaxed);
        let Some(claim) = claim else { return };
        self.hear(at, Word::Claim(claim));
        tracing::error!(witness = peer.name, %error, "a witness contradicts this log: a person must look");
        let deadline = self.clock().instant() + ATTEMPT;
        let (key, client) = (&self.standing.log, &self.panel.client);
        let Some((shown, note)) = peer.shown_checkpoint(client, &self.origin, key, deadline).await else {
            return;
        };
        let (Some(target), Some(log)) = (self.target.borrow().clone(), lock(&self.log).clone()) else {
            return;
        };
        let report = |why: &ReadOnly| self.report(&peer.name, (&shown, &note), &target.checkpoint, why);
        match log.judge(&shown, &note, report) {
            // An operator has decided about this head, so that it holds nothing back either.
            Ok(Judgment::Settled) => self.hear(at, Word::NothingNewer),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(witness = peer.name, %error, "the head that a witness shows cannot be compared");
            }
        }
    }

    /// The incident of a head that a witness has shown.
    fn report(
        &self,
        witness: &str,
        (shown, note): (&TreeHead, &str),
        own: &SignedCheckpoint,
        why: &ReadOnly,
    ) -> IncidentReport {
        let (log, why) = (self.origin.to_string(), why.to_string());
        // Two roots of one size need no proof beside the notes: the text that convicts whoever has the key.
        let detail = if shown.size == own.tree.size && shown.root != own.tree.root {
            let (older, newer, root_in_newer) = (note.to_owned(), own.note.clone(), own.tree.root);
            let (proof, seen_at) = (ConsistencyProof::default(), self.clock().now());
            let found = Misbehavior { log: log.clone(), older, newer, root_in_newer, proof, seen_at };
            json!({ "log": log, "what": "fork", "witness": witness, "why": why, "text": found.to_text() })
        } else {
            json!({ "witness": witness, "why": why, "shown": note, "own": own.note })
        };
        IncidentReport { kind: IncidentKind::Misbehavior, detail: detail.to_string() }
    }
}

impl Inner {
    /// The newest head that this log has shown to anybody: the published one, or that which waits at the gate.
    fn newest(&self) -> Option<Snapshot> {
        let published = lock(&self.log).as_ref().map(Log::snapshot);
        let aimed = self.target.borrow().as_ref().map(|target| target.snapshot.clone());
        published.into_iter().chain(aimed).max_by_key(Snapshot::size)
    }
}
