//! Log lines go to stderr, as text or JSON; which of them is `log_filter`'s decision.
//!
//! Where they are JSON, nothing else goes to stderr: what a command tells a person there, what the parser of the command line
//! refuses, and a panic become lines of the same form ([`write_json`]), whatever the filter is. So a log collector can read
//! every line of the stream:
//!
//! ```text
//! {"timestamp":"2026-12-01T09:00:00.000000Z","level":"ERROR","message":"…","fix":"…","target":"tallystick::cli"}
//! ```
//!
//! They hold text of others, so they are escaped as everything that people read ([`crate::visible`]), and one event cannot
//! pass for two: a line break within it is followed by white space, as no event begins.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::LogFormat;
use crate::visible;

/// Whether everything on stderr is JSON. Set as soon as it is known, and never taken back.
static JSON: AtomicBool = AtomicBool::new(false);
/// The panic hook is the process's own: it is put in place once.
static PANIC_HOOK: Once = Once::new();

/// Whether everything on stderr is to be JSON.
pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Has stderr written in this form from now on, panics too.
pub(super) fn set_format(format: LogFormat) {
    if format == LogFormat::Json {
        JSON.store(true, Ordering::Relaxed);
        PANIC_HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                let message = panic.payload_as_str().unwrap_or("a panic without a message");
                let place = panic.location().map_or(String::new(), |place| format!(" at {place}"));
                write_json("ERROR", "tallystick::panic", &format!("panicked{place}: {message}"));
            }));
        });
    }
}

/// A line in the form of the log's events, with the remedy in a field of its own.
#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    target: &'a str,
}

/// Writes a text as an event that no filter holds back.
pub(super) fn write_json(level: &str, target: &str, text: &str) {
    // Several causes with a remedy each stay one text.
    let (message, fix) = match text.split_once("\n  fix: ") {
        Some((message, fix)) if !fix.contains("\n  fix: ") => (message, Some(fix)),
        _ => (text, None),
    };
    let timestamp = format!("{:.6}", Clock::system().now());
    let line = JsonLine { timestamp, level, message, fix, target };
    let json = serde_json::to_string(&line).expect("strings are always JSON");
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{}", visible::escape_json(&json));
}

/// Starts logging, once a process; a second call changes nothing.
pub(super) fn start(format: LogFormat, filter: Option<&str>, default: &str) {
    set_format(format);
    let parse = |text: &str| text.parse::<Targets>().ok();
    // The configuration has checked the filter.
    let filter = filter.and_then(parse).or_else(|| parse(default)).unwrap_or_default();
    // What TLS said is in the error of the request, in plain words.
    let filter = filter.with_target("rustls_platform_verifier", LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer();
    let started = match format {
        LogFormat::Text => {
            let layer = layer.fmt_fields(VisibleFields).with_writer(io::stderr);
            registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init()
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_writer(|| VisibleJson(io::stderr()));
            registry.with(layer).try_init()
        }
    };
    // Only tests that run two commands in one process come here twice.
    let _ = started;
}

/// Message and fields as text; the colors of what stands before them are the formatter's.
struct VisibleFields;

impl<'writer> FormatFields<'writer> for VisibleFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&visible::escape(&text).replace('\n', "\n    "))
    }
}

/// JSON in escapes that mean the same.
struct VisibleJson<W>(W);

impl<W: Write> Write for VisibleJson<W> {
    /// Takes a whole event: the formatter hands over one at a time.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let json = String::from_utf8_lossy(event);
        self.0.write_all(visible::escape_json(&json).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const CHILD: &str = "TALLYSTICK_TEST_PANICS";

    /// In a process of its own, since the hook is the process's.
    #[test]
    fn a_panic_is_an_event_too() {
        if std::env::var_os(CHILD).is_some() {
            set_format(LogFormat::Json);
            let ended = std::thread::spawn(|| panic!("a \"programmer error\"\nof two lines")).join();
            assert!(ended.is_err());
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", "cli::logging::tests::a_panic_is_an_event_too", "--nocapture"]);
        let output = child.env(CHILD, "1").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let events: Vec<serde_json::Value> = stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {stderr}")))
            .collect();
        let [event] = &events[..] else { panic!("{stderr}") };
        assert_eq!((&event["level"], &event["target"]), (&"ERROR".into(), &"tallystick::panic".into()));
        let message = event["message"].as_str().unwrap();
        assert!(message.contains("src/cli/logging.rs:"), "{message}");
        assert!(message.ends_with(": a \"programmer error\"\nof two lines"), "{message}");
    }
}
