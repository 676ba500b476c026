//! `GET /api/v1/tlog-proof/{escaped path}@{escaped version}`: the proof of a record as a file, to be verified offline.
//!
//! ```text
//! GET /api/v1/tlog-proof/rsc.io/quote@v1.5.2                       the record in this log
//! GET /api/v1/tlog-proof/rsc.io/quote@v1.5.2?log=sum.golang.org    the record there from which this one's lines were taken
//! ```
//!
//! The answer is a `c2sp.org/tlog-proof@v1` file, `text/plain`, with the record's text as its extra data ([`crate::proof`]). It
//! stays true for ever; a newer one is under a newer head.
//! [`ProofMaker`] makes them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::get;

use super::answer::problem::ProblemDetails;
use super::answer::{self, Answer};
use super::sumdb::percent_decode;
use crate::log::ProofFileError;
use crate::module::ModuleVersion;
use crate::operate::{ModuleProofError, ProofMaker};

/// A log that signs nothing waits for a person.
const READ_ONLY_RETRY: Duration = Duration::from_secs(60);

/// The router of the path, to be merged with that of the API.
pub(crate) fn router(proofs: ProofMaker) -> Router {
    Router::new()
        .route("/api/v1/tlog-proof/{*module}", get(tlog_proof))
        .method_not_allowed_fallback(async || {
            ProblemDetails::method_not_allowed("only GET and HEAD are answered here").answer()
        })
        .with_state(Arc::new(proofs))
}

async fn tlog_proof(State(proofs): State<Arc<ProofMaker>>, uri: Uri, headers: HeaderMap) -> Answer {
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

fn refused(error: &ModuleProofError) -> ProblemDetails {
    match error {
        ModuleProofError::NoRecord { .. }
        | ModuleProofError::OtherSource { .. }
        | ModuleProofError::NotKept { .. } => ProblemDetails::not_found(error.to_string()),
        ModuleProofError::Log(ProofFileError::NoCheckpoint) => {
            let text =
                "the log signs nothing at the moment, so that there is no checkpoint to prove anything under";
            ProblemDetails::unavailable(text, Some(READ_ONLY_RETRY))
        }
        ModuleProofError::Log(ProofFileError::Store(_)) | ModuleProofError::Mirror { .. } => {
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
