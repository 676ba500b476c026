//! The newest head of a log with the tree under it, computed again from what is stored.

use std::sync::Arc;

use super::head::check_root;
use super::right_edge::RightEdge;
use super::snapshot::{Damage, Snapshot};
use super::tower::Tower;
use crate::note::VerifierKey;
use crate::store::{Identity, LogReader, StoreError, StoredHead};
use crate::tlog::{Hash, TreeHead, TreeSize, tree_hash_indexes};

/// The newest head with the edge of the tree as the stored bytes give it; an empty tree where there
/// is no head yet. And, where those bytes give the root that was signed, the tower that goes on
/// from there.
pub(super) fn recover(
    newest: Option<StoredHead>,
    identity: &Identity,
    verifier: Arc<VerifierKey>,
    reader: Arc<dyn LogReader>,
) -> (Snapshot, Result<Tower, StoreError>) {
    let head = newest.unwrap_or_else(|| StoredHead {
        tree: TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE },
        note: String::new(),
        signed_at: identity.created_at,
    });
    let head = Arc::new(head);
    let mut snapshot = Snapshot { head, edge: None, reader, checkpoint: None, verifier, damage: None };
    let tower = raise_tower(&mut snapshot);
    snapshot.damage = tower.as_ref().err().map(Damage::of);
    (snapshot, tower)
}

/// Gives a snapshot its right edge, and returns the tower over it, where the stored bytes have the
/// root that was signed.
fn raise_tower(snapshot: &mut Snapshot) -> Result<Tower, StoreError> {
    let size = snapshot.size();
    let edge = RightEdge::recover(size, &*snapshot.reader)?;
    check_root(&edge, &snapshot.head)?;
    snapshot.edge = Some(Arc::new(edge));
    let roots = snapshot.hashes(&tree_hash_indexes(size))?;
    Tower::over(&snapshot.head.tree, &roots)
}
