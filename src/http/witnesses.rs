//! The figures of the log's witnesses for the metrics page.

use super::metrics::{HistogramSample, MetricsSource, Sample, SampleValue};
use crate::witness::{LATENCY_BOUNDS, PeerFigures, Witnesses};

/// How each witness does, and whether enough have cosigned the newest head.
pub struct WitnessesFigures(pub Witnesses);

impl std::fmt::Debug for WitnessesFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WitnessesFigures")
    }
}

impl MetricsSource for WitnessesFigures {
    fn samples(&self) -> Vec<Sample> {
        let (peers, is_enough) = self.0.figures();
        if peers.is_empty() {
            return Vec::new();
        }
        let help = "1 when enough witnesses have cosigned the newest head, 0 when not";
        let mut samples =
            vec![Sample::new("witness_quorum", help, SampleValue::Gauge(f64::from(u8::from(is_enough))))];
        let mut each = |name, help, value: fn(&PeerFigures) -> SampleValue| {
            samples
                .extend(peers.iter().map(|peer| Sample::new(name, help, value(peer)).of_witness(&peer.name)));
        };
        each("witness_size", "The largest size that the witness has cosigned", |peer| {
            SampleValue::Gauge(peer.size as f64)
        });
        each("witness_cosignatures", "Cosignatures that the witness gave", |peer| {
            SampleValue::Counter(peer.cosigned)
        });
        each("witness_failures", "Attempts in which the witness did not cosign", |peer| {
            SampleValue::Counter(peer.failed)
        });
        each("witness_alarms", "Answers of the witness that a person must look at", |peer| {
            SampleValue::Counter(peer.alarms)
        });
        each("witness_latency_seconds", "Time until the witness had cosigned", |peer| {
            SampleValue::Histogram(HistogramSample {
                sum: peer.latency_sum,
                bounds: &LATENCY_BOUNDS,
                counts: peer.latencies,
            })
        });
        samples
    }
}
