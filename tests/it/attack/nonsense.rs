//! Requests that are none: wrong lines, wrong bytes, wrong lengths, paths that lead elsewhere.

use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use super::Target;
use crate::crash::campaign::{Random, Tally, seed, times};
use crate::crash::wire::Connection;

/// A head may take ten seconds: a server that has said nothing after this long has forgotten its client.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends bytes, and the end of the stream. The status of each answer that comes until the server closes.
fn send(address: SocketAddr, bytes: &[u8]) -> Result<Vec<u16>, String> {
    let mut connection = Connection::open(address).map_err(|error| error.to_string())?;
    connection.socket().set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    // The server may have answered and closed before everything is sent.
    let _ = connection.send(bytes);
    let _ = connection.socket().shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match connection.socket().take(1 << 20).read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(format!("no end of the answer: {error}")),
    }
    let text = String::from_utf8_lossy(&answer);
    Ok(text.split("HTTP/1.1 ").skip(1).filter_map(|part| part.get(..3)?.parse().ok()).collect())
}

fn request(path: &[u8]) -> Vec<u8> {
    [b"GET ", path, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat()
}

/// What is wrong with a request that is not about a path.
fn malformed() -> Vec<Vec<u8>> {
    let long = |bytes: usize| "x".repeat(bytes);
    let texts = [
        String::new(),
        "\r\n\r\n\r\n".to_owned(),
        "GET".to_owned(),
        "GET /latest".to_owned(),
        "GET /latest\r\n\r\n".to_owned(),
        "GET  /latest  HTTP/1.1\r\n\r\n".to_owned(),
        "get /latest HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /latest HTTP/0.9\r\n\r\n".to_owned(),
        "GET /latest HTTP/3.0\r\n\r\n".to_owned(),
        "GET /latest HTTP/1.1\r\n\r\n".to_owned(),
        "GET /latest HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /latest HTTP/1.1\nHost: x\n\n".to_owned(),
        "GET /latest HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(),
        "GET /latest HTTP/1.1\r\n: x\r\n\r\n".to_owned(),
        "GET /latest HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n".to_owned(),
        "GET /latest HTTP/1.1\r\nHost: x\0y\r\n\r\n".to_owned(),
        "GET http://other.example/latest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        "GET other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "TRACE /latest HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("{} /latest HTTP/1.1\r\n\r\n", long(10_000)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(1 << 20)),
        format!("GET /latest HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", long(1 << 20)),
        format!("GET /latest HTTP/1.1\r\nHost: x\r\n{}: x\r\n\r\n", long(100_000)),
        format!("GET /latest HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: x\r\n".repeat(10_000)),
        "POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
        "POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef".to_owned(),
        "POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "POST /latest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_owned(),
        "POST /latest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        format!("POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n{}", long(4_000_000)),
        "GET /latest HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n".to_owned(),
        format!("GET /latest HTTP/1.1\r\nHost: x\r\nRange: bytes={}\r\nConnection: close\r\n\r\n", "0-1,".repeat(1_000)),
        format!("GET /latest HTTP/1.1\r\nHost: x\r\nIf-None-Match: {}\r\nConnection: close\r\n\r\n", "\"x\",".repeat(3_000)),
    ];
    let mut requests: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    // A TLS client, an SSH client, a terminal, HTTP/2 that ends in the middle, and no protocol at all.
    requests.push([&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[0x5a; 200]].concat());
    requests.push(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec());
    requests.push(vec![0xff; 5_000]);
    requests.push(vec![0; 5_000]);
    requests.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec());
    requests.push(b"PRI * HTTP/2.0\r\n\r\n".to_vec());
    requests
}

