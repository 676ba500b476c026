//! The status codes of C2SP tlog-witness, from the process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use tallystick::note::{self, CosignatureVerifier};
use tallystick::witness::{MAX_REQUEST_BYTES, origin_hash};

use super::SmallLog;
use crate::attack::connection_from;
use crate::crash::wire::Connection;
use crate::support::web::{get, post};
use crate::support::witness::{WitnessProcess, command};

fn vkey(log: &SmallLog) -> String {
    log.signer().verifier().to_string()
}

fn start(directory: &std::path::Path, logs: &[&SmallLog]) -> WitnessProcess {
    let logs: Vec<_> = logs.iter().map(|log| vkey(log)).collect();
    WitnessProcess::start(&directory.join("w"), "witness.example/w1", &logs)
}

#[test]
fn every_status_code_of_the_specification() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = start(directory.path(), &[&log]);
    let add = |body: &[u8]| post(&witness.url, "/add-checkpoint", body).unwrap();
    let path = format!("/{}/checkpoint", origin_hash("log.example"));
    assert_eq!(get(&witness.url, &path).unwrap().status, 404, "nothing was cosigned");

    let page = add(&log.body(0, 5));
    assert_eq!(page.status, 200, "{}", page.text());
    let key: CosignatureVerifier = witness.vkey.parse().unwrap();
    let whole = log.checkpoint(5) + &page.text();
    assert_eq!(note::open(whole.as_bytes(), &[&key]).unwrap().text, log.text(5));
    let kept = get(&witness.url, &path).unwrap();
    assert_eq!((kept.status, kept.text()), (200, whole));

    let fork = log.forked_at(3);
    for (body, status, content_type, text) in [
        (b"old x\n\n".to_vec(), 400, "text/plain; charset=UTF-8", ""),
        (log.body(6, 5), 400, "text/plain; charset=UTF-8", ""),
        (SmallLog::new("other.example").body(0, 5), 404, "text/plain; charset=UTF-8", ""),
        (log.with_key(7).body(5, 6), 403, "text/plain; charset=UTF-8", ""),
        (log.body(0, 6), 409, "text/x.tlog.size", "5\n"),
        (log.body(4, 4), 409, "text/x.tlog.size", "5\n"),
        (fork.body(0, 5), 409, "text/x.tlog.size", "5\n"),
        (fork.body(5, 5), 409, "text/plain; charset=UTF-8", ""),
        (fork.body(5, 7), 422, "text/plain; charset=UTF-8", ""),
        (vec![b'x'; MAX_REQUEST_BYTES + 1], 413, "text/plain; charset=UTF-8", ""),
    ] {
        let page = add(&body);
        assert_eq!((page.status, page.content_type.as_str()), (status, content_type), "{}", page.text());
        assert!(text.is_empty() || page.text() == text, "{}", page.text());
    }
    assert_eq!(get(&witness.url, "/add-checkpoint").unwrap().status, 405);
    assert_eq!(post(&witness.url, &path, b"").unwrap().status, 405);
    assert_eq!(get(&witness.url, "/").unwrap().status, 404);
    assert_eq!(get(&witness.metrics, "/readyz").unwrap().text(), "ready\n");
    let metrics = get(&witness.metrics, "/metrics").unwrap().text();
    for line in ["tallystick_witness_cosigned_total 1", "tallystick_witness_forks_total 2"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    assert!(witness.stop());

    let run = |action: &str| command(&directory.path().join("w"), &[action, "--json"], &[]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&run("status").stdout).unwrap();
    assert_eq!((status[0]["origin"].as_str(), status[0]["size"].as_u64()), (Some("log.example"), Some(5)));
    let evidence = run("evidence");
    assert_eq!(evidence.status.code(), Some(4), "a person must look");
    let evidence: serde_json::Value = serde_json::from_slice(&evidence.stdout).unwrap();
    assert!(evidence.as_array().unwrap().iter().any(|one| one["kind"] == "fork"), "{evidence}");
}

#[test]
fn one_connection_carries_many_requests() {
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = start(directory.path(), &[&log]);
    let mut stream = TcpStream::connect(witness.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    for size in 1..20 {
        let body = log.body(size - 1, size);
        let head =
            format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"==\n") {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

/// More connections than a witness lets wait, each with a body that never comes.
#[test]
fn bodies_that_do_not_come_keep_nobody_else_from_being_cosigned() {
    const SLOW: usize = 600;
    tallystick::http::listen::raise_descriptor_limit();
    let directory = tempfile::tempdir().unwrap();
    let log = SmallLog::new("log.example");
    let witness = start(directory.path(), &[&log]);
    let address = witness.url.trim_start_matches("http://").parse().unwrap();
    let slow = || {
        let mut connection = connection_from(Ipv4Addr::new(127, 1, 1, 1), address);
        let head = "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold 0\n";
        connection.send(head.as_bytes()).unwrap();
        connection
    };
    let slow: Vec<Connection> = (0..SLOW).map(|_| slow()).collect();
    // All heads are read once one that came after them is answered.
    assert_eq!(get(&witness.url, "/").unwrap().status, 404);
    for size in 1..20 {
        let page = post(&witness.url, "/add-checkpoint", &log.body(size - 1, size)).unwrap();
        assert_eq!(page.status, 200, "{}", page.text());
    }
    drop(slow);
    assert!(witness.stop());
}

#[test]
fn a_key_without_its_memory_and_a_memory_without_its_key_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (log, data) = (SmallLog::new("log.example"), directory.path().join("w"));
    let logs = [vkey(&log)];
    let witness = start(directory.path(), &[&log]);
    assert_eq!(post(&witness.url, "/add-checkpoint", &log.body(0, 5)).unwrap().status, 200);
    let key = witness.vkey.clone();
    let second = command(&data, &["--listen", "127.0.0.1:0"], &logs).output().unwrap();
    assert_eq!(second.status.code(), Some(5), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(witness.stop());
    let refused = |code: i32, says: &str| {
        let output = command(&data, &["--listen", "127.0.0.1:0"], &logs).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says) && said.contains("fix: "), "{said}");
    };
    let memory = data.join("witness.db");
    let bytes = std::fs::read(&memory).unwrap();
    std::fs::remove_file(&memory).unwrap();
    refused(4, "a witness that forgot could sign a second history");
    std::fs::write(&memory, &bytes[..5000]).unwrap();
    refused(4, "cosigns nothing");
    std::fs::write(&memory, &bytes).unwrap();
    std::fs::rename(data.join("keys"), data.join("gone")).unwrap();
    refused(2, "there is no key");
    std::fs::rename(data.join("gone"), data.join("keys")).unwrap();
    let shown = command(&data, &["key"], &[]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&key));
    let again = start(directory.path(), &[&log]);
    assert_eq!(again.vkey, key);
    assert_eq!(post(&again.url, "/add-checkpoint", &log.body(0, 4)).unwrap().text(), "5\n");
}
