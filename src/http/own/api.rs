//! The own log for programs: what `/api/v1` tells of it.

use std::num::NonZeroU32;

use jiff::Timestamp;

use super::OwnLog;
use crate::http::api::proofs::{Leaf, NoProof, Proof, Wanted};
use crate::http::api::{HeadInfo, KeyInfo, LogApi, LogInfo, RecordInfo};
use crate::http::{Client, ReadError};
use crate::log::{HASH_SEARCH_RECORDS, ProverError, Snapshot, evidence_of};
use crate::module::ModuleVersion;
use crate::share::Exhausted;
use crate::store::{StoredHead, StoredRecord};
use crate::tlog::{ProofError, RecordId, TreeSize};

impl OwnLog {
    fn record_info(&self, snapshot: &Snapshot, record: StoredRecord) -> Result<RecordInfo, ReadError> {
        let kept = evidence_of(snapshot, record.id).map_err(|error| self.failed(error))?;
        let evidence = serde_json::to_value(&kept.evidence).expect("evidence has only string keys");
        let lines = record.lines.to_text().lines().map(str::to_owned).collect();
        Ok(RecordInfo { id: record.id, lines, appended_at: kept.appended_at, evidence })
    }

    /// Which record somebody means.
    fn number_of(&self, snapshot: &Snapshot, leaf: &Leaf, size: TreeSize) -> Result<RecordId, NoProof> {
        match leaf {
            Leaf::Record(id) if id.0 >= snapshot.size().0 => {
                let newest = snapshot.size().records();
                let why = format!("the log has {newest}, numbered from 0: there is no record {id} yet");
                Err(NoProof::NotFound(why))
            }
            Leaf::Record(id) => Ok(*id),
            Leaf::Module(module) => {
                let found = snapshot.find(module).map_err(|error| self.failed(error))?;
                let why = || {
                    NoProof::NotFound(format!(
                        "the log has no record of {module}; a look-up through /lookup/ may add it"
                    ))
                };
                Ok(found.ok_or_else(why)?.id)
            }
            Leaf::Hash(hash) => {
                let found =
                    self.log.prover().find(snapshot, hash, size).map_err(|error| self.unproved(error))?;
                let why = || {
                    NoProof::NotFound(format!(
                        "no record with this hash is among the last {HASH_SEARCH_RECORDS} of the tree of size {size}; \
                         there is no index by hash: ask for module=PATH@VERSION, which is in the record's text, or record=ID, or \
                         name by size a tree that ends soon after it"
                    ))
                };
                found.ok_or_else(why)
            }
        }
    }

    fn unproved(&self, error: ProverError) -> NoProof {
        match error {
            ProverError::NoSuchTree { .. } => NoProof::NotFound(error.to_string()),
            ProverError::Impossible(ProofError::OldSizeOutsideTree { old: TreeSize(0), .. }) => {
                NoProof::Impossible(
                    "every tree begins with the empty one, so there is no proof from size 0".to_owned(),
                )
            }
            ProverError::Impossible(ProofError::OldSizeOutsideTree { old, size }) => NoProof::Impossible(
                format!("from must not be larger than to: no proof leads from {old} to {size}"),
            ),
            ProverError::Impossible(error) => NoProof::Impossible(error.to_string()),
            ProverError::Store(error) => NoProof::Read(self.failed(error)),
        }
    }
}

fn head_info(head: &StoredHead) -> HeadInfo {
    HeadInfo {
        size: head.tree.size,
        root: head.tree.root,
        note: head.note.clone(),
        signed_at: head.signed_at,
    }
}

impl LogApi for OwnLog {
    fn log(&self) -> Result<LogInfo, ReadError> {
        let identity = self.log.identity();
        let key = KeyInfo { verifier: self.log.verifier(), since: identity.created_at, until: None };
        Ok(LogInfo {
            name: identity.name.clone(),
            origin: identity.name.clone(),
            keys: vec![key],
            head: head_info(self.log.snapshot().head()),
        })
    }

    fn record(&self, id: RecordId) -> Result<Option<RecordInfo>, ReadError> {
        let snapshot = self.log.snapshot();
        let record = snapshot.record(id).map_err(|error| self.failed(error))?;
        record.map(|record| self.record_info(&snapshot, record)).transpose()
    }

    fn module(&self, module: &ModuleVersion) -> Result<Option<RecordInfo>, ReadError> {
        let snapshot = self.log.snapshot();
        let record = snapshot.find(module).map_err(|error| self.failed(error))?;
        record.map(|record| self.record_info(&snapshot, record)).transpose()
    }

    fn heads(&self, before: Option<TreeSize>, limit: usize) -> Result<Vec<HeadInfo>, ReadError> {
        let snapshot = self.log.snapshot();
        let before = before.unwrap_or(TreeSize(u64::MAX));
        let heads = snapshot.heads(before, limit).map_err(|error| self.failed(error))?;
        Ok(heads.iter().map(head_info).collect())
    }

    fn head(&self, size: TreeSize) -> Result<Option<HeadInfo>, ReadError> {
        let head = self.log.snapshot().head_at(size).map_err(|error| self.failed(error))?;
        Ok(head.as_ref().map(head_info))
    }

    fn head_at(&self, time: Timestamp) -> Result<Option<HeadInfo>, ReadError> {
        let head = self.log.snapshot().head_at_time(time).map_err(|error| self.failed(error))?;
        Ok(head.as_ref().map(head_info))
    }

    fn admit(&self, client: Client, proofs: NonZeroU32) -> Result<(), Exhausted> {
        self.proofs.admit_many(client.claimant(), proofs)
    }

    fn prove(&self, wanted: &Wanted) -> Result<Proof, NoProof> {
        let snapshot = self.log.snapshot();
        match wanted {
            Wanted::Inclusion { leaf, size } => {
                let size = size.unwrap_or(snapshot.size());
                let record = self.number_of(&snapshot, leaf, size)?;
                let made = self.log.prover().inclusion(&snapshot, record, size);
                made.map(Proof::Inclusion).map_err(|error| self.unproved(error))
            }
            Wanted::Consistency { from, to } => {
                let made = self.log.prover().consistency(&snapshot, *from, to.unwrap_or(snapshot.size()));
                made.map(Proof::Consistency).map_err(|error| self.unproved(error))
            }
        }
    }
}
