//! What is counted, and how it is printed for Prometheus: as OpenMetrics for who asks for that, in Prometheus's own text
//! format for everybody else (`format`).
//!
//! Counting a request costs a few atomic additions: every counter is found once, at the start, by its labels.
//! Labels are families of endpoints and classes of status codes only, never a module path: their number is
//! fixed. What engines know (tree size, age of the head, queue lengths) is asked for at each scrape, through a
//! [`MetricsSource`].
//!
//! ```text
//! tallystick_http_requests_total{endpoint="lookup",status="2xx"} 2
//! tallystick_http_request_duration_seconds_bucket{le="0.001",endpoint="lookup"} 2
//! tallystick_tree_size 1234
//! process_resident_memory_bytes 48324608
//! ```

mod format;
mod process;
mod sample;

use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::format::TextFormat;
use self::process::ProcessFigures;
use self::sample::SourceCollector;
pub use self::sample::{HISTOGRAM_BUCKETS, HistogramSample, MetricsSource, Sample, SampleValue};

/// The families of endpoints that are told apart in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/latest`
    Latest,
    /// `/lookup/…` that was answered from the log, or refused before anyone was asked.
    Lookup,
    /// `/lookup/…` that was not in the log, so that the notary was asked.
    Notarize,
    /// `/tile/8/L/…` and `/tlog/tile/L/…`
    HashTile,
    /// `/tile/8/data/…`
    DataTile,
    /// `/tlog/checkpoint`
    Checkpoint,
    /// `/tlog/tile/entries/…`
    EntryBundle,
    /// `/sumdb/<name>/supported`
    Supported,
    /// `/api/v1/…`
    Api,
    /// `/hooks/…`
    Hook,
    /// What a witness answers.
    Witness,
    /// Everything else.
    Other,
}

impl Endpoint {
    const ALL: [Endpoint; 12] = [
        Endpoint::Latest,
        Endpoint::Lookup,
        Endpoint::Notarize,
        Endpoint::HashTile,
        Endpoint::DataTile,
        Endpoint::Checkpoint,
        Endpoint::EntryBundle,
        Endpoint::Supported,
        Endpoint::Api,
        Endpoint::Hook,
        Endpoint::Witness,
        Endpoint::Other,
    ];

    /// The value of the label `endpoint`.
    pub fn label(self) -> &'static str {
        match self {
            Endpoint::Latest => "latest",
            Endpoint::Lookup => "lookup",
            Endpoint::Notarize => "notarize",
            Endpoint::HashTile => "hash_tile",
            Endpoint::DataTile => "data_tile",
            Endpoint::Checkpoint => "checkpoint",
            Endpoint::EntryBundle => "entry_bundle",
            Endpoint::Supported => "supported",
            Endpoint::Api => "api",
            Endpoint::Hook => "hook",
            Endpoint::Witness => "witness",
            Endpoint::Other => "other",
        }
    }
}

/// Values of the label `status`, by the first digit of the code.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// From a tile out of memory to a module that had to be fetched first. Seconds.
const DURATION_BUCKETS: [f64; 13] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0];

/// Connections and bytes of one door.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections open now.
    pub open: Gauge,
    /// Connections ended to make room for a client that held fewer.
    pub evicted: Counter,
    /// Connections closed unserved, since every slot was taken and too many waited for one.
    pub refused: Counter,
    /// Connections ended by us: a request's head was too slow, or the client took no answer.
    pub cut: Counter,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: Counter,
    /// Bytes received, without TLS.
    pub received_bytes: Counter,
    /// Bytes sent, without TLS.
    pub sent_bytes: Counter,
}

impl Traffic {
    /// Counts an open connection until the mark is dropped.
    pub(super) fn opened(&self) -> OpenMark {
        self.open.inc();
        OpenMark(self.open.clone())
    }

    /// Counts what a connection moved since the last call; returns what to pass to the next.
    pub(super) fn count_bytes(&self, before: (u64, u64), now: (u64, u64)) -> (u64, u64) {
        self.received_bytes.inc_by(now.0.saturating_sub(before.0));
        self.sent_bytes.inc_by(now.1.saturating_sub(before.1));
        now
    }
}

/// See [`Traffic::opened`].
pub(super) struct OpenMark(Gauge);

impl Drop for OpenMark {
    fn drop(&mut self) {
        self.0.dec();
    }
}

type RequestLabels = [(&'static str, &'static str); 2];
type EndpointLabels = [(&'static str, &'static str); 1];

/// All metrics of the process.
pub struct Metrics {
    /// Those whose names begin with `tallystick_`.
    registry: Registry,
    /// Those of any process, whose names are the same for every program.
    of_process: Registry,
    requests: [[Counter; STATUS_CLASSES.len()]; Endpoint::ALL.len()],
    seconds: [Histogram; Endpoint::ALL.len()],
    in_flight: Gauge,
    /// Of the public door.
    pub traffic: Traffic,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new(Vec::new())
    }
}

