//! Incidents of the own log: findings about mirrors that it keeps, and what a person decides about
//! one, whether or not the log is open in this process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::import::check_importer;
use super::operations::Operations;
use super::refusal::{Reason, Refusal};
use crate::log::{
    Decision, DecisionKind, FsckFinding, IncidentReport, IncidentStanding, State, first_digest,
    judge_incidents,
};
use crate::store::IncidentKind;
use crate::store::evidence::KeptIncident;
use crate::visible;

/// The longest reason: it is kept forever.
const MAX_REASON_BYTES: usize = 1_000;

/// What a person decides about an incident.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DecisionRequest {
    /// The number of the incident.
    pub(crate) incident: u64,
    /// What is decided.
    pub(crate) decision: DecisionKind,
    /// Who decides.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
}

/// That it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DecisionAnswer {
    /// The number of the incident.
    pub(crate) incident: u64,
    /// Its kind.
    pub(crate) kind: String,
}

/// What the process that has the log open does with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LogStateAnswer {
    /// Why it signs nothing, and what to do; null while it signs.
    pub(crate) read_only: Option<String>,
}

/// Checks that a reason can stand forever: some text on one line.
pub(crate) fn check_reason(reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err("the reason is empty".to_owned());
    }
    if reason.len() > MAX_REASON_BYTES {
        return Err(format!("the reason has more than {MAX_REASON_BYTES} bytes"));
    }
    if !reason.chars().all(visible::is_plain) {
        let shown = visible::escape_line(reason);
        return Err(format!("the reason has control or invisible characters: {shown}"));
    }
    Ok(())
}

/// The decision that a request asks for, or why it cannot be made.
fn decision_of(
    request: DecisionRequest,
    incidents: Vec<KeptIncident>,
) -> Result<(Decision, String), Refusal> {
    let DecisionRequest { incident: id, decision, by, reason } = request;
    let wrong = |why: String| Refusal::new(Reason::Usage, why);
    check_importer(&by).and_then(|()| check_reason(&reason)).map_err(wrong)?;
    let judged = judge_incidents(incidents, &[]);
    let Some(found) = judged.into_iter().find(|one| one.incident.id == id) else {
        return Err(wrong(format!(
            "there is no incident {id}\n  fix: `tallystick incidents` shows their numbers"
        )));
    };
    if let IncidentStanding::Decided(before, at) = &found.standing {
        let (done, who) = (before.decision.as_str(), &before.by);
        return Err(wrong(format!(
            "incident {id} is {done} already, by {who} at {at:.0}: {}",
            before.reason
        )));
    }
    let detail: BTreeMap<String, Value> = serde_json::from_str(&found.incident.detail).unwrap_or_default();
    let importer = detail.get("importer").and_then(Value::as_str);
    match (decision, importer) {
        (DecisionKind::Withdrawn, None) => {
            return Err(wrong(format!(
                "incident {id} is no line that somebody imported, so nobody can withdraw it\n  fix: once its cause is dealt \
                 with, `tallystick incidents close {id} --reason TEXT`"
            )));
        }
        (DecisionKind::Withdrawn, Some(importer)) if importer != by => {
            return Err(wrong(format!(
                "the line of incident {id} was imported by {importer}, not by {by}\n  fix: add `--importer '{importer}'` if you \
                 speak for it"
            )));
        }
        (DecisionKind::Withdrawn | DecisionKind::Closed, _) => {}
    }
    let of = first_digest(&found.incident);
    Ok((Decision { by, decision, incident: id, of, reason }, found.incident.kind))
}

impl Operations {
    /// Keeps what a person has decided about an incident of the own log. The incident stays.
    pub(crate) async fn decide_incident(&self, request: DecisionRequest) -> Result<DecisionAnswer, Refusal> {
        let incidents = match (self.log(), self.incident_store()) {
            (Some(own), _) => own.incidents(usize::MAX),
            (None, Some(store)) => store.incidents(),
            (None, None) => Ok(Vec::new()),
        };
        let incidents = incidents.map_err(|error| self.failed(&error))?;
        let stops = self.log().map(|log| log.stops()).unwrap_or_default();
        let incident = request.incident;
        let digest =
            |kept: &KeptIncident| kept.digest().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let target = incidents.iter().find(|kept| kept.id == incident).map(digest);
        if let Some(stop) =
            stops.iter().find(|stop| stop.ended.is_none() && Some(&stop.incident) == target.as_ref())
        {
            let why = format!(
                "incident {incident} is why this log signs nothing (stop {})\n  fix: put the copy of the log back that has the \
                 head; if there is none, stop the server and run `tallystick incidents resolve {}`",
                stop.number, stop.number
            );
            return Err(Refusal::new(Reason::Usage, why));
        }
        let (decision, kind) = decision_of(request, incidents)?;
        let kept = self.keep(vec![decision.report()]).await;
        kept.map_err(|why| Refusal::new(Reason::Failed, format!("the decision could not be kept: {why}")))?;
        Ok(DecisionAnswer { incident, kind })
    }

    /// Says whether the own log signs here.
    pub(crate) fn log_state(&self) -> Result<LogStateAnswer, Refusal> {
        Ok(match &*self.own()?.0.state() {
            State::Writing => LogStateAnswer { read_only: None },
            State::ReadOnly(reason) => LogStateAnswer { read_only: Some(reason.to_string()) },
        })
    }

    /// Keeps incidents, in the log that is open or in its store.
    async fn keep(&self, reports: Vec<IncidentReport>) -> Result<(), String> {
        match (self.log(), self.incident_store()) {
            (Some(own), _) => own.report(reports).await.map_err(|error| error.to_string()),
            (None, Some(store)) => {
                let store = store.clone();
                let kept = spawn_blocking(move || store.keep(reports)).await;
                let kept = kept.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                kept.map_err(|error| error.to_string())
            }
            (None, None) => Ok(()),
        }
    }

    /// Keeps damage of a mirror as incidents of the own log.
    pub(super) async fn report_damage(&self, log: &str, findings: &[FsckFinding]) {
        let report = |found: &FsckFinding| {
            let detail = json!({ "log": log, "place": found.place, "why": found.why });
            IncidentReport { kind: IncidentKind::Damage, detail: detail.to_string() }
        };
        self.keep_incidents(log, "damage of a mirror", findings.iter().map(report).collect()).await;
    }

    /// Keeps what is wrong with a mirror, or with the own log beside it, as incidents of the own
    /// log.
    pub(super) async fn keep_incidents(&self, log: &str, what: &str, reports: Vec<IncidentReport>) {
        if reports.is_empty() {
            return;
        }
        let kept = self.keep(reports).await;
        if let Err(error) = kept {
            tracing::error!(log, error, "{what} could not be kept as an incident");
        }
    }
}
