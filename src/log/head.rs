//! What proves a stored head: the log's signature, the records under it, and that no newer one is
//! lost.

use std::sync::Arc;

use super::right_edge::RightEdge;
use crate::note::{self, VerifierKey};
use crate::store::{Identity, LogReader, StoreError, StoredHead};
use crate::tlog::TreeSize;

/// Verifies the newest head before anything is served with it, and returns the key that it was
/// verified with.
///
/// Its note goes out with every answer, so the log's key must have signed it. And it must be the
/// newest: a head that is read in place of a newer one, because pages are damaged, ends before the
/// records do. Each commit writes both.
pub(super) fn prove_newest(
    newest: Option<&StoredHead>,
    identity: &Identity,
    reader: &dyn LogReader,
) -> Result<Arc<VerifierKey>, StoreError> {
    let damaged = |place: &str, why: String| StoreError::Damaged { place: place.to_owned(), why };
    let verifier: VerifierKey = identity
        .vkey
        .parse()
        .map_err(|error| damaged("identity", format!("{} is no verifier key: {error}", identity.vkey)))?;
    let size = newest.map_or(TreeSize(0), |head| head.tree.size);
    let place = format!("the newest head, of size {size}");
    if let Some(head) = newest {
        check_note(head, &verifier).map_err(|why| damaged(&place, why))?;
        // By its key it is found by another way than as the last one.
        if reader.head(size)?.as_ref() != Some(head) {
            return Err(damaged(&place, "it is not found by its size".to_owned()));
        }
    }
    match reader.records(size.0..size.0 + 1) {
        Ok(beyond) if beyond.is_empty() => Ok(Arc::new(verifier)),
        Ok(_) => {
            Err(damaged(&place, "the tables hold a record beyond it, so a newer one is lost".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Whether the stored records have the root that a head says.
pub(super) fn check_root(edge: &RightEdge, head: &StoredHead) -> Result<(), StoreError> {
    let stored = edge.tree();
    if stored == head.tree {
        return Ok(());
    }
    let place = format!("the newest head, of size {}", head.tree.size);
    let why = format!("it says the root {}, the stored records have {}", head.tree.root, stored.root);
    Err(StoreError::Damaged { place, why })
}

/// Whether a head's note is signed by the log and says what the head says.
pub(super) fn check_note(head: &StoredHead, verifier: &VerifierKey) -> Result<(), String> {
    let size = head.tree.size;
    let note = note::open(head.note.as_bytes(), &[verifier])
        .map_err(|error| format!("the note of the head of size {size}: {error}"))?;
    if note.text == head.tree.format() {
        return Ok(());
    }
    Err(format!("the note of the head of size {size} is not about that head"))
}