impl Metrics {
    /// All counters at zero; each of `sources` is read at each scrape.
    pub fn new(sources: Vec<Box<dyn MetricsSource>>) -> Metrics {
        let mut registry = Registry::with_prefix("tallystick");
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds =
            Family::<EndpointLabels, Histogram>::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        let (in_flight, traffic) = (Gauge::default(), Traffic::default());
        let http = registry.sub_registry_with_prefix("http");
        http.register("requests", "Requests answered", requests.clone());
        http.register("request_duration_seconds", "Time until the answer was ready", seconds.clone());
        http.register("requests_in_flight", "Requests being answered", in_flight.clone());
        http.register("connections_accepted", "Connections accepted", traffic.accepted.clone());
        http.register("connections_open", "Connections open", traffic.open.clone());
        http.register(
            "connections_evicted",
            "Connections ended to make room for clients that held fewer",
            traffic.evicted.clone(),
        );
        http.register(
            "connections_refused",
            "Connections closed unserved because too many waited for a slot",
            traffic.refused.clone(),
        );
        http.register(
            "connections_cut",
            "Slow or stuck connections ended by the server",
            traffic.cut.clone(),
        );
        http.register("tls_handshakes_failed", "TLS handshakes failed", traffic.handshakes_failed.clone());
        http.register("received_bytes", "Bytes received, without TLS", traffic.received_bytes.clone());
        http.register("sent_bytes", "Bytes sent, without TLS", traffic.sent_bytes.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        for source in sources {
            registry.register_collector(Box::new(SourceCollector(source)));
        }
        let mut of_process = Registry::default();
        of_process.register_collector(Box::new(SourceCollector(Box::new(ProcessFigures))));
        Metrics {
            registry,
            of_process,
            requests: Endpoint::ALL.map(|endpoint| {
                STATUS_CLASSES.map(|class| {
                    requests.get_or_create_owned(&[("endpoint", endpoint.label()), ("status", class)])
                })
            }),
            seconds: Endpoint::ALL
                .map(|endpoint| seconds.get_or_create_owned(&[("endpoint", endpoint.label())])),
            in_flight,
            traffic,
        }
    }

    /// Counts a request that took `duration` until its answer was ready.
    pub fn count(&self, endpoint: Endpoint, status: StatusCode, duration: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        self.requests[endpoint as usize][class].inc();
        self.seconds[endpoint as usize].observe(duration.as_secs_f64());
    }

    /// Counts a request as under way until the mark is dropped, also when its client goes away.
    pub(super) fn in_flight(&self) -> OpenMark {
        self.in_flight.inc();
        OpenMark(self.in_flight.clone())
    }

    /// Everything, in the format that a scraper asked for.
    pub fn to_text(&self, format: TextFormat) -> String {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &self.of_process))
            .and_then(|()| encode_eof(&mut text))
            .expect("writing to a string does not fail");
        match format {
            TextFormat::OpenMetrics => text,
            TextFormat::Prometheus => format::prometheus_of(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Tree;

    impl MetricsSource for Tree {
        fn samples(&self) -> Vec<Sample> {
            let bounds = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, f64::INFINITY];
            let histogram = HistogramSample { sum: 1.5, bounds, counts: [2, 0, 0, 0, 0, 0, 0, 0, 1] };
            vec![
                Sample::new("tree_size", "Records in the log", SampleValue::Gauge(1234.0)),
                Sample::new("incidents", "Incidents raised", SampleValue::Counter(3)),
                Sample::new("mirror_size", "Records", SampleValue::Gauge(1.0)).of("a.example"),
                Sample::new("mirror_size", "Records", SampleValue::Gauge(2.0)).of("b.example/log"),
                Sample::new("took_seconds", "Seconds", SampleValue::Histogram(histogram)).of_witness("w1"),
            ]
        }
    }

    #[test]
    fn counts_are_printed_by_family_and_class() {
        let metrics = Metrics::new(vec![Box::new(Tree)]);
        metrics.count(Endpoint::Lookup, StatusCode::OK, Duration::from_micros(900));
        metrics.count(Endpoint::Lookup, StatusCode::OK, Duration::from_micros(10));
        metrics.count(Endpoint::Other, StatusCode::NOT_FOUND, Duration::ZERO);
        let text = metrics.to_text(TextFormat::OpenMetrics);
        for line in [
            r#"tallystick_http_requests_total{endpoint="lookup",status="2xx"} 2"#,
            r#"tallystick_http_requests_total{endpoint="other",status="4xx"} 1"#,
            r#"tallystick_http_request_duration_seconds_bucket{le="0.001",endpoint="lookup"} 2"#,
            r#"tallystick_http_request_duration_seconds_bucket{le="0.00005",endpoint="lookup"} 1"#,
            "tallystick_tree_size 1234.0",
            "tallystick_incidents_total 3",
            r#"tallystick_mirror_size{log="a.example"} 1.0"#,
            r#"tallystick_mirror_size{log="b.example/log"} 2.0"#,
            r#"tallystick_took_seconds_bucket{le="0.1",witness="w1"} 2"#,
            r#"tallystick_took_seconds_bucket{le="+Inf",witness="w1"} 3"#,
            r#"tallystick_took_seconds_sum{witness="w1"} 1.5"#,
            concat!("tallystick_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
            let plain = metrics.to_text(TextFormat::Prometheus);
            assert!(plain.lines().any(|found| found == line), "{line} is not in\n{plain}");
        }
    }

    /// The names are those of Prometheus's own client libraries ("Writing client libraries", process metrics).
    #[test]
    fn the_figures_of_the_process_have_the_names_of_every_program() {
        let text = Metrics::default().to_text(TextFormat::Prometheus);
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let started = value("process_start_time_seconds");
        let now = crate::clock::Clock::system().unix_time().seconds as f64;
        assert!((now - 86_400.0..=now + 2.0).contains(&started), "{started} at {now}");
    }

    #[test]
    fn every_endpoint_has_its_own_counters() {
        for (position, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, position);
        }
    }
}
