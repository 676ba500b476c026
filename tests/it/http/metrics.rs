//! `/metrics` of a server with everything that has figures, in both formats, by the rules of the formats.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::cli::installed;
use crate::support::serve::LogDirectory;

/// A log with a mirror and a witness.
const REST: &str = "\
[sumdb.\"sum.golang.org\"]
mode = \"heads\"
poll = \"24h\"
urls = [\"http://127.0.0.1:1\"]

[[witness]]
name = \"w1\"
url = \"http://127.0.0.1:1\"
key = \"w1.example+85edb04a+BFi0Bg4VGdbveBysJZuLxSMmu7s2TJaFXIjwxNDbsTGH\"
";

fn page(url: &str, accept: &str) -> (String, String) {
    let mut stream = std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{accept}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// The family that a sample belongs to, by the suffixes of its type.
fn family_of<'a>(name: &'a str, families: &BTreeMap<String, String>) -> Option<&'a str> {
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    match histogram {
        Some(base) if families.get(base).is_some_and(|kind| kind == "histogram") => Some(base),
        _ => families.contains_key(name).then_some(name),
    }
}

/// What the exposition format demands, and what `promtool check metrics` complains about.
fn check(text: &str) {
    let (mut helps, mut families): (BTreeMap<&str, &str>, BTreeMap<String, String>) = Default::default();
    let (mut series, mut last, mut over) = (BTreeSet::new(), "", BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(!help.trim().is_empty() && helps.insert(name, help).is_none(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helps.contains_key(name), "help comes first: {line}");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(!name.ends_with("_info") || kind == "gauge", "{line}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{line}"
            );
            for unit in ["_ms", "_milliseconds", "_minutes", "_hours", "_kb", "_mb", "_kib", "_percent"] {
                assert!(!name.contains(unit), "no base unit: {line}");
            }
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (sample, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            assert!(series.insert(sample), "twice: {line}");
            let name = sample.split('{').next().unwrap();
            let family = family_of(name, &families).unwrap_or_else(|| panic!("of no family: {line}"));
            assert!(name.starts_with("tallystick_") || name.starts_with("process_"), "{line}");
            // The samples of a family stand together.
            if family != last {
                assert!(over.insert(family), "apart: {line}");
                last = family;
            }
        }
    }
    assert!(families.len() > 60, "{}", families.len());
}

#[test]
fn figures_are_in_the_format_that_was_asked_for() {
    let directory = LogDirectory::new("sum.corp.example", REST);
    let server = directory.serve();
    let (head, text) = page(server.metrics_url(), "");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    check(&text);
    for name in [
        concat!("tallystick_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
        "\nprocess_cpu_seconds_total ",
        "\nprocess_start_time_seconds ",
        "\ntallystick_incidents_open{log=\"sum.corp.example\",kind=\"damage\"} 0",
        "\ntallystick_clock_behind_seconds 0",
        "\ntallystick_clock_set_back_total 0\n",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let (head, open_metrics) = page(server.metrics_url(), accept);
    assert!(
        head.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(open_metrics.ends_with("# EOF\n"), "{open_metrics}");
    assert!(open_metrics.contains("# TYPE tallystick_build info\n"), "{open_metrics}");
    // The same series in both.
    let names = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(names(&open_metrics), names(&text));
    server.stop();

    let Some(promtool) = installed("promtool", "http::metrics::figures_are_in_the_format_that_was_asked_for")
    else {
        return;
    };
    let mut checked = Command::new(promtool);
    let checked = checked
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut checked = checked.spawn().unwrap();
    checked.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = checked.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
