//! How often a test tries, and where it says what came of it.
//!
//! | environment variable | meaning |
//! |---|---|
//! | `TALLYSTICK_RELIABILITY_TIMES` | how often the one test that runs tries, in place of its short form |
//! | `TALLYSTICK_RELIABILITY_SEED` | where random numbers begin; each failure names the seed that shows it again |
//! | `TALLYSTICK_RELIABILITY_OUT` | a directory: each finished test adds a line to `<row>.jsonl` there |

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

/// Failures that are told one by one; the rest is only counted.
const FAILURES_TOLD: usize = 20;

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("TALLYSTICK_RELIABILITY_{name}")).ok().filter(|value| !value.is_empty())
}

/// How often to try: `short` unless somebody asked for more.
pub(crate) fn times(short: u64) -> u64 {
    variable("TIMES").map_or(short, |value| value.parse().expect("TALLYSTICK_RELIABILITY_TIMES is a number"))
}

/// Where random numbers begin.
pub(crate) fn seed() -> u64 {
    variable("SEED").map_or(1, |value| value.parse().expect("TALLYSTICK_RELIABILITY_SEED is a number"))
}

/// Says loudly that a test could not run.
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
}

/// What one test tried, and what failed.
pub(crate) struct Tally {
    row: &'static str,
    what: &'static str,
    tried: u64,
    failures: Vec<String>,
    notes: Vec<String>,
    started: Instant,
}

impl Tally {
    /// `row` names the row of the campaign and a file; `what` is what one try is.
    pub(crate) fn new(row: &'static str, what: &'static str) -> Tally {
        Tally { row, what, tried: 0, failures: Vec::new(), notes: Vec::new(), started: Instant::now() }
    }

    pub(crate) fn tried(&mut self, times: u64) {
        self.tried += times;
    }

    pub(crate) fn failed(&mut self, failure: String) {
        self.failures.push(failure);
    }

    /// A figure that a reader of the report wants to know.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Writes the line of the report; fails the test if anything failed, or if nothing was tried.
    pub(crate) fn finish(self) {
        let seconds = self.started.elapsed().as_secs_f64();
        eprintln!(
            "{}: {} × {}, {} failed, {seconds:.1} s. {}",
            self.row,
            self.tried,
            self.what,
            self.failures.len(),
            self.notes.join("; ")
        );
        if let Some(directory) = variable("OUT").map(PathBuf::from) {
            let told = &self.failures[..self.failures.len().min(FAILURES_TOLD)];
            let line = json!({
                "row": self.row, "what": self.what, "tried": self.tried, "failed": self.failures.len(),
                "seed": seed(), "seconds": seconds, "notes": self.notes, "failures": told,
            });
            let path = directory.join(format!("{}.jsonl", self.row));
            let file = std::fs::File::options().create(true).append(true).open(path);
            writeln!(file.expect("the report can be written"), "{line}").expect("the report can be written");
        }
        assert!(self.tried > 0, "{}: nothing was tried", self.row);
        let told = self.failures.iter().take(FAILURES_TOLD).cloned().collect::<Vec<_>>();
        assert!(
            told.is_empty(),
            "{}: {} of {} failed:\n{}",
            self.row,
            self.failures.len(),
            self.tried,
            told.join("\n")
        );
    }
}

/// Random numbers that are the same for the same seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Another generator, for another thread.
    pub(crate) fn split(&mut self) -> Random {
        Random(self.next())
    }
}
