//! The words of a refusal as the `go` command prints them: names that are not too long, lines that
//! all find room, no local paths.

use std::time::Duration;

use jiff::Timestamp;

use crate::upstream::UpstreamMessage;
use crate::visible;

/// The first line is what is read.
const MAX_FIRST_LINE_BYTES: usize = 299;
/// The words of a program, in a line between two others.
const MAX_CAUSE_BYTES: usize = 260;
/// The source `direct`, for clients.
pub(super) const VERSION_CONTROL: &str = "version control";
/// Longer paths, versions and addresses lose their middle.
const MAX_NAME_CHARS: usize = 120;
/// So many lines of a cause are shown: with two of ours before and one after them there are eight.
const MAX_CAUSES: usize = 4;

/// An address as clients may read it: local paths are nobody's business.
pub(super) fn for_clients(place: &str) -> String {
    let entry = |entry: &'_ str| match entry {
        "direct" => VERSION_CONTROL.to_owned(),
        local if local.starts_with("file:") => "the server's module directory".to_owned(),
        remote => remote.trim_end_matches('/').to_owned(),
    };
    place.split([',', '|']).map(entry).collect::<Vec<_>>().join(", then ")
}

pub(super) fn quoted(before: &str, said: &UpstreamMessage) -> String {
    if said.as_str().is_empty() { String::new() } else { format!("{before}{}", said.as_str()) }
}

/// The words of go or git, with room for the lines around them.
pub(super) fn cause_line(said: &UpstreamMessage) -> String {
    let mut words = said.as_str().to_owned();
    visible::cut(&mut words, MAX_CAUSE_BYTES);
    if words.is_empty() { words } else { format!("Cause: {words}") }
}

pub(super) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Whole seconds, rounded up.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Takes the middle out of what is too long to be read.
pub(super) fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= MAX_NAME_CHARS {
        return text.to_owned();
    }
    let half = MAX_NAME_CHARS / 2;
    let head: String = text.chars().take(half).collect();
    let tail: String = text.chars().skip(count - half + 1).collect();
    format!("{head}…{tail}")
}

/// The first line of a cause, and the others, each short enough that there is room for all.
pub(super) fn first_and_others(why: &str) -> (String, String) {
    let mut lines = why.lines().take(MAX_CAUSES).map(short);
    let first = lines.next().unwrap_or_default();
    (first, lines.collect::<Vec<_>>().join("\n"))
}

/// A cause as a sentence, unless it announces the lines after it.
pub(super) fn sentence(why: &str) -> String {
    if why.ends_with(':') { why.to_owned() } else { format!("{why}.") }
}

/// Puts lines together so that the `go` command prints them all; empty ones are left out.
pub(super) fn fit(lines: &[&str]) -> String {
    let lines = lines.iter().flat_map(|line| line.lines()).filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(|line| visible::escape_line(line).into_owned()).collect();
    if let Some(first) = lines.first_mut() {
        visible::cut(first, MAX_FIRST_LINE_BYTES);
    }
    visible::fit_for_go(&lines.join("\n")).trim_end().to_owned()
}
