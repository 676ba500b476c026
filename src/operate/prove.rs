//! Proofs of module versions as files: the own log's, and that of the log from which the lines were
//! taken.
//!
//! The proof in the other log is made from what the notary kept when it took the lines from there,
//! and asks nobody. Its checkpoint is the other log's own head, under which the record was proved
//! then.

use serde::{Deserialize, Serialize};

use super::operations::Operations;
use super::refusal::{Reason, Refusal};
use super::text;
use crate::log::{Log, ProofFileError, evidence_of};
use crate::mirror::{Mirrors, RemoteError};
use crate::module::ModuleVersion;
use crate::store::{Evidence, StoreError};
use crate::tlog::{TlogProof, TreeSize};

/// The proofs of a module version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ModuleProofs {
    /// `path@version`.
    #[serde(with = "text")]
    pub(crate) module: ModuleVersion,
    /// The own log's first, then that of the log from which the lines were taken.
    pub(crate) files: Vec<ProofFile>,
    /// Why there is none of the log from which the lines were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<String>,
}

/// A proof of a module version in one of the logs, as a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProofFile {
    /// The log's name.
    pub(crate) log: String,
    /// The record's number there.
    pub(crate) record: u64,
    /// The size of the tree under which it is proved.
    pub(crate) size: u64,
    /// What belongs into the file.
    pub(crate) file: String,
}

/// Makes proofs from the own log, and from what is kept of the logs that its lines came from.
#[derive(Clone)]
pub(crate) struct ProofMaker {
    log: Log,
    mirrors: Mirrors,
}

/// Why there is no proof of a module version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleProofError {
    /// The log does not have the module version. A look-up may bring it in.
    #[error("the log has no record of {module}: a look-up brings it in, if it may enter")]
    NoRecord {
        /// The module version that was asked for.
        module: ModuleVersion,
    },
    /// The record's lines were not taken from that log.
    #[error("the lines of {module} were not taken from {log}")]
    OtherSource {
        /// The module version that was asked for.
        module: ModuleVersion,
        /// The log that was asked for.
        log: String,
    },
    /// The evidence names a log of which nothing, or not enough, is kept here any more.
    #[error(
        "what proved record {record} of {log} is not kept here: its database was removed, or it is no log of the configuration any \
         more"
    )]
    NotKept {
        /// The other log.
        log: String,
        /// The record there.
        record: u64,
    },
    /// What is kept of the other log cannot be read, or does not verify.
    #[error("what is kept of {log}: {source}")]
    Mirror {
        /// The other log.
        log: String,
        /// What it says.
        source: RemoteError,
    },
    /// The own log.
    #[error(transparent)]
    Log(#[from] ProofFileError),
}

impl ProofMaker {
    /// Makes proofs from an open log and its mirrors.
    pub(crate) fn new(log: Log, mirrors: Mirrors) -> ProofMaker {
        ProofMaker { log, mirrors }
    }

    /// Makes the proof of a module version in the own log.
    pub(crate) fn own(&self, module: &ModuleVersion) -> Result<ProofFile, ModuleProofError> {
        let proof = self.log.tlog_proof(module).map_err(|error| self.failed(error))?;
        let proof = proof.ok_or_else(|| ModuleProofError::NoRecord { module: module.clone() })?;
        let log = self.log.identity().name.clone();
        Ok(ProofFile { log, record: proof.record.0, size: proof.size.0, file: proof.file })
    }

    /// Returns the log from which the lines of a module version were taken, if they were.
    fn source(&self, module: &ModuleVersion) -> Result<Option<String>, ModuleProofError> {
        Ok(match self.evidence(module)? {
            Evidence::Sumdb { log, .. } => Some(log),
            Evidence::Computed { .. } | Evidence::Imported { .. } => None,
        })
    }

    /// Makes the proof of a module version in the log from which its lines were taken.
    pub(crate) fn taken_from(
        &self,
        module: &ModuleVersion,
        name: &str,
    ) -> Result<ProofFile, ModuleProofError> {
        let (record, head_size) = match self.evidence(module)? {
            Evidence::Sumdb { log, record, head_size, .. } if log == name => (record, TreeSize(head_size)),
            _ => return Err(ModuleProofError::OtherSource { module: module.clone(), log: name.to_owned() }),
        };
        let not_kept = || ModuleProofError::NotKept { log: name.to_owned(), record };
        let failed = |source: RemoteError| ModuleProofError::Mirror { log: name.to_owned(), source };
        let remote = &self.mirrors.find(name).ok_or_else(not_kept)?.log;
        let kept = remote.stored_record(module).map_err(failed)?.filter(|kept| kept.id.0 == record);
        let kept = kept.ok_or_else(not_kept)?;
        // The head that the evidence names; or another, where a database was made anew since.
        let named = remote.head(head_size).map_err(failed)?;
        let proved = match named {
            Some(head) => remote.prove(kept.id, head.tree.size).map_err(failed)?.map(|proof| (head, proof)),
            None => None,
        };
        let (head, proof) = match proved {
            Some(proved) => proved,
            None => {
                let head = remote.head_for(kept.id).ok_or_else(not_kept)?;
                let proof = remote.prove(kept.id, head.tree.size).map_err(failed)?.ok_or_else(not_kept)?;
                ((*head).clone(), proof)
            }
        };
        let extra = Some(kept.text.into_bytes());
        let file = TlogProof { extra, index: kept.id, proof, checkpoint: head.note }.format();
        Ok(ProofFile { log: name.to_owned(), record, size: head.tree.size.0, file })
    }

    fn evidence(&self, module: &ModuleVersion) -> Result<Evidence, ModuleProofError> {
        let snapshot = self.log.snapshot();
        let store = |error: StoreError| self.failed(error.into());
        let record = snapshot.find(module).map_err(store)?;
        let record = record.ok_or_else(|| ModuleProofError::NoRecord { module: module.clone() })?;
        Ok(evidence_of(&snapshot, record.id).map_err(store)?.evidence)
    }

    /// A damaged row ends signing, whoever finds it.
    fn failed(&self, error: ProofFileError) -> ModuleProofError {
        if let ProofFileError::Store(damaged @ StoreError::Damaged { .. }) = &error {
            self.log.stop_signing(damaged);
        }
        ModuleProofError::Log(error)
    }
}

impl Operations {
    /// Proves a module version in the own log and, where its lines were taken from another, there.
    pub(crate) fn prove(&self, module: ModuleVersion) -> Result<ModuleProofs, Refusal> {
        let maker = ProofMaker::new(self.own()?.0.clone(), self.mirrors().clone());
        let prove = || {
            let mut files = vec![maker.own(&module)?];
            let mut missing = None;
            if let Some(source) = maker.source(&module)? {
                match maker.taken_from(&module, &source) {
                    Ok(proof) => files.push(proof),
                    // The own log's proof stands without it.
                    Err(error) => missing = Some(error.to_string()),
                }
            }
            Ok((files, missing))
        };
        let (files, missing) = prove().map_err(|error| refusal(&error))?;
        Ok(ModuleProofs { module, files, missing })
    }
}

fn refusal(error: &ModuleProofError) -> Refusal {
    let reason = match error {
        ModuleProofError::NoRecord { .. }
        | ModuleProofError::OtherSource { .. }
        | ModuleProofError::NotKept { .. } => Reason::NotFound,
        ModuleProofError::Log(ProofFileError::Store(error)) => return Refusal::from(error),
        ModuleProofError::Log(ProofFileError::NoCheckpoint) | ModuleProofError::Mirror { .. } => {
            Reason::Failed
        }
    };
    Refusal::new(reason, error.to_string())
}
