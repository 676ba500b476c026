//! Proofs over HTTP, verified by x/mod from the records alone; what has no proof; and what `openapi.json` says of all this.

use serde_json::{Value, json};

use super::*;
use crate::damage::rows::spoil;
use crate::support::raw::run_behind_triggers;
use oracle::Proved;

fn document(page: &Page) -> Value {
    serde_json::from_slice(&page.body).unwrap_or_else(|error| panic!("{error}: {}", page.text()))
}

#[test]
fn every_record_and_pair_of_every_small_tree() {
    if !oracle::is_there("every_record_and_pair_of_every_small_tree") {
        return;
    }
    let directory = LogDirectory::new(NAME, NO_MODULES);
    [1, 7, 40, 70].into_iter().for_each(|size| grow(&directory, size));
    let server = directory.serve();
    // n (n + 1) / 2 of each. Notes: of the trees of 1, 7, 40 and 70 records, for each record and each older tree.
    let proved = oracle::prove_all(&server.vkey, &server.url, None, 0);
    let want = Proved { size: 70, inclusion: 2485, consistency: 2485, notes: 2 * (1 + 7 + 40 + 70) };
    assert_eq!(proved, want);
    server.stop();
}

/// Around the ends of tiles of two levels, and anywhere.
#[test]
fn proofs_of_larger_trees() {
    if !oracle::is_there("proofs_of_larger_trees") {
        return;
    }
    let directory = LogDirectory::new(NAME, NO_MODULES);
    [255, 257, 16_000, 32_000, 48_000, 64_000, 70_000].into_iter().for_each(|size| grow(&directory, size));
    let server = directory.serve();
    let proved = oracle::prove_all(&server.vkey, &server.url, Some(&[255, 256, 257, 513]), 4_000);
    let small = 255 + 256 + 257 + 513;
    assert_eq!((proved.size, proved.inclusion, proved.consistency), (70_000, small + 4_000, small + 4_000));
    assert!(proved.notes >= 2 * (255 + 257), "{proved:?}");
    server.stop();
    // As if an older program, which kept nothing half-way up a tile, had written the first half of it.
    let older = "DELETE FROM tile WHERE tile_id BETWEEN 64 << 48 AND (64 << 48) + 130";
    run_behind_triggers(&directory.data().join("log.db"), older);
    let server = directory.serve();
    let proved = oracle::prove_all(&server.vkey, &server.url, Some(&[]), 1_000);
    assert_eq!((proved.size, proved.inclusion, proved.consistency), (70_000, 1_000, 1_000));
    server.stop();
}

/// As the log grows under the server: what was kept in memory of its right edge is not used for the next tree.
#[test]
fn proofs_while_the_log_grows() {
    if !oracle::is_there("proofs_while_the_log_grows") {
        return;
    }
    let (proxy, paths) = Proxy::of_many("corp.example/m", 5);
    let directory = log_over(&proxy);
    [16_000, 32_000, 48_000, 64_000, 65_535].into_iter().for_each(|size| grow(&directory, size));
    let server = directory.serve();
    for (n, path) in (65_536..).zip(&paths) {
        assert_eq!(server.get(&format!("/lookup/{path}@v1.0.0")).status, 200);
        let proved = oracle::prove_all(&server.vkey, &server.url, Some(&[]), 200);
        assert_eq!((proved.size, proved.inclusion, proved.consistency), (n, 200, 200));
    }
    server.stop();
}

