//! Every way in which an HTTP answer can be wrong, and what the client makes of it.

use std::io::{Read, Write};
use std::time::Duration;

use tallystick::upstream::{
    ClientOptions, FetchError, HostRule, HttpClient, ProxySettings, RedirectRefusal, RedirectRules,
    ScratchSpace, Stage, Waiting,
};

use super::{AMPLE, client, options, url, within};
use crate::support::hostile::{Behaviour, HostileServer};

const MAX_BYTES: u64 = 10_000;
/// For behaviours that end only by a limit of ours.
const SHORT: Duration = Duration::from_millis(300);

async fn fetch(behaviour: Behaviour, time: Duration) -> FetchError {
    let server = HostileServer::always(behaviour);
    let got = client().get(&url(&format!("{}/x?token=s3cret", server.url())), MAX_BYTES, within(time)).await;
    let error = got.expect_err("the server misbehaved");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert!(error.to_string().starts_with(&format!("{}/x?***: ", server.url())), "{error}");
    error
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Behaviour {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Behaviour::Answer { status, headers, body: body.to_vec() }
}

#[tokio::test]
async fn an_honest_answer_is_returned_with_its_headers() {
    let server =
        HostileServer::always(answer(200, &[("Content-Type", "text/plain"), ("ETag", "\"e1\"")], b"body"));
    let response = client().get(&url(&server.url()).join("a/b").unwrap(), 4, within(AMPLE)).await.unwrap();
    assert_eq!(response.body, "body");
    assert_eq!(
        (response.content_type.as_deref(), response.validators.etag.as_deref()),
        (Some("text/plain"), Some("\"e1\""))
    );
    let seen = &server.requests()[0];
    assert_eq!(seen.path, "/a/b");
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert!(seen.header("user-agent").unwrap().starts_with("tallystick/"));
    assert_eq!(seen.header("authorization"), None);
}

#[tokio::test]
async fn statuses_are_told_apart() {
    for status in [404, 410] {
        let error =
            fetch(Behaviour::error(status, "not found: unknown revision v9\n\nstack trace"), AMPLE).await;
        assert!(error.is_not_found() && !error.is_transient(), "{error}");
        assert!(
            error.to_string().ends_with(&format!("{status} not found: not found: unknown revision v9")),
            "{error}"
        );
    }
    for status in [401, 403, 407] {
        assert!(matches!(fetch(Behaviour::error(status, "no"), AMPLE).await, FetchError::Forbidden { .. }));
    }
    for status in [429, 500, 502, 503, 504, 599] {
        let error = fetch(answer(status, &[("Retry-After", "7")], b""), AMPLE).await;
        assert!(matches!(error, FetchError::Unavailable { .. }) && error.is_transient(), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }
    for status in [204, 206, 300, 304, 400, 405, 418, 451] {
        let error = fetch(answer(status, &[], b""), AMPLE).await;
        assert!(
            matches!(error, FetchError::UnexpectedStatus { status: got, .. } if got == status),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_error_body_is_shown_as_plain_text_only() {
    let html = fetch(answer(503, &[("Content-Type", "text/html")], b"<h1>no</h1>"), AMPLE).await;
    assert!(!html.to_string().contains("h1"), "{html}");
    let escape = fetch(Behaviour::error(503, "\x1b]0;owned\x07"), AMPLE).await;
    assert!(escape.to_string().ends_with(r"503 unavailable: \u{1b}]0;owned\u{7}"), "{escape}");
    let long = fetch(Behaviour::error(503, &"long ".repeat(100_000)), AMPLE).await;
    assert!(long.to_string().len() < 1000);
}

#[tokio::test]
async fn what_breaks_off_is_named() {
    for behaviour in [
        Behaviour::Truncated { claimed: 100, body: b"short".to_vec() },
        Behaviour::Reset,
        Behaviour::ResetInBody,
        Behaviour::Empty,
        Behaviour::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
    ] {
        let error = fetch(behaviour.clone(), AMPLE).await;
        assert!(matches!(error, FetchError::Broken { .. }) && error.is_transient(), "{behaviour:?}: {error}");
    }
    let FetchError::Broken { received, .. } = fetch(Behaviour::ResetInBody, AMPLE).await else {
        panic!("broken")
    };
    assert!(received <= 500);
}

#[tokio::test]
async fn what_is_not_http_is_named() {
    for behaviour in [
        Behaviour::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Behaviour::Raw(b"HTTP/1.1 abc OK\r\n\r\n".to_vec()),
        Behaviour::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef".to_vec()),
        Behaviour::EndlessHeaders,
        Behaviour::EndlessHeaderLine,
    ] {
        let error = fetch(behaviour.clone(), AMPLE).await;
        assert!(matches!(error, FetchError::BadContent { .. }), "{behaviour:?}: {error}");
    }
    let error = fetch(Behaviour::BadChunks, AMPLE).await;
    assert!(matches!(error, FetchError::Broken { .. } | FetchError::BadContent { .. }), "{error}");
}

#[tokio::test]
async fn a_slow_server_is_cut_off_at_the_deadline() {
    let stalled = fetch(Behaviour::Stall, SHORT).await;
    assert!(matches!(stalled, FetchError::Timeout { waiting: Waiting::Answer, .. }), "{stalled}");
    for behaviour in [Behaviour::StallInBody, Behaviour::Drip { every: Duration::from_millis(20) }] {
        let error = fetch(behaviour, SHORT).await;
        assert!(
            matches!(error, FetchError::Timeout { waiting: Waiting::Body, .. }) && error.is_transient(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_silent_server_is_cut_off_by_the_read_and_total_limits() {
    let read =
        HttpClient::new(ClientOptions { read_timeout: SHORT, connect_timeout: SHORT, ..options() }).unwrap();
    let total = HttpClient::new(ClientOptions { total_timeout: SHORT, ..options() }).unwrap();
    for (client, behaviour) in [
        (&read, Behaviour::Stall),
        (&read, Behaviour::StallInBody),
        (&total, Behaviour::Stall),
        (&total, Behaviour::Drip { every: Duration::from_millis(20) }),
    ] {
        let server = HostileServer::always(behaviour.clone());
        let error = client.get(&url(&server.url()), MAX_BYTES, within(AMPLE)).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Timeout { after, .. } if after < AMPLE / 2),
            "{behaviour:?}: {error}"
        );
    }
}

#[tokio::test]
async fn too_much_is_refused_with_and_without_a_length() {
    for behaviour in [
        Behaviour::Truncated { claimed: u64::MAX / 4, body: Vec::new() },
        Behaviour::ok(vec![b'x'; MAX_BYTES as usize + 1]),
        Behaviour::EndlessBody,
        Behaviour::Raw(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n".as_slice(), &[b'x'; 0x4000]]
                .concat(),
        ),
    ] {
        let error = fetch(behaviour.clone(), AMPLE).await;
        assert!(matches!(error, FetchError::TooLarge { max_bytes: MAX_BYTES, .. }), "{behaviour:?}: {error}");
    }
    let server = HostileServer::always(Behaviour::ok(vec![b'x'; MAX_BYTES as usize]));
    assert_eq!(
        client().get(&url(&server.url()), MAX_BYTES, within(AMPLE)).await.unwrap().body.len() as u64,
        MAX_BYTES
    );
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// As Go's HTTP client: `gzip` in any case is undone, and every other value means nothing.
#[tokio::test]
async fn gzip_is_undone_and_any_other_encoding_is_taken_as_it_is() {
    let (plain, packed) = (b"module m\n".as_slice(), gzip(b"module m\n"));
    let get = async |headers: &[(&'static str, &str)], body: &[u8]| {
        let server = HostileServer::always(answer(200, headers, body));
        client().get(&url(&server.url()), MAX_BYTES, within(AMPLE)).await.map(|response| response.body)
    };
    for encoding in ["gzip", "GZIP"] {
        assert_eq!(get(&[("Content-Encoding", encoding)], &packed).await.unwrap(), plain, "{encoding}");
        let two = [packed.as_slice(), &packed].concat();
        assert_eq!(get(&[("Content-Encoding", encoding)], &two).await.unwrap(), [plain, plain].concat());
        assert_eq!(get(&[("Content-Encoding", encoding)], b"").await.unwrap(), "");
        for bad in [&packed[..packed.len() - 1], plain, &[packed.as_slice(), b"more"].concat()] {
            let error = get(&[("Content-Encoding", encoding)], bad).await.unwrap_err();
            assert!(matches!(error, FetchError::BadContent { ours: false, .. }), "{error}");
        }
    }
    for encoding in ["", "identity", "aws-chunked", "br", "gzip, identity", "x-gzip"] {
        assert_eq!(get(&[("Content-Encoding", encoding)], &packed).await.unwrap(), packed, "{encoding:?}");
    }
    let refused = fetch(
        answer(503, &[("Content-Encoding", "gzip"), ("Content-Type", "text/plain")], &gzip(b"busy")),
        AMPLE,
    );
    assert!(refused.await.to_string().ends_with("503 unavailable: busy"));
}

/// Neither what is sent nor what comes out of it may be larger than allowed.
#[tokio::test]
async fn a_gzip_body_is_bounded_before_and_after() {
    let encoded = [("Content-Encoding", "gzip")];
    for body in [gzip(&vec![0; 64 << 20]), gzip(&vec![0; MAX_BYTES as usize + 1])] {
        let error = fetch(answer(200, &encoded, &body), AMPLE).await;
        assert!(matches!(error, FetchError::TooLarge { max_bytes: MAX_BYTES, .. }), "{error}");
    }
    // Empty members without end.
    let endless = gzip(b"").repeat(10_000);
    let error = fetch(answer(200, &encoded, &endless), AMPLE).await;
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    let exact = HostileServer::always(answer(200, &encoded, &gzip(&vec![0; MAX_BYTES as usize])));
    let space = ScratchSpace::from(std::env::temp_dir());
    let spooled = client().get_to_spool(&url(&exact.url()), MAX_BYTES, within(AMPLE), &space).await.unwrap();
    assert_eq!(spooled.size, MAX_BYTES);
}

#[tokio::test]
async fn redirects_are_followed_only_by_the_rules() {
    let target = HostileServer::always(Behaviour::ok("moved"));
    let there = format!("{}/there", target.url());
    for (location, want) in [
        (there.clone(), RedirectRefusal::Host),
        ("http://169.254.169.254/latest/meta-data".into(), RedirectRefusal::Host),
        ("gopher://x/".into(), RedirectRefusal::Malformed),
        ("file:///etc/passwd".into(), RedirectRefusal::Malformed),
        ("http://[".into(), RedirectRefusal::Malformed),
        (format!("/{}", "x".repeat(5000)), RedirectRefusal::TooLong),
    ] {
        let error = fetch(Behaviour::Redirect(location.clone()), AMPLE).await;
        assert!(
            matches!(error, FetchError::Redirect { refusal, .. } if refusal == want),
            "{location}: {error}"
        );
    }
    let error = fetch(answer(302, &[], b""), AMPLE).await;
    assert!(matches!(error, FetchError::Redirect { refusal: RedirectRefusal::Malformed, .. }), "{error}");
    let error = fetch(Behaviour::RedirectLoop, AMPLE).await;
    assert!(matches!(error, FetchError::Redirect { refusal: RedirectRefusal::TooMany, .. }), "{error}");
    assert!(target.requests().is_empty());
}

fn with_rules(hosts: &[String], private: &[&str]) -> HttpClient {
    let rule = |text: &str| HostRule::parse(text).unwrap();
    let redirects = RedirectRules {
        max: 3,
        hosts: hosts.iter().map(|host| rule(host)).collect(),
        private_hosts: private.iter().map(|host| rule(host)).collect(),
    };
    HttpClient::new(ClientOptions { redirects, ..options() }).unwrap()
}

/// The listed target is reached by a name, so only name look-up can tell that its address is private.
#[tokio::test]
async fn a_listed_host_must_not_resolve_to_a_private_address() {
    let target = HostileServer::always(Behaviour::ok("moved"));
    let source =
        HostileServer::always(Behaviour::Redirect(format!("http://localhost:{}/there", target.port())));
    let hosts = [format!("localhost:{}", target.port())];
    let error = with_rules(&hosts, &[]).get(&url(&source.url()), MAX_BYTES, within(AMPLE)).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Redirect { refusal: RedirectRefusal::PrivateAddress, .. }),
        "{error}"
    );
    assert!(target.requests().is_empty());
    let private = format!("127.0.0.1:{}", source.port());
    let allowed =
        with_rules(&hosts, &[&private]).get(&url(&source.url()), MAX_BYTES, within(AMPLE)).await.unwrap();
    assert_eq!(allowed.body, "moved");
    assert!(allowed.url.as_str().starts_with("http://localhost:"), "{}", allowed.url);
}

#[tokio::test]
async fn credentials_go_to_their_own_host_only() {
    let target = HostileServer::always(Behaviour::ok("moved"));
    let there = format!("http://u:stolen@127.0.0.1:{}/there", target.port());
    let source = HostileServer::start(move |path| match path {
        "/away" => Behaviour::Redirect(there.clone()),
        "/near" => Behaviour::Redirect("/here".into()),
        _ => Behaviour::ok("here"),
    });
    let private = format!("127.0.0.1:{}", source.port());
    let client = with_rules(&[format!("127.0.0.1:{}", target.port())], &[&private]);
    let base = url(&format!("http://ci:s3cret@127.0.0.1:{}", source.port()));
    for path in ["away", "near"] {
        let response = client.get(&base.join(path).unwrap(), MAX_BYTES, within(AMPLE)).await.unwrap();
        assert!(!response.url.to_string().contains("s3cret"));
    }
    // base64("ci:s3cret")
    let basic = Some("Basic Y2k6czNjcmV0");
    assert!(source.requests().iter().all(|seen| seen.header("authorization") == basic));
    assert_eq!(source.paths(), ["/away", "/near", "/here"]);
    assert_eq!(target.requests()[0].header("authorization"), None);
    assert!(!format!("{client:?}").contains("s3cret"));
}

#[tokio::test]
async fn what_cannot_be_reached_says_at_which_step() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (plain, silent) = (greeter(b"HTTP/1.1 400 Bad Request\r\n\r\n"), greeter(b""));
    for (source, want) in [
        (format!("http://127.0.0.1:{port}/"), Stage::Connect),
        (format!("https://127.0.0.1:{plain}/"), Stage::Tls),
        (format!("https://127.0.0.1:{silent}/"), Stage::Tls),
        ("http://nowhere.invalid/".to_owned(), Stage::Dns),
    ] {
        let error = client().get(&url(&source), MAX_BYTES, within(AMPLE)).await.unwrap_err();
        assert!(matches!(error, FetchError::Unreachable { stage, .. } if stage == want), "{source}: {error}");
        assert!(error.is_transient());
    }
}

/// A server that reads something, says `greeting` and hangs up.
fn greeter(greeting: &'static [u8]) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(greeting);
        }
    });
    port
}

#[tokio::test]
async fn a_proxy_is_used_for_other_hosts_and_never_for_this_machine() {
    let proxy = HostileServer::always(Behaviour::ok("by proxy"));
    let direct = HostileServer::always(Behaviour::ok("direct"));
    let proxies = ProxySettings {
        http: Some(proxy.url().replace("http://", "http://proxyuser:proxypass@")),
        https: None,
        no_proxy: Some("internal.invalid".into()),
    };
    assert!(!format!("{proxies:?}").contains("proxypass"));
    let client = HttpClient::new(ClientOptions { proxies, ..options() }).unwrap();
    let get = async |text: &str| client.get(&url(text), MAX_BYTES, within(AMPLE)).await;
    assert_eq!(get("http://public.invalid/x").await.unwrap().body, "by proxy");
    assert_eq!(proxy.paths(), ["http://public.invalid/x"]);
    // base64("proxyuser:proxypass")
    let basic = Some("Basic cHJveHl1c2VyOnByb3h5cGFzcw==");
    assert_eq!(proxy.requests()[0].header("proxy-authorization"), basic);
    assert_eq!(get(&direct.url()).await.unwrap().body, "direct");
    let port = direct.port();
    assert_eq!(get(&format!("http://localhost:{port}/")).await.unwrap().body, "direct");
    let internal = get("http://internal.invalid/").await.unwrap_err();
    assert!(matches!(internal, FetchError::Unreachable { stage: Stage::Dns, .. }), "{internal}");
    assert_eq!(proxy.requests().len(), 1);
}

#[tokio::test]
async fn a_body_comes_with_its_size_and_hash() {
    let server = HostileServer::always(Behaviour::ok(vec![b'a'; 1_000_000]));
    let space = ScratchSpace::from(std::env::temp_dir());
    let spooled = client().get_to_spool(&url(&server.url()), 1_000_000, within(AMPLE), &space).await.unwrap();
    // SHA-256 of one million `a`, from FIPS 180-2, appendix B.3.
    let hex: String = spooled.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    let mut read = Vec::new();
    spooled.reader().unwrap().read_to_end(&mut read).unwrap();
    assert!(spooled.size == 1_000_000 && read == vec![b'a'; 1_000_000]);
    let spooled = client().get_to_spool(&url(&server.url()), 999_999, within(AMPLE), &space).await;
    let error = spooled.unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
}

#[test]
fn unusable_roots_are_refused_when_the_client_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roots.pem");
    let make = || HttpClient::new(ClientOptions { roots: Some(path.clone()), ..options() });
    assert!(make().unwrap_err().to_string().contains("roots.pem"));
    for bad in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, bad).unwrap();
        assert!(make().is_err(), "{bad:?}");
    }
}

