//! Figures that are asked for at each scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::visible;

/// Figures that an engine keeps and that are read at each scrape.
pub trait MetricsSource: fmt::Debug + Send + Sync + 'static {
    /// The figures now. Names without the prefix `tallystick_` and, for counters, without `_total`; the same names
    /// at every call.
    fn samples(&self) -> Vec<Sample>;
}

/// One figure of a [`MetricsSource`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `tree_size`, `head_age_seconds`, …
    pub name: &'static str,
    /// A sentence without a full stop.
    pub help: &'static str,
    /// The figure.
    pub value: SampleValue,
    /// What tells it from others of its name, such as `log` and its name. Those of one name stand together and have the
    /// same labels.
    pub labels: Vec<(&'static str, String)>,
}

impl Sample {
    /// A figure that is there once.
    pub fn new(name: &'static str, help: &'static str, value: SampleValue) -> Sample {
        Sample { name, help, value, labels: Vec::new() }
    }

    /// The same figure of a log.
    pub fn of(self, log: &str) -> Sample {
        self.with("log", log)
    }

    /// The same figure of a witness.
    pub fn of_witness(self, witness: &str) -> Sample {
        self.with("witness", witness)
    }

    /// The same figure of one kind.
    pub fn of_kind(self, kind: &str) -> Sample {
        self.with("kind", kind)
    }

    /// Adds a label, whose value people read in dashboards.
    fn with(mut self, label: &'static str, value: &str) -> Sample {
        self.labels.push((label, visible::escape_line(value).into_owned()));
        self
    }
}

/// The kinds of figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SampleValue {
    /// Only grows while the process lives.
    Counter(u64),
    /// The same, of seconds.
    Seconds(f64),
    /// Goes up and down.
    Gauge(f64),
    /// How often something took how long.
    Histogram(HistogramSample),
}

/// Buckets of a [`SampleValue::Histogram`].
pub const HISTOGRAM_BUCKETS: usize = 9;

/// A histogram that an engine keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramSample {
    /// All values together.
    pub sum: f64,
    /// Upper bounds, the last of them infinity.
    pub bounds: &'static [f64; HISTOGRAM_BUCKETS],
    /// How many values are up to a bound, and above the one before it.
    pub counts: [u64; HISTOGRAM_BUCKETS],
}

/// A source as the registry knows it.
#[derive(Debug)]
pub(super) struct SourceCollector(pub(super) Box<dyn MetricsSource>);

impl Collector for SourceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in self.0.samples().chunk_by(|one, next| one.name == next.name) {
            let Sample { name, help, value, .. } = &family[0];
            let kind = match value {
                SampleValue::Counter(_) | SampleValue::Seconds(_) => MetricType::Counter,
                SampleValue::Gauge(_) => MetricType::Gauge,
                SampleValue::Histogram(_) => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            if family[0].labels.is_empty() {
                value.encode(metric)?;
                continue;
            }
            for sample in family {
                sample.value.encode(metric.encode_family(&sample.labels)?)?;
            }
        }
        Ok(())
    }
}

impl SampleValue {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            SampleValue::Counter(value) => ConstCounter::new(*value).encode(encoder),
            SampleValue::Seconds(value) => ConstCounter::new(*value).encode(encoder),
            SampleValue::Gauge(value) => ConstGauge::new(*value).encode(encoder),
            SampleValue::Histogram(HistogramSample { sum, bounds, counts }) => {
                let buckets: Vec<(f64, u64)> = bounds.iter().copied().zip(*counts).collect();
                encoder.encode_histogram::<NoLabelSet>(*sum, counts.iter().sum(), &buckets, None)
            }
        }
    }
}
