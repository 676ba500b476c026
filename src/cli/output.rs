//! What people and programs read: results on stdout, everything else on stderr, colors and bars on terminals only.
//!
//! Architecture invariant: this is the only file that writes to stdout or stderr, but for log lines ([`super::logging`]).
//! Everything that people read is escaped on its way ([`crate::visible`]), since it may hold text of others: a server's, an
//! archive's, a key's name. What programs read is exact: JSON has escapes of its own, and what a shell evaluates goes
//! through [`print_exact`].

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

use super::logging;
use crate::clock::Clock;
use crate::visible;

/// Without a terminal a bar becomes this many log lines, however long it takes ...
const PROGRESS_LINES: u64 = 10;
/// ... and fewer when it is soon done.
const PROGRESS_LINE_EVERY: Duration = Duration::from_secs(5);

/// Whose events these are, where stderr is JSON.
const TARGET: &str = "tallystick::cli";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const PLAIN: &str = "\u{1b}[0m";

/// Writes a result for people to stdout. A reader that has gone away (`| head`) is not an error.
pub(super) fn print(text: &str) -> io::Result<()> {
    write(&visible::escape(text))
}

/// Writes to stdout what a program reads byte for byte. On a terminal a person reads it instead, and it is escaped.
pub(super) fn print_exact(text: &str) -> io::Result<()> {
    if io::stdout().is_terminal() { print(text) } else { write(text) }
}

/// Makes one line of a text of others, for a place in a longer text where a line of its own could pass for ours.
pub(super) fn one_line(text: &str) -> String {
    visible::escape_line(text).into_owned()
}

/// Writes how many there are of something that is called `one`: "1 record", "2 records".
pub(super) fn count(number: impl TryInto<u64>, one: &str) -> String {
    // What does not fit is many.
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Writes a time to the second: what is finer is in the JSON.
pub(super) fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a result to stdout as indented JSON. What a terminal would obey is in JSON's own escapes, so that a program reads the
/// exact text.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(write(&visible::escape_json(&text))?)
}

/// Writes one line of JSON to stdout, with the escapes of [`print_json`].
pub(super) fn print_json_line(json: &str) -> io::Result<()> {
    write(&format!("{}\n", visible::escape_json(json)))
}

/// Writes rows under headers to stdout, as wide as the terminal, or as wide as they are where there is none.
pub(super) fn print_table<const N: usize>(
    headers: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headers.map(str::to_uppercase));
    for row in rows {
        // Before the columns get their widths.
        table.add_row(row.map(|cell| visible::escape(&cell).into_owned()));
    }
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end()))
        .collect();
    print(&lines.concat())
}

/// Writes a command for the runner of a CI job: to stdout, or to stderr where a result for programs is on stdout.
pub(super) fn annotation(text: &str, is_stdout_taken: bool) {
    if !is_stdout_taken {
        // A reader that has gone away wants no more.
        let _ = print(&format!("{text}\n"));
        return;
    }
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(anstream::stderr().lock(), "{}", visible::escape(text));
}

/// Says why the command failed.
pub(super) fn error(text: &str) {
    say(RED, "error", text);
}

/// Says what is allowed but should be known.
pub(super) fn warning(text: &str) {
    say(YELLOW, "warning", text);
}

/// Says something that is no result: `env` is read by `eval`, so that nothing else may be on stdout.
pub(super) fn note(text: &str) {
    say("", "note", text);
}

/// Prints what the parser of the command line says: help, or what is wrong with an argument, which a script may have from
/// somebody else.
pub(super) fn usage(error: &clap::Error) {
    let text = error.to_string();
    if error.use_stderr() && logging::is_json() {
        return logging::write_json("ERROR", TARGET, text.trim_start_matches("error: ").trim_end());
    }
    // Nobody is left to tell when the stream is closed.
    let _ = match visible::escape(&text) {
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(escaped) => write!(anstream::stderr().lock(), "{escaped}"),
    };
}

fn say(color: &str, word: &str, text: &str) {
    if logging::is_json() {
        let level = match word {
            "error" => "ERROR",
            "warning" => "WARN",
            _ => "INFO",
        };
        return logging::write_json(level, TARGET, text);
    }
    let reset = if color.is_empty() { "" } else { PLAIN };
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(anstream::stderr().lock(), "{color}{word}{reset}: {}", visible::escape(text));
}

/// How far a long command is: a bar on a terminal, at most ten log lines elsewhere.
pub(super) struct ProgressMeter {
    bar: ProgressBar,
    what: &'static str,
    total: u64,
    logged_tenth: u64,
    clock: Clock,
    logged_at: Instant,
}

impl ProgressMeter {
    /// Starts at 0 of `total` things that are called `what` ("lines", "records").
    pub(super) fn new(what: &'static str, total: u64) -> ProgressMeter {
        ProgressMeter::start(
            what,
            Some(total),
            "{wide_bar} {human_pos}/{human_len} {msg}  {rate}  {eta} left",
        )
    }

    /// Starts at 0 of `total` bytes that hold what is called `what`; the total of a pipe is not known.
    pub(super) fn bytes(what: &'static str, total: Option<u64>) -> ProgressMeter {
        let template = match total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes}  {msg}  {bytes_per_sec}  {eta} left",
            None => "{spinner} {bytes}  {msg}  {bytes_per_sec}",
        };
        ProgressMeter::start(what, total, template)
    }

    fn start(what: &'static str, total: Option<u64>, template: &str) -> ProgressMeter {
        let target = if io::stderr().is_terminal() && !logging::is_json() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // A whole number: four decimals of a rate are noise.
        let rate = |state: &ProgressState, to: &mut dyn fmt::Write| {
            let _ = write!(to, "{}/s", HumanCount(state.per_sec() as u64));
        };
        bar.set_style(style.with_key("rate", rate));
        bar.set_message(what);
        let clock = Clock::system();
        let logged_at = clock.instant();
        ProgressMeter { bar, what, total: total.unwrap_or(u64::MAX), logged_tenth: 0, clock, logged_at }
    }

    /// Goes on from what was done before: neither rate nor time left count it.
    pub(super) fn begin_at(&mut self, done: u64) {
        self.bar.set_position(done);
        self.bar.reset_eta();
        self.logged_tenth = self.tenth(done);
    }

    /// Says more about where it is.
    pub(super) fn say(&self, text: String) {
        self.bar.set_message(one_line(&text));
    }

    /// Moves to `done`.
    pub(super) fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        let tenth = self.tenth(done);
        if !self.bar.is_hidden() || tenth <= self.logged_tenth {
            return;
        }
        let now = self.clock.instant();
        if now.saturating_duration_since(self.logged_at) >= PROGRESS_LINE_EVERY {
            (self.logged_tenth, self.logged_at) = (tenth, now);
            tracing::info!(done, total = self.total, "{}", self.what);
        }
    }

    fn tenth(&self, done: u64) -> u64 {
        (u128::from(done) * u128::from(PROGRESS_LINES) / u128::from(self.total.max(1))) as u64
    }

    /// Removes the bar, so that the result stands alone.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
