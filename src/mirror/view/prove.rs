//! What is proved from the store alone: look-ups that were proved before, and inclusion proofs made
//! again. No network.

use std::sync::Arc;

use super::error::RemoteError;
use super::known::KnownLog;
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::store::remote::SeenHead;
use crate::store::{StoreError, StoredRecord};
use crate::tlog::{
    Hash, InclusionProof, RecordId, TILE_HEIGHT, Tile, TileLevel, TilePlan, TreeHead, TreeSize,
    inclusion_proof_indexes, prove_inclusion, stored_hash_index, verify_inclusion,
};

/// The lines of a module version, and what proves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenRecord {
    /// The two lines, from the authenticated record.
    pub lines: ModuleLines,
    /// The record's text, byte for byte: the two lines, and in some logs more.
    pub text: String,
    /// The record's number.
    pub record: RecordId,
    /// A stored head under which the record was proved; [`super::RemoteLog::prove`] makes the proof
    /// again.
    pub head: TreeHead,
}

/// Finds a module version that was proved before.
pub(super) fn find(known: &KnownLog, module: &ModuleVersion) -> Result<Option<ProvenRecord>, RemoteError> {
    if let Some(StoredRecord { id, lines }) = known.find_in_replica(module)?
        && let Some(proven) = prove_replicated(known, id, lines)?
    {
        return Ok(Some(proven));
    }
    let Some(record) = known.store.find(module)? else { return Ok(None) };
    let head = known.store.head(record.head_size)?.ok_or_else(|| StoreError::Damaged {
        place: format!("head {}", record.head_size),
        why: format!("record {} was proved under it and it is missing", record.id),
    })?;
    Ok(Some(ProvenRecord { lines: record.lines, text: record.text, record: record.id, head: head.tree }))
}

/// Proves again what the replica says: it may end in a log of ours, under our signature. Logs what
/// cannot be proved, and then the log is asked as if the record were not here.
fn prove_replicated(
    known: &KnownLog,
    id: RecordId,
    lines: ModuleLines,
) -> Result<Option<ProvenRecord>, RemoteError> {
    let covers = |head: &Arc<SeenHead>| id.0 < head.tree.size.0;
    // A replica that is growing has records beyond its head, which the newest covers.
    let head = known.replicated_head().filter(covers).or_else(|| known.newest().filter(covers));
    let Some(head) = head else { return Ok(None) };
    let text = lines.to_text();
    match prove_leaf(known, &head.tree, id, &Hash::of_record(text.as_bytes())) {
        Ok(Some(_)) => Ok(Some(ProvenRecord { lines, text, record: id, head: head.tree })),
        Ok(None) => Ok(None),
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(log = %known.name, record = id.0, %error, "a record of a full mirror cannot be proved");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the inclusion proof of a record under a head that was seen, from stored tiles, and
/// verifies it again. None when head, record or one of the tiles is not stored.
pub(super) fn prove(
    known: &KnownLog,
    record: RecordId,
    size: TreeSize,
) -> Result<Option<InclusionProof>, StoreError> {
    let (Some(head), Some(leaf)) = (known.head(size)?, known.leaf(record)?) else { return Ok(None) };
    prove_leaf(known, &head.tree, record, &leaf)
}

fn prove_leaf(
    known: &KnownLog,
    head: &TreeHead,
    id: RecordId,
    leaf: &Hash,
) -> Result<Option<InclusionProof>, StoreError> {
    let damaged =
        |why: String| StoreError::Damaged { place: format!("proof of record {id} under {head}"), why };
    let Ok(mut indexes) = inclusion_proof_indexes(head.size, id) else { return Ok(None) };
    indexes.push(stored_hash_index(0, id.0));
    let plan = TilePlan::new(head, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
    let mut bodies = Vec::with_capacity(plan.tiles().len());
    for Tile { level, number, width, .. } in plan.tiles() {
        let TileLevel::Hash(level) = level else { panic!("a plan has hash tiles only") };
        let Some(body) = known.tile(*level, *number, *width)? else { return Ok(None) };
        bodies.push(body);
    }
    let hashes = plan.finish(&bodies).map_err(|error| damaged(error.to_string()))?;
    let proof = prove_inclusion(head.size, id, &hashes[..hashes.len() - 1])
        .map_err(|error| damaged(error.to_string()))?;
    verify_inclusion(&proof, head.size, &head.root, id, leaf).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(proof))
}