/// A TLS server with a certificate of its own making, reached with and without that certificate as root.
#[tokio::test]
async fn only_the_given_roots_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let (key, cert) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: only_the_given_roots_are_trusted: no openssl to make a certificate"
        );
        return;
    }
    let port = tls_server(&key, &cert);
    let source = url(&format!("https://localhost:{port}/"));
    let trusting = HttpClient::new(ClientOptions { roots: Some(cert), ..options() }).unwrap();
    assert_eq!(trusting.get(&source, MAX_BYTES, within(AMPLE)).await.unwrap().body, "secure");
    let other_name = url(&format!("https://127.0.0.1:{port}/"));
    for (client, source) in [(client(), source), (trusting, other_name)] {
        let error = client.get(&source, MAX_BYTES, within(AMPLE)).await.unwrap_err();
        assert!(matches!(error, FetchError::Unreachable { stage: Stage::Tls, .. }), "{error}");
    }
}

fn tls_server(key: &std::path::Path, cert: &std::path::Path) -> u16 {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certs = CertificateDer::pem_file_iter(cert).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = std::sync::Arc::new(config.with_no_client_auth().with_single_cert(certs, key).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            // A client that does not trust us hangs up here.
            if tls.read(&mut [0; 4096]).is_ok() {
                let _ =
                    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecure");
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    port
}
