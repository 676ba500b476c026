//! Incidents of a log that nobody has open: kept beside its records, without a signature or a new
//! epoch.

use jiff::Timestamp;

use super::IncidentReport;
use crate::store::{Batch, Complete, Incident, LogStore, StoreError};

/// Keeps incidents in the store of a log that has no writer. What is known already, by its kind and
/// detail, is not kept twice. The caller holds the lock of the log's directory.
pub fn keep_incidents(
    store: &mut dyn LogStore,
    reports: Vec<IncidentReport>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (newest, epoch) = (store.newest()?.map(|head| head.tree), store.epoch()?);
    let incident = |IncidentReport { kind, detail }: IncidentReport| Incident { kind, at, detail };
    let incidents = reports.into_iter().map(incident).collect();
    let batch = Batch { records: Vec::new(), complete: Complete::default(), head: None, incidents, at };
    store.begin(newest.as_ref(), epoch)?.commit(&batch)
}
