//! `import --trust`: record streams in bulk.

use std::sync::Arc;

use serde_json::json;
use tallystick::operate::RecordParser;
use tallystick::store::Evidence;

use super::*;
use crate::support::logs::{lines, lines_with};

const IMPORTER: [&str; 3] = ["--trust", "--importer", "build-7"];

/// Records as data tiles hold them.
fn records(ids: std::ops::Range<u64>) -> String {
    ids.map(|id| lines(id).to_text() + "\n").collect()
}

fn import(world: &World, file: &str, more: &[&str]) -> Ran {
    world.run(&[&["import", file], &IMPORTER[..], more].concat())
}

fn counts(ran: &Ran) -> (Value, Value, Value) {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    (report["new"].clone(), report["present"].clone(), report["conflict"].clone())
}

#[test]
fn fifty_thousand_records_enter_as_they_are() {
    World::both_ways(|world| {
        world.sandbox.write("records.txt", &records(0..50_000));
        let ran = import(world, "records.txt", &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        insta::allow_duplicates!(insta::assert_snapshot!(ran.stdout, @"
        NEW    PRESENT  CONFLICT
        50000  0        0
        "));
        assert_eq!(world.golang.requests().len(), 0, "nobody is asked");
        // In the order of the stream.
        let reader = world.reader();
        for id in [0, 1, 255, 256, 4_095, 4_096, 49_999] {
            let record = reader.records(id..id + 1).unwrap().remove(0);
            assert_eq!(record.lines, lines(id));
        }
        let module = lines(40_000).module.to_string();
        let shown = world.json(&["lookup", &module, "--json"]);
        assert_eq!(shown["found"]["record"], 40_000);
        assert_eq!(shown["found"]["evidence"], json!({ "kind": "imported", "importer": "build-7" }));
        let shown = world.succeed(&["lookup", &module]);
        assert!(shown.contains("imported by build-7, whose word is the only evidence"), "{shown}");

        let again = world.run_with_input(
            &["import", "-", "--trust", "--importer", "build-8", "--json"],
            records(49_000..51_000).into_bytes(),
        );
        assert_eq!(
            (again.code, counts(&again)),
            (0, (json!(1_000), json!(1_000), json!(0))),
            "{}",
            again.stderr
        );
        assert_eq!(world.size(), 51_000);
        world.succeed(&["fsck"]);
    });
}

#[test]
fn blank_lines_may_stand_between_records() {
    let world = World::new();
    let (first, second, third) = (lines(0).to_text(), lines(1).to_text(), lines(2).to_text());
    world.sandbox.write("records.txt", &format!("\n\n{first}{second}\n\n\n{third}"));
    let ran = import(&world, "records.txt", &["--json"]);
    assert_eq!((ran.code, counts(&ran)), (0, (json!(3), json!(0), json!(0))), "{}", ran.stderr);
    world.sandbox.write("empty.txt", "");
    let ran = import(&world, "empty.txt", &["--json"]);
    assert_eq!((ran.code, counts(&ran)), (0, (json!(0), json!(0), json!(0))), "{}", ran.stderr);
}

#[test]
fn a_malformed_stream_is_named_by_its_line_and_keeps_what_came_before() {
    World::both_ways(|world| {
        let good = records(0..9_000);
        let (first, second) = QUOTE.split_once('\n').unwrap();
        let other = QUOTE.replace("v1.5.2/go.mod", "v1.5.1/go.mod");
        let long = format!("{} v1.0.0 ", "a".repeat(5_000));
        // What follows the good records, and which of its lines is wrong.
        let cases = [
            (format!("{first}\n\n{second}\n"), 2, "not two go.sum lines"),
            (
                format!("{first}\n{first}\n"),
                2,
                "the second line is not for the go.mod of rsc.io/quote@v1.5.2",
            ),
            (other, 2, "the second line is not for the go.mod of rsc.io/quote@v1.5.2"),
            (QUOTE.replace("h1:w5", "h1:w"), 1, "malformed hash"),
            (QUOTE.replace("h1:Lz", "h2:Lz"), 2, "malformed hash"),
            (QUOTE.replace('\n', "\r\n"), 1, "malformed hash"),
            (QUOTE.replace("quote v1", "quote  v1"), 1, "not two go.sum lines"),
            (QUOTE.replace("v1.5.2", "v1.5"), 1, "not a module version"),
            (QUOTE.trim_end().to_owned(), 1, "the stream ends within a record"),
            (first.to_owned(), 1, "the stream ends within a record"),
            (long, 1, "a record has more than 4096 bytes"),
        ];
        for (wrong, line, said) in cases {
            world.sandbox.write("records.txt", &format!("{good}{wrong}"));
            let ran = import(world, "records.txt", &["--json"]);
            assert_eq!(ran.code, 2, "{wrong}: {}", ran.stdout);
            let line = 9_000 * 3 + line;
            assert!(ran.stderr.contains(&format!("records.txt:{line}: {said}")), "{wrong}: {}", ran.stderr);
            assert!(ran.stderr.contains("9000 records before it are in the log"), "{}", ran.stderr);
            let report: Value = serde_json::from_str(&ran.stdout).unwrap();
            assert_eq!(report["files"][0]["malformed"]["line"], line);
        }
        assert_eq!(world.size(), 9_000);
        // Repaired, it is imported again as a whole.
        world.sandbox.write("records.txt", &format!("{good}{QUOTE}"));
        let ran = import(world, "records.txt", &["--json"]);
        assert_eq!((ran.code, counts(&ran)), (0, (json!(1), json!(9_000), json!(0))), "{}", ran.stderr);
    });
}

#[test]
fn files_after_a_malformed_one_are_not_touched() {
    let world = World::new();
    world.sandbox.write("a.txt", &records(0..10));
    world.sandbox.write("b.txt", "nonsense\nnonsense\n");
    world.sandbox.write("c.txt", &records(10..20));
    let ran = world.run(&["import", "a.txt", "b.txt", "c.txt", "--trust", "--importer", "x"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("b.txt:1: not two go.sum lines\n  10 records before it"), "{}", ran.stderr);
    assert_eq!(world.size(), 10);
}

#[test]
fn a_record_that_disagrees_is_refused_and_kept_as_an_incident() {
    World::both_ways(|world| {
        world.sandbox.write("records.txt", &records(0..6_000));
        assert_eq!(import(world, "records.txt", &[]).code, 0);
        let wrong = lines_with(5_000, 1).to_text();
        world
            .sandbox
            .write("wrong.txt", &format!("{}{wrong}\n{}", records(4_998..5_000), records(6_000..6_002)));
        let ran = import(world, "wrong.txt", &["--json"]);
        assert_eq!((ran.code, counts(&ran)), (4, (json!(2), json!(2), json!(1))), "{}", ran.stderr);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let expected = json!([{
            "file": "wrong.txt",
            "line": 7,
            "module": lines(5_000).module.to_string(),
            "record": 5_000,
            "standing": lines(5_000).to_text().lines().collect::<Vec<_>>(),
            "offered": wrong.lines().collect::<Vec<_>>(),
        }]);
        assert_eq!(report["conflicts"], expected);
        let incidents = world.incidents();
        assert_eq!(incidents.len(), 1);
        assert_eq!(incidents[0].kind, "hash-conflict");
        assert!(incidents[0].detail.contains(&wrong.replace('\n', "\\n")), "{}", incidents[0].detail);
        assert_eq!(world.size(), 6_002);
    });
}

#[test]
fn an_importer_must_have_a_name() {
    let world = World::new();
    world.sandbox.write("records.txt", &records(0..1));
    for arguments in [
        &["--trust"][..],
        &["--trust", "--importer", " "],
        &["--trust", "--importer", "a\nb"],
        &["--trust", "--importer", &"x".repeat(201)],
    ] {
        let ran = world.run(&[&["import", "records.txt"], arguments].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
    }
    assert!(world.succeed(&["fsck"]).contains("clean; 0 records"));
}

/// Pieces end anywhere: what is read must not depend on it.
#[test]
fn a_stream_is_the_same_in_pieces_of_any_size() {
    let stream = format!("\n{}{}\n\n{}", records(0..5), lines(5).to_text(), lines(6).to_text());
    let parse = |piece_bytes: usize| {
        let evidence = Arc::new(Evidence::Imported { importer: "x".to_owned() });
        let (mut parser, mut records) = (RecordParser::new(evidence), Vec::new());
        for piece in stream.as_bytes().chunks(piece_bytes) {
            parser.feed(piece, &mut records).unwrap();
        }
        parser.end().unwrap();
        records.iter().map(|record| (record.line, record.end)).collect::<Vec<_>>()
    };
    // By counting: a record and the blank line after it are three lines.
    let firsts = [2, 5, 8, 11, 14, 17, 21];
    let whole = parse(stream.len());
    assert_eq!(whole.iter().map(|(line, _)| *line).collect::<Vec<_>>(), firsts);
    assert_eq!(whole[6].1, stream.len() as u64);
    for (line, end) in &whole {
        let text: String =
            stream[..*end as usize].lines().skip(*line as usize - 1).map(|l| format!("{l}\n")).collect();
        assert!(tallystick::gosum::ModuleLines::parse(&text).is_ok(), "{text}");
    }
    for piece_bytes in 1..stream.len() {
        assert_eq!(parse(piece_bytes), whole, "{piece_bytes} bytes at a time");
    }
}
