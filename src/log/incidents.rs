//! Incidents, what a person has decided about them, and those of a log that nobody has open.
//!
//! An incident is a row that never changes, and so is a decision: an incident of the kind
//! `decision`, whose detail names the other one.
//!
//! ```text
//! 3  hash-conflict  {"module":"corp.example/a","version":"v1.0.0","importer":"build-7",…}
//! 4  decision       {"by":"build-7","decision":"withdrawn","incident":3,"of":"<digest of 3>","reason":"a typing error"}
//! 5  hash-conflict  {"again":{"of":"<digest of 3>","times":1},"module":"corp.example/a",…}
//! ```
//!
//! What is seen again after its decision is a new incident (5), so nobody can decide about what
//! comes later.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::stops::Stop;
use super::{IncidentReport, Log};
use crate::store::evidence::{KeptIncident, digest_of};
use crate::store::{Batch, Complete, Incident, IncidentKind, LogReader, LogStore, StoreError};

/// What a person has decided about an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DecisionKind {
    /// Whoever imported the line takes it back.
    Withdrawn,
    /// It was looked at and is dealt with.
    Closed,
}

impl DecisionKind {
    /// The word for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DecisionKind::Withdrawn => "withdrawn",
            DecisionKind::Closed => "closed",
        }
    }
}

/// A decision, as its row keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// Who decided.
    pub(crate) by: String,
    /// What was decided.
    pub(crate) decision: DecisionKind,
    /// The number of the incident.
    pub(crate) incident: u64,
    /// The digest of what was seen first, hexadecimal.
    pub(crate) of: String,
    /// Why, in the person's words.
    pub(crate) reason: String,
}

impl Decision {
    /// The row of a decision.
    pub(crate) fn report(&self) -> IncidentReport {
        let detail = serde_json::to_string(self).expect("a decision has string keys only");
        IncidentReport { kind: IncidentKind::Decision, detail }
    }

    fn parse(incident: &KeptIncident) -> Option<Decision> {
        let is_decision = incident.kind == IncidentKind::Decision.as_str();
        is_decision.then(|| serde_json::from_str(&incident.detail).ok())?
    }
}

/// Where an incident stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IncidentStanding {
    /// A person must look.
    Open,
    /// A person must decide about the stop of this number.
    Stopped(u64),
    /// The stop of this number has ended.
    Resolved(u64, Timestamp),
    /// A person has decided, at this time.
    Decided(Decision, Timestamp),
}

impl IncidentStanding {
    /// Whether somebody must still look.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, IncidentStanding::Open | IncidentStanding::Stopped(_))
    }
}

/// An incident, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct JudgedIncident {
    /// The incident.
    pub(crate) incident: KeptIncident,
    /// Where it stands.
    pub(crate) standing: IncidentStanding,
}

impl JudgedIncident {
    /// The log that it is about: the own log, which is called `own`, or one that is mirrored.
    pub(crate) fn log(&self, own: &str) -> String {
        let detail: Map<String, Value> = serde_json::from_str(&self.incident.detail).unwrap_or_default();
        detail.get("log").and_then(Value::as_str).unwrap_or(own).to_owned()
    }
}

/// Joins incidents, the newest first, with the decisions among them and with the stops. A decision
/// whose incident is not among them stays in the list.
pub(crate) fn judge_incidents(incidents: Vec<KeptIncident>, stops: &[Stop]) -> Vec<JudgedIncident> {
    let known: Vec<u64> = incidents.iter().map(|incident| incident.id).collect();
    let mut decisions: HashMap<u64, (Decision, Timestamp)> = HashMap::new();
    let mut rows = Vec::new();
    for incident in incidents {
        match Decision::parse(&incident).filter(|decision| known.contains(&decision.incident)) {
            Some(decision) => drop(decisions.insert(decision.incident, (decision, incident.at))),
            None => rows.push(incident),
        }
    }
    let judge = |incident: KeptIncident| {
        let digest = hex(&incident.digest());
        let stop = stops.iter().find(|stop| stop.incident == digest);
        let standing = match (decisions.remove(&incident.id), stop, Decision::parse(&incident)) {
            (Some((decision, at)), ..) => IncidentStanding::Decided(decision, at),
            (None, Some(Stop { number, ended: None, .. }), _) => IncidentStanding::Stopped(*number),
            (None, Some(Stop { number, ended: Some(at), .. }), _) => IncidentStanding::Resolved(*number, *at),
            (None, None, Some(decision)) => IncidentStanding::Decided(decision, incident.at),
            (None, None, None) => IncidentStanding::Open,
        };
        JudgedIncident { incident, standing }
    };
    rows.into_iter().map(judge).collect()
}

