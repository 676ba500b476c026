//! The surroundings of a company's private modules: a Git host over TLS that wants a login, and an
//! outgoing proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A certificate of its own making, and its key.
pub(super) struct Certificate {
    key: PathBuf,
    pub(super) pem: PathBuf,
}

impl Certificate {
    /// For these names, good for two days; none, loudly, where there is no openssl.
    pub(super) fn make(directory: &Path, names: &[&str], test: &str) -> Option<Certificate> {
        let (key, pem) = (directory.join("key.pem"), directory.join("cert.pem"));
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        command.args(["-subj", "/CN=git host", "-addext", &format!("subjectAltName={}", names.join(","))]);
        command.arg("-keyout").arg(&key).arg("-out").arg(&pem);
        if !command.output().is_ok_and(|made| made.status.success()) {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: no openssl to make a certificate");
            return None;
        }
        Some(Certificate { key, pem })
    }
}

/// A request.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
}

/// An answer: status and body. One of 401 asks for a login.
pub(super) type Answered = (u16, Vec<u8>);

/// Serves HTTPS on a port of its own until the test ends.
pub(super) fn serve_tls(
    certificate: &Certificate,
    answer: impl Fn(&Asked) -> Answered + Send + Sync + 'static,
) -> u16 {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certs =
        CertificateDer::pem_file_iter(&certificate.pem).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certs, key).unwrap());
    let answer = Arc::new(answer);
    on_each_connection(move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, stream);
        // A client that does not trust us hangs up here.
        let Some(asked) = read_head(&mut tls).and_then(|head| parse(&head)) else { return };
        let (status, body) = answer(&asked);
        let login = if status == 401 { "WWW-Authenticate: Basic realm=\"git\"\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} Answer\r\n{login}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = tls.write_all(head.as_bytes()).and_then(|()| tls.write_all(&body));
        tls.conn.send_close_notify();
        let _ = tls.flush();
    })
}

/// Serves an outgoing proxy: every host leads to this port, but `refused` to this status line.
pub(super) fn serve_proxy(port: u16, refused: &'static str, status_line: &'static str) -> u16 {
    on_each_connection(move |mut stream| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with(&format!("CONNECT {refused}")) {
            let asks = if status_line.starts_with("407") {
                "Proxy-Authenticate: Basic realm=\"proxy\"\r\n"
            } else {
                ""
            };
            let answer =
                format!("HTTP/1.1 {status_line}\r\n{asks}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
            return;
        }
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        let (mut from, mut to) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut server, &mut stream);
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// A bare copy of a repository as the files that git fetches over plain HTTP.
pub(super) fn export(repository: &Path, to: &Path) {
    let done = super::direct::git(
        Path::new("/"),
        &["clone", "-q", "--mirror", repository.to_str().unwrap(), to.to_str().unwrap()],
    ) && super::direct::git(to, &["update-server-info"]);
    assert!(done, "{} can be copied", repository.display());
}

/// The file of a request below a directory.
pub(super) fn file_of(directory: &Path, path: &str) -> Answered {
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let is_inside = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    match std::fs::read(directory.join(path)) {
        Ok(bytes) if is_inside => (200, bytes),
        _ => (404, b"no such file".to_vec()),
    }
}

fn on_each_connection(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 || head.len() > 16 << 10 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn parse(head: &str) -> Option<Asked> {
    let path = head.split(' ').nth(1)?.to_owned();
    let authorization = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    Some(Asked { path, authorization })
}
