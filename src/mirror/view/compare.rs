//! A signed head that somebody else was shown, compared with what is known here: how a split view is found.
//!
//! Nothing of it is stored unless it convicts the log: whoever sends heads cannot make the databases grow. What must be fetched
//! is what one comparison needs, at most two tiles for each level.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::verify::Refusal;
use super::{RemoteError, RemoteLog};
use crate::store::remote::SeenHead;
use crate::tlog::{ConsistencyProof, TreeHead};

/// What is asked for, in errors.
const PATH: &str = "gossip";
/// A log whose newest head was asked for so lately is not asked again because somebody was shown a larger one.
const ADVANCE_PAUSE: Duration = Duration::from_secs(2);

/// What a head is beside those that are known.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Both belong to one log.
    Consistent {
        /// The newest head known.
        newest: Arc<SeenHead>,
        /// The proof that the newest tree begins as the head says, where it can be made at the moment.
        proof: Option<ConsistencyProof>,
    },
    /// It is of a larger tree than any that the log's URLs show here, so it cannot be compared yet.
    Ahead {
        /// The newest head known, if any.
        newest: Option<Arc<SeenHead>>,
    },
}

impl RemoteLog {
    /// Compares a head whose signature was verified. `note` is what is kept as evidence if it convicts the log: the text with
    /// the signature by the log's key and no others. Where the head is larger than any known, the log is asked for its
    /// newest first.
    pub async fn hear(&self, head: &TreeHead, note: &str, deadline: Instant) -> Result<Heard, RemoteError> {
        let inner = &self.0;
        inner.check_running()?;
        let covers = |newest: &Arc<SeenHead>| newest.tree.size >= head.size;
        if self.newest().is_none_or(|newest| !covers(&newest)) && !self.asked_lately() {
            // When it does not answer, what is known is compared all the same.
            if let Err(error @ (RemoteError::Misbehaviour(_) | RemoteError::Store(_))) =
                inner.advance(deadline).await
            {
                return Err(error);
            }
        }
        let known = self.newest();
        let Some(newest) = known.clone().filter(covers) else { return Ok(Heard::Ahead { newest: known }) };
        let offered = SeenHead { tree: *head, note: note.to_owned(), seen_at: inner.clock.now() };
        // The head of the same size, wherever it is kept, convicts with no network.
        let same = inner.kept.head(head.size)?;
        if let Some(same) = same.as_ref().filter(|same| same.tree.root != head.root) {
            let proof = ConsistencyProof::default();
            return Err(inner.stop(same, &offered, head.root, proof).await);
        }
        if head.size.0 == 0 {
            return Ok(Heard::Consistent { newest, proof: None });
        }
        let compared = async {
            let read = inner.read(&newest, Some(&offered), None, PATH, deadline).await?;
            inner.compare(&newest, Some(&offered), 0, &read, PATH, deadline).await?;
            Ok(inner.consistency(&newest, &offered, &read.tiles, PATH, deadline).await?)
        };
        match compared.await {
            Ok(proof) => Ok(Heard::Consistent { newest, proof: Some(proof) }),
            Err(Refusal::Fatal(error @ (RemoteError::Misbehaviour(_) | RemoteError::Store(_)))) => Err(error),
            // It is one of ours: only the proof cannot be made without the network.
            Err(_) if same.is_some() => Ok(Heard::Consistent { newest, proof: None }),
            Err(Refusal::Fatal(error)) => Err(error),
            Err(Refusal::Bad(text)) => Err(RemoteError::Unavailable { text, retry_after: None }),
        }
    }

    /// The same log, its store, its heads and its stop, at each of its URLs alone: what one of them shows is compared with what
    /// the others have shown.
    pub fn views(&self) -> Vec<RemoteLog> {
        self.0.transport.each().into_iter().map(|transport| self.via(transport)).collect()
    }

    /// The head that the log's URLs show as the newest, signed, and not compared with any other.
    pub async fn show(&self, deadline: Instant) -> Result<SeenHead, RemoteError> {
        let inner = &self.0;
        let mut inquiry = inner.transport.latest(deadline);
        let mut lies = Vec::new();
        loop {
            let answer = inner.ask(&mut inquiry, PATH, &mut lies).await?;
            match inner.open_head(&answer.body) {
                Ok(head) => return Ok(head),
                Err(Refusal::Bad(why)) => inner.refuse(answer, why, &mut lies),
                Err(Refusal::Fatal(error)) => return Err(error),
            }
        }
    }

    fn asked_lately(&self) -> bool {
        let inner = &self.0;
        let asked = *inner.advanced_at.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| inner.clock.instant().saturating_duration_since(asked) < ADVANCE_PAUSE)
    }
}
