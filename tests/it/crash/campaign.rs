//! How often a test tries, and where it says what came of it.
//!
//! | environment variable | meaning |
//! |---|---|
//! | `TALLYSTICK_RELIABILITY_TIMES` | how often the one test that runs tries, in place of its short form |
//! | `TALLYSTICK_RELIABILITY_SEED` | where random numbers begin; each failure names the seed that shows it again |
//! | `TALLYSTICK_RELIABILITY_OUT` | a directory: each finished test adds a line to `rows/<row>.jsonl` there |
//!
//! From these lines [`the_report_adds_up_and_says_how_sure_it_is`] makes `report.json` and `report.md`. Lines are only ever
//! added, so a row can be tried in pieces, on several days.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

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
            let rows = directory.join("rows");
            fs::create_dir_all(&rows).expect("the report can be written");
            let path = rows.join(format!("{}.jsonl", self.row));
            let file = fs::File::options().create(true).append(true).open(path);
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

/// What a row of the campaign came to, from all its lines.
#[derive(Default)]
struct Row {
    what: String,
    tried: u64,
    failed: u64,
    seconds: f64,
    failures: Vec<Value>,
    notes: Vec<Value>,
}

fn read_rows(directory: &Path) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for file in fs::read_dir(directory.join("rows")).into_iter().flatten().flatten() {
        for line in fs::read_to_string(file.path()).expect("lines of text").lines() {
            let line: Value = serde_json::from_str(line).expect("each line is JSON");
            let row = rows.entry(line["row"].as_str().expect("a row").to_owned()).or_default();
            row.what = line["what"].as_str().unwrap_or_default().to_owned();
            row.tried += line["tried"].as_u64().expect("a number");
            row.failed += line["failed"].as_u64().expect("a number");
            row.seconds += line["seconds"].as_f64().unwrap_or_default();
            row.failures.extend(line["failures"].as_array().cloned().unwrap_or_default());
            row.notes = line["notes"].as_array().cloned().unwrap_or_default();
        }
    }
    rows
}

/// Without a failure in N tries the rate is below 3/N with 95 % confidence.
fn bound(row: &Row) -> Option<f64> {
    (row.failed == 0).then(|| 3.0 / row.tried as f64)
}

fn write_report(directory: &Path) {
    let rows = read_rows(directory);
    let json = rows.iter().map(|(name, row)| {
        json!({
            "row": name, "what": row.what, "tried": row.tried, "failed": row.failed, "rate_below": bound(row),
            "seconds": row.seconds, "failures": row.failures, "notes_of_last": row.notes,
        })
    });
    let json = serde_json::to_string_pretty(&json.collect::<Vec<_>>()).expect("it has only string keys");
    fs::write(directory.join("report.json"), json).expect("the report can be written");
    let mut table = String::from(
        "| row | one try | tried | failed | rate below (95 %) | seconds | of the last run |\n|---|---|---:|---:|---:|---:|---|\n",
    );
    for (name, row) in &rows {
        let bound = bound(row).map_or("-".to_owned(), |bound| format!("{bound:.2e}"));
        let notes = row.notes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
        table += &format!(
            "| {name} | {} | {} | {} | {bound} | {:.0} | {notes} |\n",
            row.what, row.tried, row.failed, row.seconds
        );
    }
    for (name, row) in rows.iter().filter(|(_, row)| row.failed > 0) {
        table += &format!("\n{name}, what failed:\n");
        for failure in row.failures.iter().filter_map(Value::as_str).take(FAILURES_TOLD) {
            table += &format!("- {}\n", failure.replace('\n', " "));
        }
    }
    fs::write(directory.join("report.md"), table).expect("the report can be written");
}

#[test]
fn the_report_adds_up_and_says_how_sure_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("rows")).expect("it is empty");
    let lines = "{\"row\":\"a\",\"what\":\"try\",\"tried\":100,\"failed\":0,\"seconds\":1.5,\"notes\":[\"n\"]}\n\
                 {\"row\":\"a\",\"what\":\"try\",\"tried\":200,\"failed\":0,\"seconds\":2.5,\"notes\":[\"m\"]}\n";
    fs::write(directory.path().join("rows/a.jsonl"), lines).expect("a file");
    let bad =
        "{\"row\":\"b\",\"what\":\"try\",\"tried\":5,\"failed\":1,\"seconds\":0,\"failures\":[\"seed 7\"]}\n";
    fs::write(directory.path().join("rows/b.jsonl"), bad).expect("a file");
    write_report(directory.path());
    let table = fs::read_to_string(directory.path().join("report.md")).expect("it was written");
    assert!(table.contains("| a | try | 300 | 0 | 1.00e-2 | 4 | m |"), "{table}");
    assert!(table.contains("| b | try | 5 | 1 | - | 0 |  |") && table.contains("- seed 7"), "{table}");
    if let Some(directory) = variable("OUT") {
        write_report(Path::new(&directory));
    }
}
