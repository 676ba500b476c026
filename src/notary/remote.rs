//! The mirror of a remote log as [`RemoteLines`], and what stands for one whose database cannot be
//! used.

use std::time::Instant;

use super::lines::{ProveError, ProvenLines, Proving, RemoteLines};
use crate::mirror::{RemoteError, RemoteLog, Unusable};
use crate::module::ModuleVersion;
use crate::share::Claimant;
use crate::upstream::UpstreamMessage;

impl RemoteLines for RemoteLog {
    fn name(&self) -> &str {
        RemoteLog::name(self)
    }

    fn prove<'a>(
        &'a self,
        module: &'a ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Proving<'a> {
        Box::pin(async move {
            let proven = self.lookup_for(module, client, deadline).await.map_err(prove_error)?;
            Ok(ProvenLines { lines: proven.lines, record: proven.record, head: proven.head })
        })
    }
}

impl RemoteLines for Unusable {
    fn name(&self) -> &str {
        &self.name
    }

    fn prove<'a>(&'a self, _: &'a ModuleVersion, _: Option<Claimant>, _: Instant) -> Proving<'a> {
        let why = self.text_for_clients().replace('\n', ". ");
        Box::pin(async { Err(ProveError::Unavailable { why, retry_after: None }) })
    }
}

fn prove_error(error: RemoteError) -> ProveError {
    match error {
        RemoteError::NotFound { text } => ProveError::NotFound { said: said(&text) },
        RemoteError::Forbidden { text } => ProveError::Forbidden { said: said(&text) },
        RemoteError::Unavailable { text, retry_after } => {
            ProveError::Unavailable { why: without_paths(&text), retry_after }
        }
        RemoteError::Unproven(unproven) => ProveError::Unproven { why: without_paths(&unproven.to_string()) },
        RemoteError::Misbehavior(misbehavior) => ProveError::Misbehavior { summary: misbehavior.to_string() },
        RemoteError::Store(error) => ProveError::Local { why: error.to_string() },
    }
}

fn said(text: &str) -> UpstreamMessage {
    UpstreamMessage::clean(without_paths(text).as_bytes())
}

/// Clients read it, and local paths are nobody's business.
fn without_paths(text: &str) -> String {
    let words = text.split(' ').map(|word| if word.starts_with("file://") { "its directory:" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
