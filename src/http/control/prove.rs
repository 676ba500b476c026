//! Proofs for `tallystick prove`: the own log's, and that of the log from which the lines were taken.

use axum::extract::{Request, State};
use axum::response::Response;

use super::{Control, ProofFile, ProveAnswer, Reason, Refusal, malformed, module_of, result};
use crate::http::tlog_proof::{Proof, ProofError, Proofs};
use crate::log::ProofFileError;

pub(super) async fn prove(State(control): State<Control>, request: Request) -> Response {
    let module = match module_of(request).await {
        Ok(module) => module,
        Err(why) => return malformed(why),
    };
    let proofs = Proofs::new(control.log().clone(), control.mirrors().clone());
    let answer = || {
        let own = proofs.own(&module)?;
        let mut files = vec![ProofFile::from(own)];
        let mut missing = None;
        if let Some(source) = proofs.source(&module)? {
            match proofs.taken_from(&module, &source) {
                Ok(proof) => files.push(proof.into()),
                // The own log's proof stands without it.
                Err(error) => missing = Some(error.to_string()),
            }
        }
        Ok(ProveAnswer { module: module.clone(), files, missing })
    };
    result(answer().map_err(|error: ProofError| refusal(&error)))
}

impl From<Proof> for ProofFile {
    fn from(Proof { log, record, size, file }: Proof) -> ProofFile {
        ProofFile { log, record: record.0, size: size.0, file }
    }
}

fn refusal(error: &ProofError) -> Refusal {
    let reason = match error {
        ProofError::NoRecord { .. } | ProofError::OtherSource { .. } | ProofError::NotKept { .. } => {
            Reason::NotFound
        }
        ProofError::Log(ProofFileError::Store(error)) => return Refusal::from(error),
        ProofError::Log(ProofFileError::NoCheckpoint) | ProofError::Mirror { .. } => Reason::Failed,
    };
    Refusal { reason, why: error.to_string() }
}
