//! Open incidents by log and kind, for `/metrics`.
//!
//! ```text
//! tallystick_incidents_open{log="sum.corp.example",kind="hash-conflict"} 1
//! tallystick_incidents_open{log="sum.golang.org",kind="misbehaviour"} 1
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::metrics::{MetricsSource, Sample, SampleValue};
use crate::log::{Log, Stop, count_open, judge_incidents};
use crate::mirror::Mirrors;
use crate::store::{IncidentKind, StoreError};

/// Incidents that are counted, the newest first. Whoever has more has seen the alert.
const COUNTED_MAX: usize = 100_000;

/// The incidents of the own log and of the mirrors.
pub struct IncidentFigures {
    log: Log,
    mirrors: Mirrors,
    /// What was counted last, and what it was counted from. Held while it is counted.
    counted: Mutex<Option<Counted>>,
}

struct Counted {
    newest: Option<u64>,
    stops: Vec<Stop>,
    open: BTreeMap<(String, String), u64>,
}

impl IncidentFigures {
    /// Those of an open log and its mirrors.
    pub fn new(log: Log, mirrors: Mirrors) -> IncidentFigures {
        IncidentFigures { log, mirrors, counted: Mutex::new(None) }
    }

    /// Counts again only when there is something new.
    fn open(&self) -> Result<BTreeMap<(String, String), u64>, StoreError> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.log.incidents(1)?.pop().map(|incident| incident.id);
        let stops = self.log.stops();
        match &*counted {
            Some(before) if before.newest == newest && before.stops == stops => Ok(before.open.clone()),
            _ => {
                let judged = judge_incidents(self.log.incidents(COUNTED_MAX)?, &stops);
                let open = count_open(&judged, &self.log.identity().name);
                *counted = Some(Counted { newest, stops, open: open.clone() });
                Ok(open)
            }
        }
    }
}

impl fmt::Debug for IncidentFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IncidentFigures")
    }
}

impl MetricsSource for IncidentFigures {
    fn samples(&self) -> Vec<Sample> {
        let mut open = match self.open() {
            Ok(open) => open,
            Err(error) => {
                // A missing figure is better than a wrong one.
                tracing::error!(%error, "the incidents cannot be counted");
                return Vec::new();
            }
        };
        // The evidence against a mirrored log lies beside its mirror, and is open while that is stopped.
        for mirror in self.mirrors.iter().filter(|mirror| mirror.log.is_stopped().is_some()) {
            let kind = IncidentKind::Misbehavior.as_str().to_owned();
            *open.entry((mirror.log.name().to_owned(), kind)).or_default() += 1;
        }
        let sample = |((log, kind), count): ((String, String), u64)| {
            let help = "Incidents that a person must look at";
            let value = SampleValue::Gauge(count as f64);
            Sample::new("incidents_open", help, value).of(&log).of_kind(&kind)
        };
        open.into_iter().map(sample).collect()
    }
}
