//! go.sum lines: each module version follows its route, then every line is compared with what the
//! log says.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::event::{
    ClaimConflict, ClaimedModule, Events, GoSumClaim, Gone, ImportEvent, ImportedModule, MalformedLine,
    ModuleFate, stopping,
};
use crate::gosum::{GoSumLine, LineKind, ModuleLines};
use crate::log::{IncidentReport, Log};
use crate::notary::{Notarized, Notary, NotaryError};
use crate::operate::lookup::bring_in;
use crate::operate::operations::Operations;
use crate::operate::refusal::{Reason, Refusal};
use crate::store::{IncidentKind, StoredRecord};

/// Module versions of one import that are asked for at once. The notary's own limits say how many
/// of them are worked on; more than this would only wait there.
const MAX_AT_ONCE: usize = 256;

impl Operations {
    /// Imports go.sum lines by their routes, for an importer whose name was
    /// [checked](super::check_importer). An error in `claims` is why the next line cannot be read.
    pub(crate) async fn import_go_sum(
        self,
        importer: Arc<str>,
        claims: mpsc::Receiver<Result<ClaimedModule, String>>,
        events: mpsc::Sender<ImportEvent>,
    ) {
        let events = Events(events);
        let ended = match self.own() {
            Ok((log, notary)) => {
                let import = Import { log: log.clone(), notary: notary.clone(), importer };
                self.follow(Arc::new(import), claims, &events).await
            }
            Err(refusal) => Ok(ImportEvent::Stopped(refusal)),
        };
        if let Ok(last) = ended {
            let _ = events.tell(last).await;
        }
    }

    /// Returns how it ended.
    async fn follow(
        &self,
        import: Arc<Import>,
        mut claims: mpsc::Receiver<Result<ClaimedModule, String>>,
        events: &Events,
    ) -> Result<ImportEvent, Gone> {
        let (mut at_once, mut line, mut ended) = (JoinSet::new(), 0, false);
        while !(ended && at_once.is_empty()) {
            let next = tokio::select! {
                () = self.stopped() => return Ok(stopping()),
                Some(done) = at_once.join_next() => {
                    let done: ImportedModule = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                    events.tell(ImportEvent::Module(done)).await?;
                    continue;
                }
                next = claims.recv(), if !ended && at_once.len() < MAX_AT_ONCE => next,
            };
            line += 1;
            match next {
                Some(Ok(claimed)) => {
                    let import = import.clone();
                    at_once.spawn(async move { import.one(claimed).await });
                }
                Some(Err(why)) => return Ok(ImportEvent::Malformed(MalformedLine { line, why })),
                None => ended = true,
            }
        }
        Ok(ImportEvent::Done)
    }
}

/// An import, for the tasks of its module versions.
struct Import {
    log: Log,
    notary: Notary,
    importer: Arc<str>,
}

impl Import {
    async fn one(&self, ClaimedModule { module, claims }: ClaimedModule) -> ImportedModule {
        match bring_in(&self.log, &self.notary, &module).await {
            Ok((Notarized { record, .. }, is_new)) => {
                let conflicts = conflicts(claims, &record.lines);
                let outcome = match (conflicts.is_empty(), is_new) {
                    (false, _) => ModuleFate::Conflict,
                    (true, true) => ModuleFate::New,
                    (true, false) => ModuleFate::Present,
                };
                let refusal = self.report(&record, &conflicts).await.err();
                ImportedModule { module, outcome, record: Some(record.id.0), conflicts, refusal }
            }
            Err(error) => {
                let refusal = Refusal::from(&error);
                let outcome = match (&error, refusal.reason) {
                    (NotaryError::Conflict(_), _) => ModuleFate::Conflict,
                    (_, Reason::NotFound) => ModuleFate::NotFound,
                    _ => ModuleFate::Failed,
                };
                ImportedModule {
                    module,
                    outcome,
                    record: None,
                    conflicts: Vec::new(),
                    refusal: Some(refusal),
                }
            }
        }
    }

    /// Keeps every wrong line as an incident.
    async fn report(&self, record: &StoredRecord, conflicts: &[ClaimConflict]) -> Result<(), Refusal> {
        if conflicts.is_empty() {
            return Ok(());
        }
        let reports = conflicts.iter().map(|conflict| self.incident(record, conflict)).collect();
        self.log.report(reports).await.map_err(|error| Refusal::from(&error))
    }

    fn incident(&self, record: &StoredRecord, ClaimConflict { claim, .. }: &ClaimConflict) -> IncidentReport {
        let (module, importer) = (&record.lines.module, &*self.importer);
        let offered = GoSumLine { module: module.clone(), kind: claim.kind, hash: claim.hash };
        let detail = json!({
            "module": module.path.as_str(),
            "version": module.version.as_str(),
            "record": record.id.0,
            "standing": record.lines.to_text(),
            "offered": format!("{offered}\n"),
            "importer": importer,
            "file": claim.file,
            "line": claim.line,
        });
        tracing::error!(
            module.path = %module.path, module.version = %module.version, record.id = record.id.0,
            importer, file = claim.file, line = claim.line, "an imported line disagrees with the log"
        );
        IncidentReport { kind: IncidentKind::HashConflict, detail: detail.to_string() }
    }
}

/// The claims that are not what the record says.
fn conflicts(claims: Vec<GoSumClaim>, lines: &ModuleLines) -> Vec<ClaimConflict> {
    let conflict = |claim: GoSumClaim| {
        let standing = match claim.kind {
            LineKind::Zip => lines.zip,
            LineKind::GoMod => lines.go_mod,
        };
        (claim.hash != standing).then_some(ClaimConflict { claim, standing })
    };
    claims.into_iter().filter_map(conflict).collect()
}
