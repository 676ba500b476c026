//! Log lines go to stderr, as text or JSON; which of them is `log_filter`'s decision.
//!
//! They hold text of others, so they are escaped as everything that people read ([`crate::visible`]), and one event cannot
//! pass for two: a line break within it is followed by white space, as no event begins.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::visible;

/// Starts logging, once a process; a second call changes nothing.
pub(super) fn start(format: LogFormat, filter: Option<&str>, default: &str) {
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
