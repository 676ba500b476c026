//! A signed head that somebody else was shown, compared with what is known here: how a split view
//! is found.
//!
//! Nothing of it is stored unless it convicts the log: a sender of heads cannot make the databases
//! grow. One comparison fetches at most two tiles for each level.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::advance::Advances;
use super::error::RemoteError;
use super::verify::{LogVerifier, NotVerified};
use crate::store::remote::SeenHead;
use crate::tlog::{ConsistencyProof, TreeHead};

/// What is asked for, in errors.
const PATH: &str = "gossip";
/// A log whose newest head was asked for so lately is not asked again because somebody was shown a
/// larger one.
const ADVANCE_PAUSE: Duration = Duration::from_secs(2);

/// What a head is beside those that are known.
#[derive(Clone, Debug)]
pub(crate) enum HeadComparison {
    /// Both belong to one log.
    Consistent {
        /// The newest head known.
        newest: Arc<SeenHead>,
        /// The proof that the newest tree begins as the head says, where it can be made at the
        /// moment.
        proof: Option<ConsistencyProof>,
    },
    /// It is of a larger tree than any that the log's URLs show here, so it cannot be compared yet.
    Ahead {
        /// The newest head known, if any.
        newest: Option<Arc<SeenHead>>,
    },
}

/// Compares a head whose signature was verified. `note` is what the evidence holds if it convicts
/// the log: the text with the signature by the log's key and no others. Where the head is larger
/// than any known, the log is asked for its newest first.
pub(super) async fn compare_head(
    advances: &Arc<Advances>,
    head: &TreeHead,
    note: &str,
    deadline: Instant,
) -> Result<HeadComparison, RemoteError> {
    let (verifier, known) = (&advances.verifier, advances.verifier.known());
    known.check_running()?;
    let covers = |newest: &Arc<SeenHead>| newest.tree.size >= head.size;
    if known.newest().is_none_or(|newest| !covers(&newest)) && !advances.asked_within(ADVANCE_PAUSE) {
        // When it does not answer, what is known is compared all the same.
        if let Err(error @ (RemoteError::Misbehavior(_) | RemoteError::Store(_))) =
            advances.advance(deadline).await
        {
            return Err(error);
        }
    }
    let seen = known.newest();
    let Some(newest) = seen.clone().filter(covers) else {
        return Ok(HeadComparison::Ahead { newest: seen });
    };
    let offered = SeenHead { tree: *head, note: note.to_owned(), seen_at: known.clock.now() };
    // The head of the same size, whichever database has it, convicts with no network.
    let same = known.head(head.size)?;
    if let Some(same) = same.as_ref().filter(|same| same.tree.root != head.root) {
        let proof = ConsistencyProof::default();
        return Err(verifier.convict(same, &offered, head.root, proof).await);
    }
    if head.size.0 == 0 {
        return Ok(HeadComparison::Consistent { newest, proof: None });
    }
    let compared = async {
        let read = verifier.read(&newest, Some(&offered), None, PATH, deadline).await?;
        verifier.compare(&newest, Some(&offered), 0, &read, PATH, deadline).await?;
        Ok(verifier.consistency(&newest, &offered, &read.tiles, PATH, deadline).await?)
    };
    match compared.await {
        Ok(proof) => Ok(HeadComparison::Consistent { newest, proof: Some(proof) }),
        Err(NotVerified::Fatal(error @ (RemoteError::Misbehavior(_) | RemoteError::Store(_)))) => Err(error),
        // It is one of ours: only the proof cannot be made without the network.
        Err(_) if same.is_some() => Ok(HeadComparison::Consistent { newest, proof: None }),
        Err(NotVerified::Fatal(error)) => Err(error),
        Err(NotVerified::Bad(text)) => Err(RemoteError::Unavailable { text, retry_after: None }),
    }
}

/// Fetches the head that the log's URLs show as the newest: signed, and compared with no other.
pub(super) async fn fetch_head(verifier: &LogVerifier, deadline: Instant) -> Result<SeenHead, RemoteError> {
    let mut inquiry = verifier.transport().latest(deadline);
    let mut lies = Vec::new();
    loop {
        let answer = verifier.ask(&mut inquiry, PATH, &mut lies).await?;
        match verifier.open_head(&answer.body) {
            Ok(head) => return Ok(head),
            Err(NotVerified::Bad(why)) => verifier.refuse(answer, why, &mut lies),
            Err(NotVerified::Fatal(error)) => return Err(error),
        }
    }
}
