//! A raw TCP server that misbehaves on demand: what it sends is written byte by byte, so that it can be wrong in any way.
//!
//! ```ignore
//! let server = HostileServer::start(|path| match path { "/latest" => Behaviour::Stall, _ => Behaviour::not_found() });
//! let url = server.url();             // "http://127.0.0.1:PORT"
//! assert_eq!(server.requests()[0].path, "/latest");
//! ```
//! Every connection carries one request. Threads end when their client goes away or the server is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// A well-formed answer.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Exactly these bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// A 200 that claims `claimed` bytes, sends `body` and closes.
    Truncated { claimed: u64, body: Vec<u8> },
    /// Reads the request and never answers.
    Stall,
    /// Headers and the first byte, then silence.
    StallInBody,
    /// A 200 of 5,000 bytes, one every so often.
    Drip { every: Duration },
    /// Header lines without end.
    EndlessHeaders,
    /// One header line without end.
    EndlessHeaderLine,
    /// A body without end and without a length.
    EndlessBody,
    /// A chunked body whose first chunk claims more than it has.
    BadChunks,
    /// A redirect to the same path, for ever.
    RedirectLoop,
    /// A redirect.
    Redirect(String),
    /// A reset instead of an answer.
    Reset,
    /// A 200 and half of the body, then a reset.
    ResetInBody,
    /// The connection is closed without an answer.
    Empty,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

pub(crate) struct HostileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behave: Box<dyn Fn(&str) -> Behaviour + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
    stopped: AtomicBool,
}

impl Behaviour {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Behaviour {
        Behaviour::Answer { status: 200, headers: Vec::new(), body: body.into() }
    }

    /// An error with a plain-text reason.
    pub(crate) fn error(status: u16, reason: &str) -> Behaviour {
        let headers = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
        Behaviour::Answer { status, headers, body: reason.into() }
    }

    pub(crate) fn not_found() -> Behaviour {
        Behaviour::error(404, "not found: no such module")
    }
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl HostileServer {
    pub(crate) fn start(behave: impl Fn(&str) -> Behaviour + Send + Sync + 'static) -> HostileServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            behave: Box::new(behave),
            seen: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = accepting.clone();
                // An error here is the client hanging up, which is what these tests are about.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        HostileServer { address, shared }
    }

    /// The same behaviour for every path.
    pub(crate) fn always(behaviour: Behaviour) -> HostileServer {
        HostileServer::start(move |_| behaviour.clone())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The paths of the requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|seen| seen.path).collect()
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut first = [0; 1];
    stream.peek(&mut first)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let behaviour = (shared.behave)(&path);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    shared.seen.lock().unwrap().push(Seen { path: path.clone(), headers });
    match behaviour {
        Behaviour::Answer { status, headers, body } => answer(&mut stream, status, &headers, &body),
        Behaviour::Raw(bytes) => stream.write_all(&bytes),
        Behaviour::Truncated { claimed, body } => {
            head(&mut stream, claimed)?;
            stream.write_all(&body)
        }
        Behaviour::Stall => wait_for_client(&mut stream),
        Behaviour::StallInBody => {
            head(&mut stream, 1000)?;
            stream.write_all(b"x")?;
            wait_for_client(&mut stream)
        }
        Behaviour::Drip { every } => drip(&mut stream, every, shared),
        Behaviour::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            without_end(&mut stream, b"X-More: and more and more\r\n", shared)
        }
        Behaviour::EndlessHeaderLine => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-More: ")?;
            without_end(&mut stream, &[b'x'; 1024], shared)
        }
        Behaviour::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            without_end(&mut stream, &[b'x'; 1024], shared)
        }
        Behaviour::BadChunks => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        }
        Behaviour::RedirectLoop => answer(&mut stream, 302, &[("Location", path)], b""),
        Behaviour::Redirect(to) => answer(&mut stream, 302, &[("Location", to)], b""),
        Behaviour::Reset => reset(stream),
        Behaviour::ResetInBody => {
            head(&mut stream, 1000)?;
            stream.write_all(&[b'x'; 500])?;
            reset(stream)
        }
        Behaviour::Empty => stream.shutdown(Shutdown::Both),
    }
}

fn head(stream: &mut TcpStream, length: u64) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
}

fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Whatever\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)
}

/// Reads until the client hangs up.
fn wait_for_client(stream: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}

fn drip(stream: &mut TcpStream, every: Duration, shared: &Shared) -> std::io::Result<()> {
    head(stream, 5000)?;
    stream.set_read_timeout(Some(every))?;
    while !shared.stopped.load(Ordering::SeqCst) {
        stream.write_all(b"x")?;
        // The pause: nothing comes but the client's farewell.
        if stream.read(&mut [0; 1]).is_ok() {
            break;
        }
    }
    Ok(())
}

fn without_end(stream: &mut TcpStream, piece: &[u8], shared: &Shared) -> std::io::Result<()> {
    while !shared.stopped.load(Ordering::SeqCst) {
        stream.write_all(piece)?;
    }
    Ok(())
}

/// Aborts the connection: with lingering for no time at all, closing sends RST instead of FIN.
fn reset(stream: TcpStream) -> std::io::Result<()> {
    let socket = tokio::net::TcpSocket::from_std_stream(stream);
    socket.set_zero_linger()
}
