//! Proxies: which requests go through one, and that a proxy which fails is named as the proxy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

/// A proxy that answers each request with `answer`, or, where it is a port, connects to that port of this machine.
enum Manner {
    Says(&'static str),
    ConnectsTo(u16),
}

/// Starts a proxy, and returns its address.
fn proxy(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            match manner {
                Manner::Says(answer) => drop(client.write_all(answer.as_bytes())),
                Manner::ConnectsTo(port) => {
                    assert!(head.starts_with(b"CONNECT "), "{}", String::from_utf8_lossy(&head));
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                    join(client, TcpStream::connect(("127.0.0.1", port)).unwrap());
                }
            }
        }
    });
    address
}

/// Passes bytes both ways until both sides are done.
fn join(one: TcpStream, other: TcpStream) {
    for (mut from, mut to) in [(one.try_clone().unwrap(), other.try_clone().unwrap()), (other, one)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}

/// A port on which nobody listens.
fn closed() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const LOGIN: &str =
    "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn this_machine_is_asked_directly() {
    let (_directory, server) = served(None);
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let dead = format!("http://{}", closed());
    sandbox().write("head", "x");
    for url in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")] {
        for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            let ran = sandbox().run_with(&env_of(&url), &[(variable, &dead)]);
            assert_eq!(gosumdb(&ran), format!("{} {url}", server.vkey), "{variable}");
        }
    }
}

#[test]
fn a_proxy_that_fails_is_named_and_its_password_is_not() {
    let dead = closed();
    let says = |answer| proxy(Manner::Says(answer));
    let (refuses, login, busy) = (says(REFUSED), says(LOGIN), says(BUSY));
    let login_fix = "put the proxy's user and password into the variable";
    let table = [
        ("HTTP_PROXY", "http", &dead, "cannot be reached: Connection refused", "start or correct the proxy"),
        (
            "HTTPS_PROXY",
            "https",
            &dead,
            "cannot be reached: Connection refused",
            "start or correct the proxy",
        ),
        (
            "https_proxy",
            "https",
            &refuses,
            "opens no connection to it",
            "have whoever runs the proxy allow it",
        ),
        ("HTTPS_PROXY", "https", &login, "asks for a login", login_fix),
        ("HTTP_PROXY", "http", &login, "asks for a login", login_fix),
    ];
    for (variable, scheme, address, cause, fix) in table {
        let what = format!("{variable} {scheme} {cause}");
        let url = format!("{scheme}://sum.corp.example");
        let named = format!("the proxy http://{address} of {} {cause}", variable.to_uppercase());
        let value = format!("http://anna:s3cret@{address}");
        let ran = sandbox().run_with(&env_of(&url), &[(variable, &value)]);
        assert_advised(&what, &ran, 3, &named, fix);
        assert!(!ran.stderr.contains("s3cret") && !ran.stderr.contains("anna"), "{what}: {}", ran.stderr);
    }
    // Over plain HTTP nobody can tell whose answer it is.
    let ran = sandbox().run_with(&env_of("http://sum.corp.example"), &[("HTTP_PROXY", &busy)]);
    let cause = format!(
        "the proxy http://{busy} of HTTP_PROXY, or http://sum.corp.example behind it, answered 503 Service Unavailable"
    );
    assert!(ran.code == 3 && ran.stderr.contains(&cause), "{}", ran.stderr);
    let ran =
        sandbox().run_with(&env_of("https://sum.corp.example"), &[("HTTPS_PROXY", "socks5://127.0.0.1:1")]);
    assert_advised("socks", &ran, 2, "HTTPS_PROXY has the scheme \"socks5\"", "set it to the proxy's URL");
}

#[test]
fn a_server_behind_a_proxy_and_a_corporate_authority_is_reached() {
    let sandbox = sandbox();
    let test = "a_server_behind_a_proxy_and_a_corporate_authority_is_reached";
    let Some(pair) = certificate(test, &sandbox.path(""), "a", "DNS:sum.corp.example", false) else { return };
    let (_directory, server) = served(Some(&pair));
    let port = server.url.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = proxy(Manner::ConnectsTo(port));
    let url = "https://sum.corp.example";
    let environment = [("HTTPS_PROXY", proxy.as_str())];
    let ran = sandbox.run_with(&env_of(url), &environment);
    // The authority may be the server's, or that of a proxy which opens TLS.
    let through =
        format!("not trusted here; the connection goes through the proxy http://{proxy} of HTTPS_PROXY");
    assert_advised("no authority", &ran, 3, &through, "--cacert FILE");
    let cert = pair.cert.to_str().unwrap();
    let ran = sandbox.run_with(&[&env_of(url)[..], &["--cacert", cert]].concat(), &environment);
    assert_eq!(gosumdb(&ran), format!("{} {url}", server.vkey));
}
