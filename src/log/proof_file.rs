//! The newest checkpoint as it is served, and proofs of records under it as files.

use std::sync::Arc;

use super::Log;
use super::checkpoint::CosignedCheckpoint;
use super::prover::ProverError;
use crate::module::ModuleVersion;
use crate::store::StoreError;
use crate::tlog::{Hash, RecordId, TlogProof, TreeSize};

/// A record's proof as a file, and what it is of.
#[derive(Clone, Debug)]
pub struct RecordProof {
    /// The record's number.
    pub record: RecordId,
    /// The size of the tree under which it is proved.
    pub size: TreeSize,
    /// The `.tlog-proof` file, with the record's text in it.
    pub file: String,
}

/// Why a record is not proved.
#[derive(Debug, thiserror::Error)]
pub enum ProofFileError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log signs nothing, so that there is no checkpoint to prove anything under.
    #[error("the log has no signed checkpoint, since it signs nothing: /readyz says why")]
    NoCheckpoint,
}

impl Log {
    /// The newest published checkpoint, with the cosignatures that it has.
    pub fn checkpoint(&self) -> Option<String> {
        let snapshot = self.snapshot();
        let signed = snapshot.checkpoint()?;
        let cosigned =
            self.cosignatures().newest().filter(|cosigned| cosigned.checkpoint.tree == signed.tree);
        Some(cosigned.map_or_else(|| signed.note.clone(), |cosigned| cosigned.note()))
    }

    /// The proof of a module version's record as a file: under the newest cosigned checkpoint that
    /// covers it, or else the newest. `None` when the log has no such record.
    pub fn tlog_proof(&self, module: &ModuleVersion) -> Result<Option<RecordProof>, ProofFileError> {
        let snapshot = self.snapshot();
        let Some(record) = snapshot.find(module)? else { return Ok(None) };
        let covers = |cosigned: &Arc<CosignedCheckpoint>| {
            let size = cosigned.checkpoint.tree.size;
            record.id.0 < size.0 && size <= snapshot.size()
        };
        let (tree, checkpoint) = match self.cosignatures().newest().filter(covers) {
            Some(cosigned) => (cosigned.checkpoint.tree, cosigned.note()),
            None => {
                let signed = snapshot.checkpoint().ok_or(ProofFileError::NoCheckpoint)?;
                (signed.tree, signed.note.clone())
            }
        };
        let size = tree.size;
        let proved = self.prover().inclusion(&snapshot, record.id, size).map_err(|error| match error {
            ProverError::Store(error) => error,
            error => panic!("record {} is below {size}, which the log has: {error}", record.id),
        })?;
        let text = record.lines.to_text().into_bytes();
        // What does not lead from the record to the root that was signed is damage of what is
        // stored, and no answer.
        if proved.leaf != Hash::of_record(&text) || proved.tree != tree {
            let place = format!("the proof of record {} under {tree}", record.id);
            let why = format!("it leads from {} to {}", proved.leaf, proved.tree);
            return Err(StoreError::Damaged { place, why }.into());
        }
        let (extra, proof) = (Some(text), proved.proof);
        let file = TlogProof { extra, index: record.id, proof, checkpoint }.format();
        Ok(Some(RecordProof { record: record.id, size, file }))
    }
}
