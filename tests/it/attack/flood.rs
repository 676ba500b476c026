//! Misses: the one thing that makes a log grow, for ever. They are limited per client and in all, and what a module
//! requires is taken in ahead only within bounds, and only from its own route.

use std::net::Ipv4Addr;

use super::{KNOWN, Target, connection_from};
use crate::crash::campaign::{Tally, times};
use crate::crash::server::Place;
use crate::crash::source::{Source, module};
use crate::crash::wire::{Answer, Connection};

/// Misses a minute in these tests.
const ALLOWED: u64 = 60;
/// Modules that are taken in ahead for one look-up, at most.
const AHEAD_MAX: u64 = 512;

fn limited(answer: &Answer) -> bool {
    answer.status == 503 && answer.header("retry-after").is_some() && answer.text().contains("try again")
}

#[test]
fn a_client_that_asks_for_too_much_is_told_to_wait_and_others_are_not() {
    let source = Source::start();
    let place = Place::new(&source.url());
    place.configure_misses(ALLOWED);
    let mut target = Target::of(source, place);
    let mut tally = Tally::new("08-misses", "look-up of an unknown module by a greedy client");
    let asked = times(400);
    let requests = target.source.requests();
    let failures = target.attack(&mut tally, |server| {
        let mut failures = Vec::new();
        let mut greedy = connection_from(Ipv4Addr::new(127, 1, 1, 1), server.address);
        let (mut taken, mut refused) = (0, 0);
        for number in 0..asked {
            // Whatever it says about itself, it is one client.
            let forged = format!(
                "GET {} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.1.{}.{}\r\nForwarded: for=10.2.2.{}\r\n\r\n",
                Source::lookup(100_000 + number), number / 250, number % 250, number % 250
            );
            greedy.send(forged.as_bytes()).expect("the server reads");
            let answer = greedy.answer().expect("an answer");
            match answer.status {
                200 => taken += 1,
                _ if limited(&answer) => refused += 1,
                status => failures.push(format!("{status}: {}", answer.text())),
            }
            if number % 50 == 49 {
                // What is in the log costs nothing, for a greedy client too.
                let known = greedy.get(&Source::lookup(0)).expect("an answer");
                failures.extend((known.status != 200).then(|| format!("a known module: {}", known.text())));
            }
        }
        // A test takes seconds, in which the allowance grows by a few.
        if !(ALLOWED..=ALLOWED * 2).contains(&taken) || refused == 0 {
            failures.push(format!("{taken} taken in and {refused} refused, {ALLOWED} a minute are allowed"));
        }
        let mut other = connection_from(Ipv4Addr::new(127, 1, 1, 2), server.address);
        for number in 0..10 {
            let answer = other.get(&Source::lookup(200_000 + number)).expect("an answer");
            failures.extend((answer.status != 200).then(|| format!("another client: {}", answer.text())));
        }
        failures
    });
    tally.note(format!("{} requests to the source", target.source.requests() - requests));
    if target.source.requests() - requests > 3 * (ALLOWED * 2 + 20) {
        tally.failed("refused look-ups reached the source".to_owned());
    }
    tally.tried(asked);
    failures.into_iter().for_each(|failure| tally.failed(failure));
    tally.finish();
}

#[test]
fn a_go_mod_that_requires_thousands_fills_nothing_and_probes_nothing() {
    let (source, other) = (Source::start(), Source::start());
    let place = Place::new(&source.url());
    place.configure(&format!(
        "[[route]]\nmodules = [\"secret.example\"]\nsource = [\"{}\"]\nchecksum = \"compute\"\n",
        other.url()
    ));
    let mut target = Target::of(source, place);
    let mut tally = Tally::new("08-requires", "module that requires thousands");
    let mut lines = String::from("require (\n");
    for number in 0..3_000 {
        lines += &format!(
            "\t{} v1.0.0\n\tsecret.example/m{number} v1.0.0\n",
            module(500_000 + number).path.as_str()
        );
    }
    lines += ")\n";
    let hostile = KNOWN + 1..KNOWN + 1 + times(3);
    for number in hostile.clone() {
        target.source.require(number, lines.clone());
    }
    other.seen();
    let requests = target.source.requests();
    let statuses = target.attack(&mut tally, |server| {
        let ask = |number| server.get(&Source::lookup(number)).expect("an answer").status;
        hostile.clone().map(ask).collect::<Vec<_>>()
    });
    let count = statuses.len() as u64;
    tally.tried(count);
    if statuses.iter().any(|status| *status != 200) {
        tally.failed(format!("the modules themselves: {statuses:?}"));
    }
    let made = target.source.requests() - requests;
    tally.note(format!("{made} requests to the source for {count} look-ups"));
    // .mod, .zip and .info of each, and of the few that the test asks for besides.
    if made > 3 * (AHEAD_MAX * count + 10) {
        tally.failed(format!("{made} requests to the source"));
    }
    let probed = other.seen();
    if !probed.is_empty() {
        tally.failed(format!("the other route was asked: {:?}", &probed[..probed.len().min(3)]));
    }
    let size = target.history.floor();
    if size > KNOWN + 10 + (AHEAD_MAX + 1) * count {
        tally.failed(format!("the log has grown to {size}"));
    }
    tally.finish();
}

fn post_proofs(connection: &mut Connection, body: &str) -> Answer {
    let head =
        format!("POST /api/v1/proofs HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    connection.send(head.as_bytes()).expect("the server reads");
    connection.answer().expect("an answer")
}

/// Each request asks for a hundred searches: as much work as a thousand proofs of records whose number is known.
#[test]
fn many_proofs_in_one_request_count_against_the_client() {
    let mut target = Target::new("");
    let mut tally = Tally::new("17-proofs", "request for a hundred proofs by a greedy client");
    let hash = format!("{{\"hash\": \"{}\"}}", "00".repeat(32));
    let body = format!("[{}]", vec![hash; 100].join(","));
    // The allowance is 30 of them a minute. On a slow machine some more come back while the test runs.
    let asked = times(100);
    let failures = target.attack(&mut tally, |server| {
        let (mut failures, mut refused) = (Vec::new(), 0);
        let mut greedy = connection_from(Ipv4Addr::new(127, 1, 1, 1), server.address);
        for _ in 0..asked {
            let answer = post_proofs(&mut greedy, &body);
            match answer.status {
                200 => {}
                429 if answer.header("retry-after").is_some() => refused += 1,
                status => failures.push(format!("{status}: {}", answer.text())),
            }
        }
        if refused == 0 {
            failures.push(format!("none of {asked} requests was refused"));
        }
        // What is no dearer than to ask for it is answered all the same.
        for path in ["/api/v1/proofs/inclusion?record=3".to_owned(), Source::lookup(0)] {
            let answer = greedy.get(&path).expect("an answer");
            failures.extend((answer.status != 200).then(|| format!("{path}: {}", answer.text())));
        }
        let mut other = connection_from(Ipv4Addr::new(127, 1, 1, 2), server.address);
        let answer = post_proofs(&mut other, "[{\"record\": 3}]");
        failures.extend((answer.status != 200).then(|| format!("another client: {}", answer.text())));
        failures
    });
    tally.tried(asked);
    failures.into_iter().for_each(|failure| tally.failed(failure));
    tally.finish();
}
