//! `POST /hooks/mirror/<name>`: what a right signature does, and that nothing else does anything or tells anything: wrong and
//! borrowed signatures, replays at a high rate, bodies that are huge, endless or slow.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::served::{PATIENCE, mirroring};
use super::small_log::{NAME, SmallLog};
use super::*;
use crate::support::poll;
use crate::support::serve::{LogDirectory, Server};

/// GitHub's own example: "Testing the webhook payload validation" in "Validating webhook deliveries".
const SECRET: &str = "It's a Secret to Everybody";
const PAYLOAD: &[u8] = b"Hello, World!";
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

/// A mirror with a hook that is asked once a day without it, and one without a hook.
fn hooked(log: &SmallLog, url: &str, mode: &str) -> LogDirectory {
    let more = format!(
        "mode = \"{mode}\"\npoll = \"24h\"\nhook_secret_file = \"hook.secret\"\n\
         [sumdb.\"sum.golang.org\"]\nmode = \"heads\"\npoll = \"24h\"\nurls = [\"http://127.0.0.1:1\"]"
    );
    let directory = mirroring(log, url, &more);
    secret(&directory, 0o600);
    directory
}

fn secret(directory: &LogDirectory, mode: u32) {
    let path = directory.config().with_file_name("hook.secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The whole answer, without what differs each time.
fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8(answer).unwrap();
    text.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:")).collect::<Vec<_>>().join("\n")
}

fn send(server: &Server, name: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = connect(server);
    let head = format!(
        "POST /hooks/mirror/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    read(stream)
}

fn signed(server: &Server, name: &str) -> String {
    send(server, name, &format!("X-Hub-Signature-256: {SIGNATURE}\r\n"), PAYLOAD)
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

fn heads_asked(upstream: &HostileServer) -> usize {
    upstream.paths().iter().filter(|path| *path == "/latest").count()
}

#[test]
fn a_signed_request_has_the_newest_head_asked_for() {
    for (mode, at_start) in [("heads", 1), ("on-demand", 0)] {
        let log = SmallLog::new(700);
        let upstream = log.serve();
        let directory = hooked(&log, &upstream.url(), mode);
        let server = directory.serve();
        poll("the start", PATIENCE, || (heads_asked(&upstream) == at_start).then_some(()));
        for more in 1..=2 {
            let answer = signed(&server, NAME);
            assert_eq!(status_of(&answer), 202, "{answer}");
            poll("the head is asked for", PATIENCE, || {
                (heads_asked(&upstream) == at_start + more).then_some(())
            });
        }
        assert_eq!(server.log_metric("mirror_size", NAME), 700);
        server.stop();
    }
}

/// What GitLab, Gitea and Forgejo send, with the same secret and body as GitHub's example.
#[test]
fn other_hosts_signatures_are_taken_too() {
    let log = SmallLog::new(7);
    let upstream = log.serve();
    let directory = hooked(&log, &upstream.url(), "heads");
    let server = directory.serve();
    let digits = SIGNATURE.strip_prefix("sha256=").unwrap();
    let now = jiff::Timestamp::now().as_second();
    let standard = |at: i64| {
        let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
        hmac::Mac::update(&mut mac, &[format!("msg_1.{at}.").as_bytes(), PAYLOAD].concat());
        let signature = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            hmac::Mac::finalize(mac).into_bytes(),
        );
        format!("webhook-id: msg_1\r\nwebhook-timestamp: {at}\r\nwebhook-signature: v1,{signature}\r\n")
    };
    for (headers, status) in [
        (format!("X-Gitlab-Event: Tag Push Hook\r\nX-Gitlab-Token: {SECRET}\r\n"), 202),
        (format!("X-Gitea-Event: push\r\nX-Gitea-Signature: {digits}\r\n"), 202),
        (format!("X-Forgejo-Signature: {digits}\r\nX-Hub-Signature-256: {SIGNATURE}\r\n"), 202),
        (standard(now), 202),
        ("X-Gitlab-Token: \r\n".to_owned(), 401),
        ("X-Gitlab-Token: it's a secret to everybody\r\n".to_owned(), 401),
        ("X-Gitea-Signature: \r\nX-Hub-Signature-256: sha256=\r\n".to_owned(), 401),
        (standard(now - 400), 401),
        (standard(now + 400), 401),
    ] {
        let answer = send(&server, NAME, &headers, PAYLOAD);
        assert_eq!(status_of(&answer), status, "{headers}: {answer}");
    }
    let printed = server.printed();
    assert_eq!(
        printed.matches("its signature is right, but its time is more than 300 s").count(),
        2,
        "{printed}"
    );
    assert!(!printed.contains(SECRET), "{printed}");
    server.stop();
}

/// A name that does not exist, one without a hook, and every wrong signature are answered in the same bytes.
#[test]
fn everything_else_is_refused_in_the_same_words() {
    let log = SmallLog::new(7);
    let upstream = log.serve();
    let directory = hooked(&log, &upstream.url(), "heads");
    let server = directory.serve();
    poll("the start", PATIENCE, || (heads_asked(&upstream) == 1).then_some(()));
    let header = |value: &str| format!("X-Hub-Signature-256: {value}\r\n");
    let right = header(SIGNATURE);
    let digits = SIGNATURE.strip_prefix("sha256=").unwrap();
    let flipped = SIGNATURE.replace("7571", "7572");
    let refused = send(&server, NAME, "", PAYLOAD);
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.ends_with("\nno valid signature"), "{refused}");
    for (name, headers, body) in [
        (NAME, header(&flipped), PAYLOAD),
        (NAME, header(digits), PAYLOAD),
        (NAME, header(&format!("sha1={digits}")), PAYLOAD),
        (NAME, header(&SIGNATURE[..SIGNATURE.len() - 2]), PAYLOAD),
        (NAME, header(&format!("{SIGNATURE}00")), PAYLOAD),
        (NAME, header("sha256="), PAYLOAD),
        (NAME, header(&format!("sha256={}", "0".repeat(64))), PAYLOAD),
        (NAME, right.repeat(2), PAYLOAD),
        (NAME, format!("X-Hub-Signature: {SIGNATURE}\r\n"), PAYLOAD),
        (NAME, right.clone(), b"Hello, World?"),
        (NAME, right.clone(), b""),
        (NAME, right.clone(), b"Hello, World!\n"),
        ("sum.golang.org", right.clone(), PAYLOAD),
        ("sum.corp.example", right.clone(), PAYLOAD),
        ("sum.nobody.example", right.clone(), PAYLOAD),
        ("sum.nobody.example", String::new(), PAYLOAD),
        ("", right.clone(), PAYLOAD),
        ("sum.test.example/", right.clone(), PAYLOAD),
        ("../sum.test.example", right.clone(), PAYLOAD),
        ("SUM.TEST.EXAMPLE", right, PAYLOAD),
    ] {
        assert_eq!(send(&server, name, &headers, body), refused, "{name} {headers} {body:?}");
    }
    let page = server.get(&format!("/hooks/mirror/{NAME}"));
    assert_eq!(page.status, 405);
    assert_eq!(server.get("/hooks/mirror/sum.nobody.example").status, 405);
    // The name as it is percent-encoded is the same name, and is heard.
    assert_eq!(status_of(&signed(&server, &NAME.replace('.', "%2e"))), 202);
    poll("the head is asked for", PATIENCE, || (heads_asked(&upstream) == 2).then_some(()));
    server.stop();
}

#[test]
fn replays_are_limited_and_cost_the_log_one_request_a_second() {
    let log = SmallLog::new(7);
    let upstream = log.serve();
    let directory = hooked(&log, &upstream.url(), "heads");
    let server = directory.serve();
    poll("the start", PATIENCE, || (heads_asked(&upstream) == 1).then_some(()));
    let started = Instant::now();
    let answers: Vec<u16> = (0..300).map(|_| status_of(&signed(&server, NAME))).collect();
    let heard = answers.iter().filter(|status| **status == 202).count();
    let passed = started.elapsed().as_secs() as usize;
    assert!((60..=61 + passed).contains(&heard), "{heard} of 300 in {passed} s");
    assert!(answers.iter().all(|status| [202, 429].contains(status)), "{answers:?}");
    let later = signed(&server, NAME);
    assert!(
        later.starts_with("HTTP/1.1 429 ") && later.to_ascii_lowercase().contains("\nretry-after: 1\n"),
        "{later}"
    );
    // The limit is the same for names that do not exist: it tells nothing.
    assert_eq!(signed(&server, "sum.nobody.example"), later);
    assert!(heads_asked(&upstream) <= 2 + started.elapsed().as_secs() as usize, "{}", heads_asked(&upstream));
    assert_eq!(server.get("/latest").status, 200, "nobody else is limited");
    server.stop();
}

#[test]
fn huge_and_endless_bodies_are_cut() {
    let log = SmallLog::new(7);
    let upstream = log.serve();
    let directory = hooked(&log, &upstream.url(), "heads");
    let server = directory.serve();
    for name in [NAME, "sum.nobody.example"] {
        let mut stream = connect(&server);
        let head =
            format!("POST /hooks/mirror/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000000\r\n\r\nabc");
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read(stream);
        assert_eq!(status_of(&answer), 413, "at once: {answer}");
        let mut stream = connect(&server);
        let head =
            format!("POST /hooks/mirror/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        // More than is read. The server may be gone before all of it is sent.
        let sent = (0..17).take_while(|_| stream.write_all(&chunk).is_ok()).count();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("after {sent} chunks: {error}"));
        assert_eq!(&answer, b"HTTP/1.1 413");
        // As large as is allowed, and not signed.
        let answer = send(&server, name, "", &vec![b'x'; 1 << 20]);
        assert_eq!(status_of(&answer), 401, "{answer}");
        assert_eq!(status_of(&send(&server, name, "", &vec![b'x'; (1 << 20) + 1])), 413);
    }
    server.stop();
}

#[test]
fn slow_bodies_are_cut_and_nobody_waits_for_them() {
    let log = SmallLog::new(7);
    let upstream = log.serve();
    let directory = hooked(&log, &upstream.url(), "on-demand");
    let server = directory.serve();
    let slow: Vec<TcpStream> = (0..40)
        .map(|n| {
            let mut stream = connect(&server);
            let name = if n % 2 == 0 { NAME } else { "sum.nobody.example" };
            let head = format!(
                "POST /hooks/mirror/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 13\r\nX-Hub-Signature-256: {SIGNATURE}\r\n\r\nHello"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(status_of(&signed(&server, NAME)), 202);
    assert_eq!(server.get(&format!("/sumdb/{NAME}/supported")).status, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for stream in slow {
        let answer = read(stream);
        assert_eq!(status_of(&answer), 408, "{answer}");
    }
    poll("the head is asked for", PATIENCE, || (heads_asked(&upstream) == 1).then_some(()));
    server.stop();
}

#[test]
fn without_a_usable_secret_the_server_does_not_start() {
    let log = SmallLog::new(7);
    let directory = hooked(&log, "file:///nonexistent", "heads");
    let config = directory.config();
    let serve = || {
        let arguments = ["serve", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        crate::cli::Sandbox::new().run(&[&arguments[..], &["--metrics-listen", "127.0.0.1:0"]].concat())
    };
    secret(&directory, 0o644);
    let ran = serve();
    assert!(
        ran.code == 2
            && ran.stderr.contains("has mode 0644: others can read or replace the secret\n  fix: chmod 600"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains(&format!("sumdb.{NAME}.hook_secret_file")) && !ran.stderr.contains(SECRET),
        "{}",
        ran.stderr
    );
    std::fs::remove_file(config.with_file_name("hook.secret")).unwrap();
    assert_eq!(serve().code, 2);
}

/// Without any hook the path is one like any other that does not exist.
#[test]
fn without_hooks_there_is_no_such_path() {
    let log = SmallLog::new(7);
    let directory = mirroring(&log, "file:///nonexistent", "");
    let server = directory.serve();
    assert_eq!(server.get(&format!("/hooks/mirror/{NAME}")).status, 404);
    assert!([404, 405].contains(&status_of(&signed(&server, NAME))));
    server.stop();
}
