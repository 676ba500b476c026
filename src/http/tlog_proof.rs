//! `GET /api/v1/tlog-proof/{escaped path}@{escaped version}`: the proof of a record as a file, to be verified offline.
//!
//! ```text
//! GET /api/v1/tlog-proof/rsc.io/quote@v1.5.2                       the record in this log
//! GET /api/v1/tlog-proof/rsc.io/quote@v1.5.2?log=sum.golang.org    the record there from which this one's lines were taken
//! ```
//!
//! The answer is a `c2sp.org/tlog-proof@v1` file, `text/plain`, with the record's text as its extra data ([`crate::proof`]). It
//! stays true for ever; a newer one is under a newer head.
//!
//! The proof in the other log is made from what the notary kept when it took the lines from there, and asks nobody. Its
//! checkpoint is the other log's own head, under which the record was proved then.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::get;

use super::answer::problem::ProblemDetails;
use super::answer::{self, Answer};
use super::sumdb::percent_decode;
use crate::log::{Log, ProofFileError, evidence_of};
use crate::mirror::{Mirrors, RemoteError};
use crate::module::ModuleVersion;
use crate::store::{Evidence, StoreError};
use crate::tlog::{RecordId, TlogProof, TreeSize};

/// A log that signs nothing waits for a person.
const READ_ONLY_RETRY: Duration = Duration::from_secs(60);

/// Makes proofs from the own log, and from what is kept of the logs that its lines came from.
#[derive(Clone)]
pub struct Proofs {
    log: Log,
    mirrors: Mirrors,
}

/// A proof of a module version, in one of the logs.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The log's name.
    pub log: String,
    /// The record's number there.
    pub record: RecordId,
    /// The size of the tree under which it is proved.
    pub size: TreeSize,
    /// The file.
    pub file: String,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The log does not have the module version. A look-up may bring it in.
    #[error("the log has no record of {module}: a look-up brings it in, if it may enter")]
    NoRecord {
        /// What was asked for.
        module: ModuleVersion,
    },
    /// The record's lines were not taken from that log.
    #[error("the lines of {module} were not taken from {log}")]
    OtherSource {
        /// What was asked for.
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

impl Proofs {
    /// Proofs from an open log and its mirrors.
    pub fn new(log: Log, mirrors: Mirrors) -> Proofs {
        Proofs { log, mirrors }
    }

    /// The proof of a module version in the own log.
    pub fn own(&self, module: &ModuleVersion) -> Result<Proof, ProofError> {
        let proof = self.log.tlog_proof(module).map_err(|error| self.told(error))?;
        let proof = proof.ok_or_else(|| ProofError::NoRecord { module: module.clone() })?;
        let log = self.log.identity().name.clone();
        Ok(Proof { log, record: proof.record, size: proof.size, file: proof.file })
    }

    /// The log from which the lines of a module version were taken, if they were.
    pub fn source(&self, module: &ModuleVersion) -> Result<Option<String>, ProofError> {
        Ok(match self.evidence(module)? {
            Evidence::Sumdb { log, .. } => Some(log),
            Evidence::Computed { .. } | Evidence::Imported { .. } => None,
        })
    }

    /// The proof of a module version in the log from which its lines were taken.
    pub fn taken_from(&self, module: &ModuleVersion, name: &str) -> Result<Proof, ProofError> {
        let (record, head_size) = match self.evidence(module)? {
            Evidence::Sumdb { log, record, head_size, .. } if log == name => (record, TreeSize(head_size)),
            _ => return Err(ProofError::OtherSource { module: module.clone(), log: name.to_owned() }),
        };
        let not_kept = || ProofError::NotKept { log: name.to_owned(), record };
        let failed = |source: RemoteError| ProofError::Mirror { log: name.to_owned(), source };
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
        Ok(Proof { log: name.to_owned(), record: kept.id, size: head.tree.size, file })
    }

    fn evidence(&self, module: &ModuleVersion) -> Result<Evidence, ProofError> {
        let snapshot = self.log.snapshot();
        let store = |error: StoreError| self.told(error.into());
        let record = snapshot.find(module).map_err(store)?;
        let record = record.ok_or_else(|| ProofError::NoRecord { module: module.clone() })?;
        Ok(evidence_of(&snapshot, record.id).map_err(store)?.evidence)
    }

    /// A damaged row ends signing, whoever finds it.
    fn told(&self, error: ProofFileError) -> ProofError {
        if let ProofFileError::Store(damaged @ StoreError::Damaged { .. }) = &error {
            self.log.stop_signing(damaged);
        }
        ProofError::Log(error)
    }
}

/// The router of the path, to be merged with that of the API.
pub fn router(proofs: Proofs) -> Router {
    Router::new()
        .route("/api/v1/tlog-proof/{*module}", get(tlog_proof))
        .method_not_allowed_fallback(async || {
            ProblemDetails::method_not_allowed("only GET and HEAD are answered here").answer()
        })
        .with_state(Arc::new(proofs))
}

async fn tlog_proof(State(proofs): State<Arc<Proofs>>, uri: Uri, headers: HeaderMap) -> Answer {
    let wire = uri.path().strip_prefix("/api/v1/tlog-proof/").unwrap_or_default();
    let Ok(wire) = percent_decode(wire) else {
        return ProblemDetails::bad_request("malformed percent-escape in the URL").answer();
    };
    let module = match ModuleVersion::unescape(&wire) {
        Ok(module) => module,
        Err(error) => return ProblemDetails::bad_request(error.to_string()).answer(),
    };
    let log = match log_of(uri.query().unwrap_or_default()) {
        Ok(log) => log,
        Err(why) => return ProblemDetails::bad_request(why).answer(),
    };
    let proof = match log {
        Some(name) => proofs.taken_from(&module, &name),
        None => proofs.own(&module),
    };
    match proof {
        Ok(proof) => answer::proof_file(&headers, proof.file),
        Err(error) => refused(&error).answer(),
    }
}

/// `log=NAME`, once, or nothing.
fn log_of(query: &str) -> Result<Option<String>, &'static str> {
    let mut log = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name != "log" {
            return Err("unknown parameter: there is log=NAME");
        }
        if log.replace(value.into_owned()).is_some() {
            return Err("log is given twice");
        }
    }
    Ok(log)
}

fn refused(error: &ProofError) -> ProblemDetails {
    match error {
        ProofError::NoRecord { .. } | ProofError::OtherSource { .. } | ProofError::NotKept { .. } => {
            ProblemDetails::not_found(error.to_string())
        }
        ProofError::Log(ProofFileError::NoCheckpoint) => {
            let text =
                "the log signs nothing at the moment, so that there is no checkpoint to prove anything under";
            ProblemDetails::unavailable(text, Some(READ_ONLY_RETRY))
        }
        ProofError::Log(ProofFileError::Store(_)) | ProofError::Mirror { .. } => {
            tracing::error!(%error, "a proof could not be made");
            ProblemDetails::internal(
                "what this proof is made of cannot be read; the server's log has the details",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::log_of;

    #[test]
    fn queries() {
        assert_eq!(log_of(""), Ok(None));
        assert_eq!(log_of("log=sum.golang.org"), Ok(Some("sum.golang.org".to_owned())));
        assert_eq!(log_of("log=corp.example%2Flog"), Ok(Some("corp.example/log".to_owned())));
        assert!(log_of("log=a&log=b").is_err() && log_of("size=1").is_err());
    }
}
