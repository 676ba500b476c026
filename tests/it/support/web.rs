//! The smallest HTTP client: one GET or POST, one connection, from a thread that may wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No answer of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(40);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// An answer with its type.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    body: Vec<u8>,
}

impl Posted {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }
}

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }
}

/// `base` is `http://host:port` and maybe a path; `path` begins with a slash.
pub(crate) fn get(base: &str, path: &str) -> std::io::Result<Page> {
    request(base, "GET", path, None).map(|Posted { status, body, .. }| Page { status, body })
}

/// The same with a body.
pub(crate) fn post(base: &str, path: &str, body: &[u8]) -> std::io::Result<Posted> {
    request(base, "POST", path, Some(body))
}

fn request(base: &str, method: &str, path: &str, body: Option<&[u8]>) -> std::io::Result<Posted> {
    let rest = base.strip_prefix("http://").expect("tests speak plain HTTP");
    let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.map(|body| format!("Content-Length: {}\r\n", body.len())).unwrap_or_default();
    let head =
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body.unwrap_or_default()].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
        .ok_or_else(|| std::io::Error::other(format!("{base}{path}: not an HTTP answer with a length")))
}

/// A body must come with its length: ours and those of the test servers do.
fn parse(answer: &[u8]) -> Option<Posted> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let length = header("content-length")?.parse::<usize>().ok()?;
    let body = answer.get(end + 4..end + 4 + length)?.to_vec();
    let content_type = header("content-type").unwrap_or_default().to_owned();
    Some(Posted { status, content_type, body })
}
