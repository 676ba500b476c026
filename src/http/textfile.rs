//! Figures as the text format of Prometheus, version 0.0.4, for programs that leave them in a file (node_exporter's textfile
//! collector reads that, not OpenMetrics). Names and values are those of `/metrics`.
//!
//! ```text
//! # HELP tallystick_mirror_failures_total Failures to reach the newest head
//! # TYPE tallystick_mirror_failures_total counter
//! tallystick_mirror_failures_total{log="sum.golang.org"} 3
//! ```

use std::fmt::Write as _;

use super::metrics::{Sample, SampleValue};

/// The figures, those of one name together, as [`super::metrics::MetricsSource::samples`] gives them.
pub fn text_of(samples: &[Sample]) -> String {
    let mut text = String::new();
    for family in samples.chunk_by(|one, next| one.name == next.name) {
        let (kind, suffix) = match family[0].value {
            SampleValue::Counter(_) | SampleValue::Seconds(_) => ("counter", "_total"),
            SampleValue::Gauge(_) => ("gauge", ""),
            // What a mirror takes is not counted in buckets; a textfile has none.
            SampleValue::Histogram(_) => continue,
        };
        let name = format!("tallystick_{}{suffix}", family[0].name);
        text += &format!("# HELP {name} {}\n# TYPE {name} {kind}\n", escape(family[0].help, false));
        for Sample { value, labels, .. } in family {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value, true))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let written = match value {
                SampleValue::Counter(value) => writeln!(text, "{name}{labels} {value}"),
                SampleValue::Gauge(value) | SampleValue::Seconds(value) => {
                    writeln!(text, "{name}{labels} {value}")
                }
                SampleValue::Histogram(_) => Ok(()),
            };
            written.expect("writing to a string does not fail");
        }
    }
    text
}

fn escape(text: &str, in_label: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if in_label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification's own example of escapes.
    #[test]
    fn it_is_the_text_format_of_prometheus() {
        let failures = |count| Sample::new("failures", "Failures", SampleValue::Counter(count));
        let samples = [
            failures(3).of("a.example"),
            // Not by `of`, which escapes for people before the format does.
            Sample { labels: vec![("log", "C:\\DIR\n\"x\"".to_owned())], ..failures(4) },
            Sample::new("lag", "A \\ and\na line", SampleValue::Gauge(-1.5)),
        ];
        assert_eq!(
            text_of(&samples),
            "# HELP tallystick_failures_total Failures\n# TYPE tallystick_failures_total counter\n\
             tallystick_failures_total{log=\"a.example\"} 3\n\
             tallystick_failures_total{log=\"C:\\\\DIR\\n\\\"x\\\"\"} 4\n\
             # HELP tallystick_lag A \\\\ and\\na line\n# TYPE tallystick_lag gauge\ntallystick_lag -1.5\n"
        );
    }
}
