//! The HTTP faces under the real listener, with a log that is faked: every status and header of protocol.md.
// clippy.toml allows unwrap in test functions; their helpers are tests as well.
#![allow(clippy::unwrap_used)]

mod api;
mod fake;
mod go;
mod limits;
mod metrics;
mod nginx;
mod tls;

use fake::{HIT, NOTE, Setup, TestServer};
use tallystick::http::Client;
use tallystick::http::sumdb::{Registry, find, percent_decode};

const TEXT: &str = "text/plain; charset=UTF-8";
const BYTES: &str = "application/octet-stream";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const RECORD: &str = "public, max-age=3600";
const MINUTE: &str = "public, max-age=60";

#[derive(Clone, Copy)]
struct Row {
    path: &'static str,
    status: u16,
    content_type: &'static str,
    cache_control: &'static str,
    body: &'static str,
}

const fn row(
    path: &'static str,
    status: u16,
    content_type: &'static str,
    cache_control: &'static str,
    body: &'static str,
) -> Row {
    Row { path, status, content_type, cache_control, body }
}

const NO_SUCH_PATH: &str = "not found: no such path or checksum database on this server\n";
const NO_TILE: &str = "not found: the log has no such tile\n";
const BAD_TILE: &str = "invalid tile syntax\n";
const BAD_LOOKUP: &str = "invalid module@version syntax\n";

