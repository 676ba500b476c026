//! go.sum lines: each module version follows its route, then every line is compared with what the log says.

use std::sync::Arc;

use axum::body::Body;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::stream::Gone;
use super::{
    Claim, ClaimConflict, Control, Event, Events, Lines, Malformation, ModuleClaims, ModuleOutcome, Outcome,
    Reason, Refusal,
};
use crate::gosum::{GoSumLine, LineKind, ModuleLines};
use crate::log::Report;
use crate::notary::{Delay, Notarized, NotaryError};
use crate::store::{IncidentKind, StoredRecord};

/// Module versions of one import that are asked for at once. The notary's own limits say how many of them are worked
/// on; more than this would only wait there.
const MAX_AT_ONCE: usize = 256;
/// Asked so often, the notary has worked on a module version for as long as it ever does.
pub(super) const TRIES: u32 = 6;

/// Waits until it makes sense to ask the notary again, or says that it does not.
pub(super) async fn wait_for_next_try(error: NotaryError) -> Result<(), NotaryError> {
    match &error {
        // The next one waits for the work that goes on.
        NotaryError::TryLater { why: Delay::StillWorking { .. }, .. } => Ok(()),
        NotaryError::TryLater { why: Delay::Crowded, retry_after, .. } => {
            sleep(*retry_after).await;
            Ok(())
        }
        _ => Err(error),
    }
}

/// Reads [`ModuleClaims`] and tells their outcomes as they come.
pub(super) async fn import(control: Control, importer: Arc<str>, body: Body, events: Events) {
    let mut lines = Lines::new(body);
    if let Ok(last) = follow(&control, &importer, &mut lines, &events).await {
        let _ = events.tell(&last).await;
        lines.drain().await;
    }
}

/// Returns how it ended.
async fn follow(
    control: &Control,
    importer: &Arc<str>,
    lines: &mut Lines<Body>,
    events: &Events,
) -> Result<Event, Gone> {
    let (mut at_once, mut number, mut ended) = (JoinSet::new(), 0, false);
    while !(ended && at_once.is_empty()) {
        let line = tokio::select! {
            () = control.stopped() => return Ok(Event::Stopped(stopping())),
            Some(outcome) = at_once.join_next() => {
                let outcome: ModuleOutcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                events.tell(&Event::Module(outcome)).await?;
                continue;
            }
            line = lines.next(), if !ended && at_once.len() < MAX_AT_ONCE => line,
        };
        number += 1;
        let malformed = |why: String| Event::Malformed(Malformation { line: number, why });
        match line {
            Ok(Some(line)) => match serde_json::from_slice(&line) {
                Ok(claims) => {
                    let (control, importer) = (control.clone(), importer.clone());
                    at_once.spawn(async move { one(&control, &importer, claims).await });
                }
                Err(error) => return Ok(malformed(error.to_string())),
            },
            Ok(None) => ended = true,
            Err(error) => return Ok(malformed(error.to_string())),
        }
    }
    Ok(Event::Done)
}

pub(super) fn stopping() -> Refusal {
    Refusal { reason: Reason::Unavailable, why: "the server is being stopped".to_owned() }
}

async fn one(control: &Control, importer: &str, claims: ModuleClaims) -> ModuleOutcome {
    let ModuleClaims { module, claims } = claims;
    match control.notarize(&module).await {
        Ok((Notarized { record, .. }, is_new)) => {
            let conflicts = conflicts(claims, &record.lines);
            let outcome = match (conflicts.is_empty(), is_new) {
                (false, _) => Outcome::Conflict,
                (true, true) => Outcome::New,
                (true, false) => Outcome::Present,
            };
            let refusal = report(control, importer, &record, &conflicts).await.err();
            ModuleOutcome { module, outcome, record: Some(record.id.0), conflicts, refusal }
        }
        Err(error) => {
            let refusal = Refusal::from(&error);
            let outcome = match (&error, refusal.reason) {
                (NotaryError::Conflict(_), _) => Outcome::Conflict,
                (_, Reason::NotFound) => Outcome::NotFound,
                _ => Outcome::Failed,
            };
            ModuleOutcome { module, outcome, record: None, conflicts: Vec::new(), refusal: Some(refusal) }
        }
    }
}

/// The claims that are not what the record says.
fn conflicts(claims: Vec<Claim>, lines: &ModuleLines) -> Vec<ClaimConflict> {
    let conflict = |claim: Claim| {
        let standing = match claim.kind {
            LineKind::Zip => lines.zip,
            LineKind::GoMod => lines.go_mod,
        };
        (claim.hash != standing).then_some(ClaimConflict { claim, standing })
    };
    claims.into_iter().filter_map(conflict).collect()
}

/// Keeps every wrong line as an incident.
async fn report(
    control: &Control,
    importer: &str,
    record: &StoredRecord,
    conflicts: &[ClaimConflict],
) -> Result<(), Refusal> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let report = |ClaimConflict { claim, .. }: &ClaimConflict| {
        let module = &record.lines.module;
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
        Report { kind: IncidentKind::HashConflict, detail: detail.to_string() }
    };
    let reports = conflicts.iter().map(report).collect();
    control.log().report(reports).await.map_err(|error| Refusal::from(&error))
}
