//! Findings about mirrors that the own log keeps as incidents, whether or not it is open in this
//! process.

use serde_json::json;
use tokio::task::spawn_blocking;

use super::operations::Operations;
use crate::log::{FsckFinding, IncidentReport};
use crate::store::IncidentKind;

impl Operations {
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
        let kept = match (self.log(), self.incident_store()) {
            (Some(own), _) => own.report(reports).await.map_err(|error| error.to_string()),
            (None, Some(store)) => {
                let store = store.clone();
                let kept = spawn_blocking(move || store.keep(reports)).await;
                let kept = kept.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                kept.map_err(|error| error.to_string())
            }
            (None, None) => Ok(()),
        };
        if let Err(error) = kept {
            tracing::error!(log, error, "{what} could not be kept as an incident");
        }
    }
}
