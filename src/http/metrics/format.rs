//! The two text formats of figures, and which of them a scraper gets.
//!
//! ```text
//! OpenMetrics 1.0.0                                   Prometheus 0.0.4
//! # HELP tallystick_gossip_forks Heads …              # HELP tallystick_gossip_forks_total Heads …
//! # TYPE tallystick_gossip_forks counter              # TYPE tallystick_gossip_forks_total counter
//! tallystick_gossip_forks_total 0                     tallystick_gossip_forks_total 0
//! # EOF
//! ```
//!
//! The samples are the same. In the older format a family has the name of its samples, every line
//! that is not known is a comment, and an `info` is a gauge. Specifications: [OpenMetrics],
//! [exposition formats].
//!
//! [OpenMetrics]: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
//! [exposition formats]: https://prometheus.io/docs/instrumenting/exposition_formats/

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// A text format of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus's own, version 0.0.4: what every tool reads.
    Prometheus,
}

impl TextFormat {
    /// Returns the format that the `Accept` of a request asks for. OpenMetrics must be named, and
    /// be wanted no less than text.
    pub fn asked_for(headers: &HeaderMap) -> TextFormat {
        let (mut open_metrics, mut text): (f32, f32) = (0.0, 0.0);
        let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let quality: f32 = quality.map_or(1.0, |value| value.parse().unwrap_or(0.0));
            match kind.as_str() {
                "application/openmetrics-text" => open_metrics = quality.max(open_metrics),
                "text/plain" => text = quality.max(text),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text {
            TextFormat::OpenMetrics
        } else {
            TextFormat::Prometheus
        }
    }

    /// The value of `Content-Type`.
    pub(in crate::http) fn content_type(self) -> &'static str {
        match self {
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            TextFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes a text in OpenMetrics in the format of Prometheus.
pub(super) fn prometheus_of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The name of a family depends on its type, which stands after its help.
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(named) = line.strip_prefix("# HELP ") {
            help = named.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap_or((typed, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            text += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn open_metrics_is_for_who_asks_for_it() {
        let asked = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(ACCEPT, HeaderValue::from_str(line).unwrap());
            }
            TextFormat::asked_for(&headers)
        };
        // What Prometheus 2 and 3 send, VictoriaMetrics' agent, curl, and a browser.
        for accept in [
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ][..],
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
            ],
            &["application/openmetrics-text"],
            &["text/html", "Application/OpenMetrics-Text; q=0.2"],
        ] {
            assert_eq!(asked(accept), TextFormat::OpenMetrics, "{accept:?}");
        }
        for accept in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/plain;version=0.0.4;q=1,*/*;q=0.1"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0.3, text/plain"],
            &["application/openmetrics-text;q=x"],
            &["application/json"],
        ] {
            assert_eq!(asked(accept), TextFormat::Prometheus, "{accept:?}");
        }
    }

    /// The example at the top of this file, and the types that differ.
    #[test]
    fn families_have_the_names_of_their_samples() {
        let open_metrics = "# HELP a_forks Heads.\n# TYPE a_forks counter\na_forks_total{log=\"# x\"} 0\n\
                            # HELP a_build The program.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                            # HELP a_size Records.\n# TYPE a_size gauge\n# UNIT a_size bytes\na_size 1.0\n\
                            # HELP a_t_seconds Time.\n# TYPE a_t_seconds histogram\na_t_seconds_count 1\n# EOF\n";
        assert_eq!(
            prometheus_of(open_metrics),
            "# HELP a_forks_total Heads.\n# TYPE a_forks_total counter\na_forks_total{log=\"# x\"} 0\n\
             # HELP a_build_info The program.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
             # HELP a_size Records.\n# TYPE a_size gauge\na_size 1.0\n\
             # HELP a_t_seconds Time.\n# TYPE a_t_seconds histogram\na_t_seconds_count 1\n"
        );
    }
}
