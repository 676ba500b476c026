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
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::get;

use super::answer::{self, Answer, Cache, NOT_FOUND_AGE_MAX};
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
            problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
        })
        .with_state(Arc::new(proofs))
}

async fn tlog_proof(State(proofs): State<Arc<ProofMaker>>, uri: Uri, headers: HeaderMap) -> Answer {
    let wire = uri.path().strip_prefix("/api/v1/tlog-proof/").unwrap_or_default();
    let Ok(wire) = percent_decode(wire) else {
        return problem(StatusCode::BAD_REQUEST, "malformed percent-escape in the URL");
    };
    let module = match ModuleVersion::unescape(&wire) {
        Ok(module) => module,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let log = match log_of(uri.query().unwrap_or_default()) {
        Ok(log) => log,
        Err(why) => return problem(StatusCode::BAD_REQUEST, why),
    };
    let proof = match log {
        Some(name) => proofs.taken_from(&module, &name),
        None => proofs.own(&module),
    };
    match proof {
        Ok(proof) => answer::proof_file(&headers, proof.file),
        Err(error) => refused(&error),
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

fn refused(error: &ModuleProofError) -> Answer {
    let not_found =
        || answer::problem(StatusCode::NOT_FOUND, Cache::NotFound(NOT_FOUND_AGE_MAX), &error.to_string());
    match error {
        ModuleProofError::NoRecord { .. }
        | ModuleProofError::OtherSource { .. }
        | ModuleProofError::NotKept { .. } => not_found(),
        ModuleProofError::Log(ProofFileError::NoCheckpoint) => {
            let text =
                "the log signs nothing at the moment, so that there is no checkpoint to prove anything under";
            answer::retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, text), READ_ONLY_RETRY)
        }
        ModuleProofError::Log(ProofFileError::Store(_)) | ModuleProofError::Mirror { .. } => {
            tracing::error!(%error, "a proof could not be made");
            let text = "what this proof is made of cannot be read; the server's log has the details";
            problem(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

fn problem(status: StatusCode, detail: &str) -> Answer {
    answer::problem(status, Cache::NoStore, detail)
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
