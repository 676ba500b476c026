//! What each witness has done since the process began, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::tlog::TreeSize;

/// Upper bounds of the latency histogram, in seconds: from a witness on this machine to one that hangs.
pub const LATENCY_BOUNDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, f64::INFINITY];

/// What one witness has done since the process began.
#[derive(Default)]
pub(super) struct WitnessTally {
    cosigned: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) alarms: AtomicU64,
    size: AtomicU64,
    latency_micros: AtomicU64,
    buckets: [AtomicU64; LATENCY_BOUNDS.len()],
}

/// One witness's figures.
#[derive(Clone, Debug)]
pub struct PeerFigures {
    /// What the configuration calls it.
    pub name: String,
    /// Cosignatures.
    pub cosigned: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Answers that a person must look at: lies, other histories, larger trees.
    pub alarms: u64,
    /// The largest size that it has cosigned.
    pub size: u64,
    /// Seconds that all its cosignatures together took.
    pub latency_sum: f64,
    /// How many took up to each of [`LATENCY_BOUNDS`], and longer than the bound before it.
    pub latencies: [u64; LATENCY_BOUNDS.len()],
}

impl WitnessTally {
    pub(super) fn success(&self, size: TreeSize, latency: Duration) {
        self.cosigned.fetch_add(1, Ordering::Relaxed);
        self.size.fetch_max(size.0, Ordering::Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.fetch_add(micros, Ordering::Relaxed);
        let bucket = LATENCY_BOUNDS.iter().position(|bound| latency.as_secs_f64() <= *bound);
        self.buckets[bucket.unwrap_or(LATENCY_BOUNDS.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// The figures of this witness.
    pub(super) fn figures(&self, name: &str) -> PeerFigures {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        PeerFigures {
            name: name.to_owned(),
            cosigned: load(&self.cosigned),
            failed: load(&self.failed),
            alarms: load(&self.alarms),
            size: load(&self.size),
            latency_sum: load(&self.latency_micros) as f64 / 1e6,
            latencies: std::array::from_fn(|i| load(&self.buckets[i])),
        }
    }
}
