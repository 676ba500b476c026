//! A clock that is ten years off, or stands still: times in the evidence are wrong, and nothing else is.

use std::path::Path;

use super::campaign::{Random, Tally, seed, skipped, times};
use super::history::History;
use super::server::{Place, Server};
use super::source::{Source, module};

/// Where Debian and others put it.
pub(crate) const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

fn serve_at(place: &Place, library: &str, time: &str) -> Server {
    let mut command = place.command();
    // The clock that only measures how long something takes goes on: that one no operator can set.
    command.env("LD_PRELOAD", library).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.env("DONT_FAKE_MONOTONIC", "1");
    place.try_serve_as(command).unwrap_or_else(|ended| panic!("at {time}: {ended:?}"))
}

/// The year in which the server believes that it took a module in.
fn year_of(server: &Server, number: u64) -> i32 {
    let answer = server.get(&format!("/api/v1/modules/{}", module(number).escaped())).expect("an answer");
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    json["appended_at"].as_str().expect("a time")[..4].parse().expect("a year")
}

#[test]
fn a_wrong_clock_changes_nothing_but_times() {
    const NAME: &str = "crash::clocks::a_wrong_clock_changes_nothing_but_times";
    let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
        return skipped(NAME, "libfaketime is not installed");
    };
    let source = Source::start();
    let place = Place::new(&source.url());
    let mut tally = Tally::new("10-clock", "start with a clock that is years off or stands still");
    let (mut history, mut next) = (None, 0);
    let this_year = jiff::Timestamp::now().to_string()[..4].parse::<i32>().expect("a year");
    let clocks = [
        ("+10y", this_year + 10),
        ("-10y", this_year - 10),
        ("2020-02-29 12:00:00", 2020),
        ("+0", this_year),
    ];
    for round in 0..times(1) {
        for (time, year) in clocks {
            let server = serve_at(&place, library, time);
            let history = history.get_or_insert_with(|| History::new(server.verifier.clone()));
            for _ in 0..5 {
                let answer = server.get(&Source::lookup(next)).expect("an answer");
                history.observe_lookup(next, &answer, history.floor(), &source).unwrap();
                next += 1;
            }
            let believed = year_of(&server, next - 1);
            assert!(
                (believed - year).abs() <= 1,
                "round {round}, {time}: the clock is not faked: {believed}"
            );
            assert_eq!(server.get("/lookup/crash.example/none@v1.0.0").expect("an answer").status, 404);
            history.verify_all(&server, &source, &mut Random::new(seed())).unwrap();
            assert_eq!(server.readiness(), "ready\n");
            let ended = server.stop();
            assert_eq!(ended.code, Some(0), "{time}: {ended:?}");
            tally.tried(1);
        }
    }
    tally.finish();
}