fn strange_paths() -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = [
        "/tile/8/0/../../../../etc/passwd",
        "/../../etc/passwd",
        "/lookup/../../etc/passwd@v1.0.0",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/tile/8/0/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/tile/8/data/../../log.db",
        "//etc/passwd",
        "/lookup//etc/passwd@v1.0.0",
        "/lookup/crash.example/%00@v1.0.0",
        "/lookup/%00",
        "/lookup/@",
        "/lookup/@v1.0.0",
        "/lookup/a@",
        "/lookup/a@v1.0.0@v1.0.0",
        "/lookup/!@v1.0.0",
        "/lookup/!!a@v1.0.0",
        "/lookup/A@v1.0.0",
        "/lookup/crash.example/x@v1.0.0/go.mod",
        "/lookup/crash.example/x@v1",
        "/lookup/crash.example/x@latest",
        "/lookup/crash.example/x@v99999999999999999999999999.0.0",
        "/lookup/crash.example/\\x@v1.0.0",
        "/lookup/crash.example/x@v1.0.0%0d%0aSet-Cookie:%20x",
        "/lookup/con/aux/nul@v1.0.0",
        "/lookup/crash.example/.git/config@v1.0.0",
        "/lookup/localhost/x@v1.0.0",
        "/lookup/169.254.169.254/x@v1.0.0",
        "/lookup/[::1]/x@v1.0.0",
        "/tile/8/0/000.p/0",
        "/tile/8/0/000.p/256",
        "/tile/8/0/000.p/-1",
        "/tile/8/0/x000/000",
        "/tile/8/64/000",
        "/tile/8/-1/000",
        "/tile/31/0/000",
        "/tile/0/0/000",
        "/tile/8/0/999999999999999999999",
        "/tile/8/0/x999/x999/x999/x999/x999/x999/999",
        "/tile/8/0",
        "/tile/",
        "/tile/8/data/x001/000",
        "/sumdb/",
        "/sumdb/sum.golang.org/latest",
        "/sumdb/other.example/supported",
        "/sumdb/sum.crash.example/../latest",
        "/api/v1/records/-1",
        "/api/v1/records/99999999999999999999",
        "/api/v1/modules/x",
        "/api/v1/heads?limit=-1",
        "/api/v1/heads?limit=99999999999",
        "/api/v1/log/../log",
        "/latest?x=1",
        "/latest#x",
        "/latest/",
        "/%",
        "/%zz",
        "?",
        "",
    ]
    .iter()
    .map(|path| path.as_bytes().to_vec())
    .collect();
    for byte in 0..=255_u8 {
        paths.push([b"/lookup/crash.example/a", &[byte][..], b"b@v1.0.0"].concat());
        paths.push([b"/tile/8/", &[byte][..], b"/000"].concat());
    }
    paths.push([b"/lookup/".to_vec(), b"a/".repeat(4_000), b"x@v1.0.0".to_vec()].concat());
    paths.push([&b"/lookup/crash.example/x@v1.0.0-"[..], &b"0.".repeat(4_000), b"0"].concat());
    paths
}

#[test]
fn nonsense_is_the_clients_fault() {
    let mut target = Target::new("");
    let mut tally = Tally::new("08-nonsense", "malformed request");
    let mut requests = malformed();
    requests.extend(strange_paths().iter().map(|path| request(path)));
    let mut random = Random::new(seed());
    // Valid requests with a few bytes changed.
    for _ in 0..times(300) {
        let mut bytes = request(b"/lookup/crash.example/!team/m1@v1.0.0");
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        requests.push(bytes);
    }
    let failures = target.attack(&mut tally, |server| {
        let attempt = |bytes: &Vec<u8>| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
            match send(server.address, bytes) {
                Err(why) => Some(format!("{shown:?}: {why}")),
                Ok(statuses) => {
                    let bad = statuses.iter().find(|status| **status >= 500 && **status != 505);
                    bad.map(|status| format!("{shown:?}: {status}"))
                }
            }
        };
        requests.iter().filter_map(attempt).collect::<Vec<_>>()
    });
    tally.tried(requests.len() as u64);
    failures.into_iter().for_each(|failure| tally.failed(failure));
    tally.finish();
}
