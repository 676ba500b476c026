//! The smallest HTTP client: one request, one connection, from a thread that may wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No answer of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(40);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }
}

/// `base` is `http://host:port` and maybe a path; `path` begins with a slash.
pub(crate) fn get(base: &str, path: &str) -> std::io::Result<Page> {
    ask("GET", base, path, b"")
}

/// The same with a body.
pub(crate) fn post(base: &str, path: &str, body: &[u8]) -> std::io::Result<Page> {
    ask("POST", base, path, body)
}

fn ask(method: &str, base: &str, path: &str, body: &[u8]) -> std::io::Result<Page> {
    let rest = base.strip_prefix("http://").expect("tests speak plain HTTP");
    let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n\r\n")?;
    // Who refuses a body may close before all of it is sent.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
        .ok_or_else(|| std::io::Error::other(format!("{base}{path}: not an HTTP answer with a length")))
}

/// A body must come with its length: ours and those of the test servers do.
fn parse(answer: &[u8]) -> Option<Page> {
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
    Some(Page { status, content_type, body })
}