/// The digest of what was seen first, hexadecimal: a decision is about that.
pub(crate) fn first_digest(incident: &KeptIncident) -> String {
    let detail: Map<String, Value> = serde_json::from_str(&incident.detail).unwrap_or_default();
    let first = detail.get("again").and_then(|again| again.get("of")).and_then(Value::as_str);
    first.map_or_else(|| hex(&incident.digest()), str::to_owned)
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How often a person has decided about what was seen, by its digest. Read when the first incident
/// of a process is kept.
#[derive(Debug, Default)]
pub(super) struct Decisions(Option<HashMap<String, u64>>);

impl Decisions {
    /// Makes new incidents of those about which a person has decided before.
    pub(super) fn reopen(&mut self, incidents: &mut [Incident], reader: &dyn LogReader) {
        if incidents.is_empty() {
            return;
        }
        let decided = self.0.get_or_insert_with(|| {
            let rows = reader.incidents(usize::MAX).unwrap_or_else(|error| {
                tracing::error!(%error, "the decisions about incidents cannot be read: none is taken into account");
                Vec::new()
            });
            let mut decided = HashMap::new();
            for decision in rows.iter().filter_map(Decision::parse) {
                *decided.entry(decision.of).or_default() += 1;
            }
            decided
        });
        for incident in incidents.iter_mut().filter(|incident| incident.kind != IncidentKind::Decision) {
            let of = hex(&digest_of(incident.kind.as_str(), &incident.detail));
            let Some(times) = decided.get(&of) else { continue };
            let mut detail: Map<String, Value> = serde_json::from_str(&incident.detail).unwrap_or_default();
            detail.insert("again".to_owned(), json!({ "of": of, "times": times }));
            incident.detail = Value::Object(detail).to_string();
        }
        // It counts from the next time on, if it is committed: then it is read again.
        if incidents.iter().any(|incident| incident.kind == IncidentKind::Decision) {
            self.0 = None;
        }
    }
}

/// Open incidents by log and kind. Those of the own log, which is called `own`, are there when
/// there is none.
pub(crate) fn count_open(incidents: &[JudgedIncident], own: &str) -> BTreeMap<(String, String), u64> {
    let kinds = [IncidentKind::HashConflict, IncidentKind::Misbehavior, IncidentKind::Damage];
    let zero = |kind: IncidentKind| ((own.to_owned(), kind.as_str().to_owned()), 0);
    let mut counts: BTreeMap<_, u64> = kinds.map(zero).into_iter().collect();
    for one in incidents.iter().filter(|one| one.standing.is_open()) {
        *counts.entry((one.log(own), one.incident.kind.clone())).or_default() += 1;
    }
    counts
}

impl Log {
    /// Up to `limit` incidents, newest first.
    pub(crate) fn incidents(&self, limit: usize) -> Result<Vec<KeptIncident>, StoreError> {
        self.shared.snapshot().reader.incidents(limit)
    }

    /// The stops of this log, open or not.
    pub(crate) fn stops(&self) -> Vec<Stop> {
        self.shared.stops.all()
    }
}

/// Keeps incidents in the store of a log that has no writer. What is known already, by its kind and
/// detail, is not kept twice. The caller holds the lock of the log's directory.
pub fn keep_incidents(
    store: &mut dyn LogStore,
    reports: Vec<IncidentReport>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (newest, epoch) = (store.newest()?.map(|head| head.tree), store.epoch()?);
    let incident = |IncidentReport { kind, detail }: IncidentReport| Incident { kind, at, detail };
    let mut incidents: Vec<Incident> = reports.into_iter().map(incident).collect();
    Decisions::default().reopen(&mut incidents, &*store.reader());
    let batch = Batch { records: Vec::new(), complete: Complete::default(), head: None, incidents, at };
    store.begin(newest.as_ref(), epoch)?.commit(&batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: u64, kind: IncidentKind, detail: &str) -> KeptIncident {
        let at = "2026-12-01T09:00:00Z".parse().unwrap();
        KeptIncident { id, at, kind: kind.as_str().to_owned(), detail: detail.to_owned() }
    }

    fn decision(id: u64, incident: &KeptIncident) -> KeptIncident {
        let decision = Decision {
            by: "build-7".to_owned(),
            decision: DecisionKind::Withdrawn,
            incident: incident.id,
            of: first_digest(incident),
            reason: "a typing error".to_owned(),
        };
        kept(id, IncidentKind::Decision, &decision.report().detail)
    }

    #[test]
    fn a_decision_is_shown_with_its_incident_and_both_stay() {
        let conflict = kept(3, IncidentKind::HashConflict, r#"{"module":"a"}"#);
        let damage = kept(2, IncidentKind::Damage, r#"{"log":"sum.golang.org","place":"x"}"#);
        let decided = decision(4, &conflict);
        let judged = judge_incidents(vec![decided.clone(), conflict, damage], &[]);
        let ids: Vec<(u64, bool)> =
            judged.iter().map(|one| (one.incident.id, one.standing.is_open())).collect();
        assert_eq!(ids, [(3, false), (2, true)]);
        let counts: Vec<_> = count_open(&judged, "own").into_iter().collect();
        let key = |log: &str, kind: &str| (log.to_owned(), kind.to_owned());
        assert_eq!(
            counts,
            [
                (key("own", "damage"), 0),
                (key("own", "hash-conflict"), 0),
                (key("own", "misbehaviour"), 0),
                (key("sum.golang.org", "damage"), 1)
            ]
        );
        // Where only the newest rows were read, the decision stands alone.
        let judged = judge_incidents(vec![decided], &[]);
        assert!(judged.len() == 1 && !judged[0].standing.is_open());
    }
}
