//! A module proxy in this process, which makes up every module that it is asked for.
//!
//! `crash.example/Team/m17@v1.0.0` has a go.mod and one Go file. Every fifth module is re-tagged from time to time: its
//! content depends on [`Source::generation`], so that which hashes enter the log depends on when it was first asked for,
//! and a server that forgets what it has acknowledged is found out.

use std::io::{BufReader, Cursor, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tallystick::dirhash::{hash_files, hash_go_mod};
use tallystick::gosum::ModuleLines;
use tallystick::module::ModuleVersion;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::wire;

const PREFIX: &str = "crash.example/Team/m";

/// The proxy. Its threads end when it is dropped and their clients are gone.
pub(crate) struct Source {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    generation: AtomicU64,
    stopped: AtomicBool,
    requests: AtomicU64,
    /// Go.mod lines of every module whose number is given, and bytes of padding in every zip.
    requires: std::sync::Mutex<std::collections::HashMap<u64, String>>,
    padding: std::sync::Mutex<std::collections::HashMap<u64, usize>>,
    seen: std::sync::Mutex<Option<Vec<String>>>,
}

impl Source {
    pub(crate) fn start() -> Source {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = accepting.clone();
                // An error is the server going away, which is what these tests are about.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Source { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The path of a module's look-up.
    pub(crate) fn lookup(number: u64) -> String {
        format!("/lookup/{}", module(number).escaped())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::SeqCst)
    }

    /// Re-tags every fifth module.
    pub(crate) fn advance(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Requests that came so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Writes down the paths of requests from now on; gives what was written down so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().replace(Vec::new()).unwrap_or_default()
    }

    /// Lines that the go.mod of a module has after its first.
    pub(crate) fn require(&self, number: u64, lines: String) {
        self.shared.requires.lock().unwrap().insert(number, lines);
    }

    /// Makes the zip of a module larger by so many bytes.
    pub(crate) fn pad(&self, number: u64, bytes: usize) {
        self.shared.padding.lock().unwrap().insert(number, bytes);
    }

    /// Whether these can be the lines of a module, in this generation or an earlier one.
    pub(crate) fn is_possible(&self, number: u64, text: &str) -> bool {
        (0..=self.generation()).rev().any(|generation| self.shared.lines(number, generation) == text)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

pub(crate) fn module(number: u64) -> ModuleVersion {
    ModuleVersion::from_parts(&format!("{PREFIX}{number}"), "v1.0.0").expect("a valid path")
}

impl Shared {
    fn go_mod(&self, number: u64) -> String {
        let requires = self.requires.lock().unwrap().get(&number).cloned().unwrap_or_default();
        format!("module {PREFIX}{number}\n{requires}")
    }

    fn files(&self, number: u64, generation: u64) -> Vec<(String, Vec<u8>)> {
        let generation = if number.is_multiple_of(5) { generation } else { 0 };
        let padding = self.padding.lock().unwrap().get(&number).copied().unwrap_or(0);
        let mut code = format!("package m\n\nconst Generation = {generation}\n").into_bytes();
        code.extend(std::iter::repeat_n(b'\n', padding));
        let name = |file: &str| format!("{}/{file}", module(number));
        vec![(name("go.mod"), self.go_mod(number).into_bytes()), (name("m.go"), code)]
    }

    /// The record's text.
    fn lines(&self, number: u64, generation: u64) -> String {
        let files =
            self.files(number, generation).into_iter().map(|(name, bytes)| (name, Cursor::new(bytes)));
        ModuleLines {
            module: module(number),
            zip: hash_files(files).expect("two small files"),
            go_mod: hash_go_mod(self.go_mod(number).as_bytes()),
        }
        .to_text()
    }

    fn zip(&self, number: u64) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in self.files(number, self.generation.load(Ordering::SeqCst)) {
            zip.start_file(name, stored).expect("a valid name");
            zip.write_all(&bytes).expect("memory takes it");
        }
        zip.finish().expect("memory takes it").into_inner()
    }

    /// `/crash.example/!team/m17/@v/v1.0.0.zip`
    fn file(&self, path: &str) -> Option<Vec<u8>> {
        let (number, file) = path.strip_prefix("/crash.example/!team/m")?.split_once("/@v/v1.0.0.")?;
        let number = number.parse().ok()?;
        match file {
            "info" => Some(br#"{"Version":"v1.0.0","Time":"2026-11-21T13:00:00Z"}"#.to_vec()),
            "mod" => Some(self.go_mod(number).into_bytes()),
            "zip" => Some(self.zip(number)),
            _ => None,
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let request = wire::line(&mut stream)?;
        wire::headers(&mut stream)?;
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let path = request.split(' ').nth(1).unwrap_or_default();
        if let Some(seen) = &mut *shared.seen.lock().unwrap() {
            seen.push(path.to_owned());
        }
        let (status, body) = match shared.file(path) {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", b"not found: no such module".to_vec()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all(&[head.as_bytes(), &body].concat())?;
    }
}
