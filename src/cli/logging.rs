//! Log lines go to stderr, as text or JSON; which of them is `log_filter`'s decision.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Starts logging, once a process; a second call changes nothing.
pub(super) fn start(format: LogFormat, filter: Option<&str>, default: &str) {
    let parse = |text: &str| text.parse::<Targets>().ok();
    // The configuration has checked the filter.
    let filter = filter.and_then(parse).or_else(|| parse(default)).unwrap_or_default();
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    // Only tests that run two commands in one process come here twice.
    let _ = started;
}