/// The table of protocol.md, and what each endpoint does not accept.
const ROWS: &[Row] = &[
    row("/latest", 200, TEXT, "no-cache", NOTE),
    row("/latest?x=y", 200, TEXT, "no-cache", NOTE),
    row("/lookup/example.com/hit@v1.0.0", 200, TEXT, RECORD, HIT),
    row("/lookup/example.com/new@v1.0.0", 200, TEXT, RECORD, "1\nnew\n"),
    row("/lookup/github.com/!burnt!sushi/toml@v1.3.2-!r!c1", 200, TEXT, RECORD, "unescaped"),
    row("/lookup/github.com/%21burnt%21sushi/toml%40v1.3.2-!r!c1", 200, TEXT, RECORD, "unescaped"),
    row("/lookup/github.com%2F!burnt!sushi/toml@v1.3.2-!r!c1", 200, TEXT, RECORD, "unescaped"),
    row("/%6c%6Fokup/example.com/hit@v1.0.0", 200, TEXT, RECORD, HIT),
    row("/tile/8/data/000.p/2", 200, TEXT, IMMUTABLE, "a b h1:c\n\na b h1:c\n\n"),
    row("/sumdb/sum.corp.example/own/supported", 200, TEXT, "public, max-age=86400", ""),
    row("/sumdb/sum.corp.example/own/latest", 200, TEXT, "no-cache", NOTE),
    row("/sumdb/sum.corp.example/own/lookup/example.com/hit@v1.0.0", 200, TEXT, RECORD, HIT),
    row("/sumdb/tile.example/supported", 200, TEXT, "public, max-age=86400", ""),
    row("/sumdb/tile.example/tile/8/data/000.p/1", 200, TEXT, IMMUTABLE, "a b h1:c\n\n"),
    row("/sumdb/sum%2ecorp.example%2Fown/latest", 200, TEXT, "no-cache", NOTE),
    // Refusals of the notary.
    row(
        "/lookup/example.com/no@v1.0.0",
        404,
        TEXT,
        MINUTE,
        "example.com/no@v1.0.0: the first line\nand the remedy \\u{7}\n",
    ),
    row(
        "/lookup/example.com/brief@v1.0.0",
        404,
        TEXT,
        "public, max-age=5",
        "example.com/brief@v1.0.0: the first line\nand the remedy \\u{7}\n",
    ),
    row(
        "/lookup/example.com/forbidden@v1.0.0",
        403,
        TEXT,
        "no-store",
        "example.com/forbidden@v1.0.0: the first line\nand the remedy \\u{7}\n",
    ),
    row(
        "/lookup/example.com/conflict@v1.0.0",
        409,
        TEXT,
        "no-store",
        "example.com/conflict@v1.0.0: the first line\nand the remedy \\u{7}\n",
    ),
    row(
        "/lookup/example.com/busy@v1.0.0",
        503,
        TEXT,
        "no-store",
        "example.com/busy@v1.0.0: the first line\nand the remedy \\u{7}\n",
    ),
    row(
        "/lookup/example.com/broken@v1.0.0",
        500,
        TEXT,
        "no-store",
        "example.com/broken@v1.0.0: the first line\nand the remedy \\u{7}\n",
    ),
    // Tiles.
    row("/tile/8/0/005", 404, TEXT, MINUTE, NO_TILE),
    row("/tile/8/data/001", 404, TEXT, MINUTE, NO_TILE),
    row("/tile/8/63/000", 404, TEXT, MINUTE, NO_TILE),
    row("/tile/1/0/000", 404, TEXT, MINUTE, NO_TILE),
    row("/tile/30/0/000.p/5", 404, TEXT, MINUTE, NO_TILE),
    row("/tile/0/0/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/31/0/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/64/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/-1/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/08/0/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/00/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/0", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/x000/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/000.p/0", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/000.p/256", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/000.p/01", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/000/", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/../0/000", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/%30%30", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/000%00", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/8/0/%zz0", 400, TEXT, "no-store", BAD_TILE),
    row("/tile/", 400, TEXT, "no-store", BAD_TILE),
    row("/sumdb/tile.example/tile/8/0/0", 400, TEXT, "no-store", BAD_TILE),
    // Look-ups.
    row("/lookup/", 400, TEXT, "no-store", BAD_LOOKUP),
    row("/lookup/example.com/hit", 400, TEXT, "no-store", BAD_LOOKUP),
    row("/lookup/example.com/hit@latest", 400, TEXT, "no-store", BAD_LOOKUP),
    row("/lookup/example.com/hit@v1.0.0@v1.0.0", 400, TEXT, "no-store", BAD_LOOKUP),
    row("/lookup/example.com/hit%2540v1.0.0", 400, TEXT, "no-store", BAD_LOOKUP),
    row("/lookup/example.com/hit@v1.0.0%", 400, TEXT, "no-store", BAD_LOOKUP),
    row("/lookup/example.com/h%ffit@v1.0.0", 400, TEXT, "no-store", BAD_LOOKUP),
    row("/lookup/example.com/hit@v1.0.0+meta", 400, TEXT, "no-store", BAD_LOOKUP),
    // Damage and absence: nothing of the cause reaches the client.
    row(
        "/tile/8/1/000",
        500,
        TEXT,
        "no-store",
        "internal error: the checksum database cannot read this tile\nIts stored copy is damaged. Tell the operator of \
         this server, whose log has the details.\n",
    ),
    row(
        "/tile/8/1/001",
        503,
        TEXT,
        "no-store",
        "the checksum database cannot read this tile at the moment\nTry again in a few seconds.\n",
    ),
    row(
        "/lookup/example.com/damaged@v1.0.0",
        500,
        TEXT,
        "no-store",
        "internal error: the checksum database cannot read this record\nIts stored copy is damaged. Tell the operator of \
         this server, whose log has the details.\n",
    ),
    row(
        "/lookup/example.com/away@v1.0.0",
        503,
        TEXT,
        "no-store",
        "the checksum database cannot read this record at the moment\nTry again in a few seconds.\n",
    ),
    // Names and paths that are not known.
    row("/", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/latest/", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("//latest", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/LATEST", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/lookup", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/supported", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/sum.golang.org/supported", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/sum.corp.example/supported", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/sum.corp.example/ownx/latest", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/sum.corp.example/own", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/sum.corp.example/own/", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/sum.corp.example/own/supported/", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb//latest", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/../latest", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/sumdb/http://169.254.169.254/latest", 404, TEXT, MINUTE, NO_SUCH_PATH),
    row("/x%", 400, TEXT, "no-store", "invalid percent-escape in the URL\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_row_for_get_and_head() {
    let server = TestServer::start().await;
    for row in ROWS {
        let get = server.get(row.path).await;
        assert_eq!(get.status, row.status, "{}: {get:?}", row.path);
        assert_eq!(get.header("content-type"), Some(row.content_type), "{}", row.path);
        assert_eq!(get.header("cache-control"), Some(row.cache_control), "{}", row.path);
        assert_eq!(get.body, row.body, "{}", row.path);
        let head = server.ask("HEAD", row.path, &[]).await;
        let without_date = |reply: &fake::Reply| {
            let mut headers = reply.headers.clone();
            headers.retain(|(name, _)| name != "date");
            headers.sort();
            headers
        };
        assert_eq!(head.status, row.status, "HEAD {}", row.path);
        assert_eq!(without_date(&head), without_date(&get), "HEAD {}", row.path);
        assert_eq!(
            head.header("content-length"),
            Some(row.body.len().to_string().as_str()),
            "HEAD {}",
            row.path
        );
        assert_eq!(head.body, "", "HEAD {}", row.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_tiles_are_bytes_and_immutable_in_every_width() {
    let server = TestServer::start().await;
    for (path, bytes) in [
        ("/tile/8/0/000", 8192),
        ("/tile/8/0/000.p/1", 32),
        ("/tile/8/0/000.p/255", 8160),
        ("/tile/8/0/x001/234.p/5", 160),
        ("/tile/8/0/x001%2F234.p/5", 160),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.body.len()), (200, bytes), "{path}");
        assert_eq!(reply.header("content-type"), Some(BYTES), "{path}");
        assert_eq!(reply.header("cache-control"), Some(IMMUTABLE), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_versions_are_400_and_say_why_in_a_second_line() {
    let server = TestServer::start().await;
    for path in [
        "/lookup/example.com/Hit@v1.0.0",
        "/lookup/example.com/hit@v1.0.0-RC1",
        "/lookup/example.com/!!hit@v1.0.0",
        "/lookup/example.com/hit@v1.0.0/go.mod",
        "/lookup/example.com/hit@v2.0.0",
        "/lookup/example.com/hit/v2@v1.0.0",
        "/lookup/../../etc/passwd@v1.0.0",
        "/lookup/example.com/hit%00@v1.0.0",
        "/lookup/example.com//hit@v1.0.0",
    ] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
        assert!(reply.body.starts_with(BAD_LOOKUP), "{path}: {reply:?}");
        assert_eq!(reply.body.lines().count(), 2, "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some(TEXT), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_asked_again_by_its_etag() {
    let server = TestServer::start().await;
    let first = server.get("/latest").await;
    let etag = first.header("etag").expect("an ETag").to_owned();
    for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        for method in ["GET", "HEAD"] {
            let reply = server.ask(method, "/latest", &[("If-None-Match", &known)]).await;
            assert_eq!((reply.status, reply.body.as_str()), (304, ""), "{method} {known}");
            assert_eq!(reply.header("etag"), Some(etag.as_str()));
            assert_eq!(reply.header("cache-control"), Some("no-cache"));
        }
    }
    server.log.publish("another note");
    let reply = server.ask("GET", "/latest", &[("If-None-Match", &etag)]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "another note"));
    assert_ne!(reply.header("etag"), Some(etag.as_str()));
    let other = server.get("/sumdb/tile.example/latest").await;
    assert_eq!(other.header("etag"), Some(etag.as_str()), "the other log still has the first note");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_get_and_head() {
    let server = TestServer::start().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in
            ["/latest", "/lookup/example.com/hit@v1.0.0", "/tile/8/0/000", "/sumdb/tile.example/supported"]
        {
            let reply = server.ask(method, path, &[]).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD"), "{method} {path}");
            assert_eq!(reply.body, "only GET and HEAD are answered here\n", "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_carry_when_to_try_again() {
    let server = TestServer::start().await;
    let busy = server.get("/lookup/example.com/busy@v1.0.0").await;
    assert_eq!(busy.header("retry-after"), Some("7"), "6.5 s, rounded up");
    let away = server.get("/lookup/example.com/away@v1.0.0").await;
    assert_eq!(away.header("retry-after"), Some("5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_takes_too_long_is_told_so() {
    let deadline = std::time::Duration::from_millis(20);
    let server = Setup { lookup_deadline: Some(deadline), ..Setup::default() }.start().await;
    let reply = server.get("/lookup/example.com/slow@v1.0.0").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")));
    let text = "looking up example.com/slow@v1.0.0 took longer than 0.02 s\nThe server may still be at it: try again in a moment.\n";
    assert_eq!(reply.body, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_one_500_and_no_more() {
    let server = TestServer::start().await;
    let mut stream = server.connect().await;
    for (path, status) in [("/lookup/example.com/panic@v1.0.0", 500), ("/latest", 200)] {
        tokio::io::AsyncWriteExt::write_all(&mut stream, fake::get_request(path).as_bytes()).await.unwrap();
        let reply = fake::next_reply(&mut stream).await;
        assert_eq!(reply.status, status, "on the same connection: {reply:?}");
        assert!(!reply.body.contains("as the test wants it"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_whom_a_trusted_proxy_names() {
    // What the log must ask for, and what it has at hand.
    let (whoami, whose) = ("/lookup/example.com/whoami@v1.0.0", "/lookup/example.com/whose@v1.0.0");
    let forwarded = [("X-Forwarded-For", "6.6.6.6, 192.0.2.7")];
    let server = TestServer::start().await;
    for path in [whoami, whose] {
        assert_eq!(server.ask("GET", path, &forwarded).await.body, "127.0.0.1", "{path}");
    }
    let server = Setup { trusted_proxies: &["127.0.0.0/8"], ..Setup::default() }.start().await;
    for path in [whoami, whose] {
        assert_eq!(server.ask("GET", path, &forwarded).await.body, "192.0.2.7", "{path}");
        assert_eq!(server.get(path).await.body, "127.0.0.1", "{path}");
    }
}

/// Bytes that hyper itself refuses, and some that it lets through.
#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_on_the_wire_harm_the_server() {
    let server = TestServer::start().await;
    let mut requests: Vec<Vec<u8>> = vec![
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET  HTTP/1.1\r\n\r\n".to_vec(),
        b"GET latest HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET http://evil.example/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_vec(),
        b"GET /latest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ];
    for byte in 0..=255 {
        for place in ["/lookup/example.com/h", "/tile/8/0/00", "/sumdb/tile.example", "/"] {
            let mut request = format!("GET {place}").into_bytes();
            request.push(byte);
            request.extend_from_slice(b"@v1.0.0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            requests.push(request);
        }
    }
    for request in requests {
        let mut stream = server.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
        // What is no whole request is followed by the end of our side.
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let bytes = fake::until_closed(&mut stream).await;
        let answer = String::from_utf8_lossy(&bytes);
        let known = ["HTTP/1.1 400 ", "HTTP/1.1 404 ", "HTTP/1.1 405 ", "HTTP/1.1 505 "];
        let fine =
            answer.is_empty() || known.iter().any(|status| answer.starts_with(status)) || bytes[0] == 0;
        assert!(fine, "{:?} was answered {answer:?}", String::from_utf8_lossy(&request));
    }
    assert_eq!(server.get("/latest").await.status, 200);
}

proptest::proptest! {
    /// No path makes the router or a parser panic, whatever was in its escapes.
    #[test]
    fn any_path_is_answered(path in "(/sumdb/tile.example|/sumdb|)?(/lookup/|/tile/8/|/latest|/)(%[0-9a-fA-F]{2}|\\PC|[@/.!%x0-9]){0,40}") {
        let registry = Registry::new(fake::FakeLog::new("sum.corp.example/own"), vec![fake::FakeLog::new("tile.example")]);
        let decoded = percent_decode(&path);
        if let Some((sumdb, ask)) = decoded.as_deref().ok().and_then(|path| registry.route(path)) {
            let client = Client { address: std::net::Ipv4Addr::LOCALHOST.into() };
            let _ = find(&**sumdb, ask, &client, &axum::http::HeaderMap::new());
        }
    }
}