#[test]
fn a_record_is_named_in_three_ways_and_fixed_answers_are_kept() {
    let directory = LogDirectory::new(NAME, NO_MODULES);
    grow(&directory, 300);
    grow(&directory, 5_000);
    let server = directory.serve();
    let inclusion = |query: &str| {
        let page = server.get(&format!("/api/v1/proofs/inclusion?{query}"));
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        document(&page)
    };
    let module = logs::module(4_990).to_string();
    let leaf = logs::leaf(4_990).to_string();
    let by_number = inclusion("record=4990");
    assert_eq!((&by_number["size"], &by_number["leaf"]), (&json!(5_000), &json!(leaf)));
    assert_eq!(by_number["note"], json!(server.get("/latest").text()));
    let hex: String = logs::leaf(4_990).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for query in [
        format!("module={module}"),
        format!("module={}", escaped(&module)),
        format!("module={}&size=5000", module.replace('@', "%40")),
        format!("hash={}", leaf.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")),
        format!("hash={leaf}"),
        format!("hash={hex}"),
        "size=5000&record=4990".to_owned(),
    ] {
        assert_eq!(inclusion(&query), by_number, "{query}");
    }
    // By hash the last 4096 of the tree that is named.
    assert_eq!(inclusion(&format!("hash={}&size=300", logs::leaf(7)))["record"], 7);
    assert_eq!(inclusion(&format!("hash={}", logs::leaf(5_000 - 4_096)))["record"], 904);
    let old = server.get(&format!("/api/v1/proofs/inclusion?hash={}", logs::leaf(903)));
    assert_eq!(old.status, 404);
    assert!(
        document(&old)["detail"].as_str().unwrap().contains("ask for module=PATH@VERSION"),
        "{}",
        old.text()
    );
    // A tree that was never published has a proof and no note.
    let between = inclusion("record=7&size=301");
    assert_eq!((&between["size"], &between["note"]), (&json!(301), &Value::Null));
    assert_eq!(inclusion("record=7&size=300")["note"], document(&server.get("/api/v1/heads/300"))["note"]);
    let pair = document(&server.get("/api/v1/proofs/consistency?from=300"));
    assert_eq!(
        (&pair["from"], &pair["to"], &pair["to_root"]),
        (&json!(300), &json!(5_000), &by_number["root"])
    );
    let same = document(&server.get("/api/v1/proofs/consistency?from=300&to=300"));
    assert_eq!((&same["hashes"], &same["from_root"]), (&json!([]), &same["to_root"]));
    server.stop();
}

/// Questions, the status of the answer, and what it says.
const REFUSED: &[(&str, u16, &str)] = &[
    ("inclusion", 400, "say which"),
    ("inclusion?size=7", 400, "say which"),
    ("inclusion?record=300", 404, "the log has 300 records"),
    ("inclusion?record=300&size=301", 404, "the log has 300 records"),
    ("inclusion?record=7&size=301", 404, "there is no tree of that size yet"),
    ("inclusion?record=7&size=7", 400, "record 7 is not in a tree of size 7"),
    ("inclusion?record=0&size=0", 400, "record 0 is not in a tree of size 0"),
    ("inclusion?record=07", 400, "without leading zeros"),
    ("inclusion?record=-1", 400, "without leading zeros"),
    ("inclusion?record=9223372036854775807", 404, "the log has 300 records"),
    ("inclusion?record=9223372036854775808", 400, "without leading zeros"),
    ("inclusion?record=1&size=9223372036854775807", 404, "there is no tree of that size yet"),
    ("inclusion?record=1&record=1", 400, "given twice"),
    ("inclusion?record=1&hash=x", 400, "one of record, module and hash"),
    ("inclusion?record=1&to=5", 400, "unknown parameter"),
    ("inclusion?module=example.com/unknown@v1.0.0", 404, "no record of example.com/unknown@v1.0.0"),
    ("inclusion?module=example.com/unknown", 400, "module: "),
    ("inclusion?module=%zz", 400, "malformed percent-escape"),
    ("inclusion?module=EXAMPLE.com/!A@v1.0.0", 400, "module: "),
    ("inclusion?hash=", 400, "32 bytes in base64"),
    ("inclusion?hash=AAAA", 400, "32 bytes in base64"),
    ("inclusion?hash=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=", 400, "32 bytes in base64"),
    ("inclusion?hash=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", 404, "no record with this hash"),
    ("inclusion?hash=47DEQpj8HBSa%2B/TImW%2B5JCeuQeRkm5NMpJWZG3hSuFU=&size=301", 404, "there is no tree"),
    ("consistency", 400, "from=SIZE is missing"),
    ("consistency?to=7", 400, "from=SIZE is missing"),
    ("consistency?from=0&to=7", 400, "no proof from size 0"),
    ("consistency?from=8&to=7", 400, "from must not be larger than to"),
    ("consistency?from=301", 400, "from must not be larger than to"),
    ("consistency?from=301&to=302", 404, "there is no tree of that size yet"),
    ("consistency?from=1&to=9223372036854775807", 404, "there is no tree of that size yet"),
    ("consistency?from=1&to=x", 400, "without leading zeros"),
];

#[test]
fn what_has_no_proof_is_refused_with_a_reason() {
    let directory = LogDirectory::new(NAME, NO_MODULES);
    grow(&directory, 300);
    let server = directory.serve();
    for (query, status, why) in REFUSED {
        let page = server.get(&format!("/api/v1/proofs/{query}"));
        let problem = document(&page);
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!((page.status, &problem["status"]), (*status, &json!(status)), "{query}: {problem}");
        assert!(detail.contains(*why), "{query}: {detail}");
        assert!(page.body.len() < 1_000, "{query}: what was sent is not sent back: {problem}");
    }
    server.stop();
}

#[test]
fn several_are_answered_each_in_its_place() {
    let directory = LogDirectory::new(NAME, NO_MODULES);
    grow(&directory, 300);
    let server = directory.serve();
    let module = logs::module(1).to_string();
    let several = |body: &str| web::post(&server.url, "/api/v1/proofs", body.as_bytes()).unwrap();
    let hundred = |count: usize| format!("[{}]", vec!["{\"record\":1}"; count].join(","));
    for (body, status) in [
        ("", 400),
        ("{}", 400),
        ("[1]", 400),
        ("[{\"record\": -1}]", 400),
        ("[{\"record\": 1, \"more\": 1}]", 400),
        (&hundred(101), 413),
        (&format!("[{{\"module\": \"{}\"}}]", "x".repeat(64 << 10)), 413),
        (&hundred(100), 200),
        ("[]", 200),
    ] {
        let page = several(body);
        assert_eq!(page.status, status, "{}", page.text());
    }
    assert_eq!(server.get("/api/v1/proofs").status, 405);
    let body = format!(
        "[{{\"module\": \"{module}\"}}, {{\"record\": 300}}, {{\"record\": 9, \"size\": 9}}, {{\"from\": 8, \"to\": 7}}, {{\"from\": 8}}, {{}}]"
    );
    let answer = document(&several(&body));
    let kinds: Vec<(String, Value)> = answer["proofs"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|one| {
            one.as_object().unwrap().iter().map(|(kind, of)| (kind.clone(), of["status"].clone()))
        })
        .collect();
    let problem = |status: u16| ("problem".to_owned(), json!(status));
    let made = |kind: &str| (kind.to_owned(), Value::Null);
    let want =
        [made("inclusion"), problem(404), problem(400), problem(400), made("consistency"), problem(400)];
    assert_eq!(kinds, want);
    server.stop();
}

#[test]
fn heads_by_time_are_those_that_were_newest_then() {
    let directory = LogDirectory::new(NAME, NO_MODULES);
    let sizes: Vec<u64> = (0..12).map(|n| n * n + 1).collect();
    sizes.iter().for_each(|size| grow(&directory, *size));
    let server = directory.serve();
    let heads = document(&server.get("/api/v1/heads?limit=100"))["heads"].clone();
    let heads: Vec<&Value> = heads.as_array().unwrap().iter().rev().collect();
    assert_eq!(heads.len(), 13, "the empty tree's, too");
    let at = |time: &str| server.get(&format!("/api/v1/heads?at={time}"));
    for (n, head) in heads.iter().enumerate() {
        let time: jiff::Timestamp = head["signed_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(document(&at(&time.to_string()))["heads"], json!([head]), "{time}");
        let before = time - jiff::SignedDuration::from_nanos(1);
        let page = at(&before.to_string());
        match n {
            0 => assert_eq!(page.status, 404, "{}", page.text()),
            _ => assert_eq!(document(&page)["heads"], json!([heads[n - 1]]), "{before}"),
        }
    }
    assert_eq!(at("1999-12-31").status, 404);
    assert_eq!(document(&at("9000-01-01"))["heads"], json!([heads[12]]));
    assert_eq!(document(&at("9000-01-01T00:00:00%2B02:00"))["heads"], json!([heads[12]]));
    server.stop();
}

/// A hash of a stored tile that is not what was signed under makes no proof.
#[test]
fn what_is_damaged_is_not_proved() {
    let directory = LogDirectory::new(NAME, NO_MODULES);
    grow(&directory, 300);
    let zero = "UPDATE segment SET body = CAST(substr(body, 1, 1100) || X'00' || substr(body, 1102) AS BLOB) WHERE segment_id = 3";
    run_behind_triggers(&directory.data().join("log.db"), zero);
    let server = directory.serve();
    let page = server.get("/api/v1/proofs/inclusion?record=50");
    assert_eq!(page.status, 500, "{}", page.text());
    assert_eq!(
        server.get("/api/v1/proofs/inclusion?record=290&size=300").status,
        500,
        "its tile is in the path"
    );
    server.stop();
}

/// What is stored of a tile half-way up is no more believed than its leaves are.
#[test]
fn a_damaged_subtree_proves_nothing() {
    let directory = LogDirectory::new(NAME, NO_MODULES);
    grow(&directory, 600);
    spoil(&directory.data().join("log.db"), "tile", "body", "tile_id = (64 << 48) + 1", |body| {
        body[8 + 3 * 32] ^= 1;
        let sum = xxhash_rust::xxh3::xxh3_64(&body[8..]).to_le_bytes();
        body[..8].copy_from_slice(&sum);
    });
    let server = directory.serve();
    // The fourth subtree is beside the path of record 290, and does not lie on that of record 40.
    let status = |query: &str| server.get(&format!("/api/v1/proofs/{query}")).status;
    let newest = ["inclusion?record=40", "inclusion?record=580", "inclusion?record=290"];
    assert_eq!(newest.map(status), [200, 200, 500]);
    // No root was signed for these sizes: what is stored above must have been made from the same sixteen.
    let unsigned = [
        "inclusion?record=40&size=300",
        "inclusion?record=290&size=513",
        "inclusion?record=40&size=513",
        "consistency?from=256&to=300",
        "consistency?from=320&to=513",
        "consistency?from=513&to=600",
    ];
    assert_eq!(unsigned.map(status), [500, 500, 200, 500, 500, 200]);
    server.stop();
}

/// Where the right edge cannot be read, what lies to the left of it is proved as before.
#[test]
fn a_damaged_right_edge_is_missed_by_nothing_else() {
    let directory = LogDirectory::new(NAME, NO_MODULES);
    grow(&directory, 600);
    let asked = [
        "inclusion?record=40&size=300",
        "inclusion?record=300&size=512",
        "consistency?from=100&to=512",
        "inclusion?record=520&size=560",
        "consistency?from=512&to=600",
        "inclusion?record=40",
    ];
    let answers = || {
        let server = directory.serve();
        let answers = asked.map(|query| server.get(&format!("/api/v1/proofs/{query}")));
        server.stop();
        answers
    };
    let before = answers();
    spoil(&directory.data().join("log.db"), "tail", "body", "record_id = 590", |body| body[20] ^= 1);
    let after = answers();
    assert_eq!(before.each_ref().map(|answer| answer.status), [200; 6]);
    assert_eq!(after.each_ref().map(|answer| answer.status), [200, 200, 200, 500, 500, 500]);
    let bodies = |answers: &[Page; 6]| answers[..3].iter().map(Page::text).collect::<Vec<_>>();
    assert_eq!(bodies(&before), bodies(&after));
}
