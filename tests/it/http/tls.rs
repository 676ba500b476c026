//! TLS: ALPN, reload, and what is wrong with the files. Certificates come from the `openssl` command.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tallystick::http::listen::ListenLimits;
use tallystick::http::tls::{Reload, TlsError, TlsKeeper};
use tempfile::TempDir;

use super::fake::{NOTE, PATIENCE, Setup, TestServer, until_closed};

/// A certificate for localhost that is its own root.
pub(super) struct Pair {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// Makes a pair, or says loudly that the test is skipped.
pub(super) fn make_pair(test: &str, dir: &Path, name: &str) -> Option<Pair> {
    let config = dir.join("openssl.cnf");
    let text = "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = localhost\n[ext]\n\
                basicConstraints = critical,CA:FALSE\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n";
    std::fs::write(&config, text).unwrap();
    let pair = Pair { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .arg("-config")
        .arg(&config)
        .arg("-out")
        .arg(&pair.cert)
        .arg("-keyout")
        .arg(&pair.key)
        .output();
    match made {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(pair)
        }
        Err(error) => {
            eprintln!("SKIPPED: {test}: openssl cannot be run: {error}");
            None
        }
    }
}

pub(super) fn client(cert: &Path) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(&std::fs::read(cert).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([root]).no_proxy().timeout(PATIENCE).build().unwrap()
}

async fn start(pair: &Pair) -> (TestServer, Arc<TlsKeeper>) {
    let keeper = Arc::new(TlsKeeper::load(&pair.cert, &pair.key).unwrap());
    (Setup { tls: Some(keeper.clone()), ..Setup::default() }.start().await, keeper)
}

fn url(server: &TestServer, path: &str) -> String {
    format!("https://localhost:{}{path}", server.addr.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_http1_over_tls() {
    let dir = TempDir::new().unwrap();
    let Some(pair) = make_pair("http2_and_http1_over_tls", dir.path(), "a") else { return };
    let (server, _) = start(&pair).await;
    let client = client(&pair.cert);
    let latest = client.get(url(&server, "/latest")).send().await.unwrap();
    assert_eq!(latest.version(), reqwest::Version::HTTP_2);
    assert_eq!(latest.headers()["cache-control"], "no-cache");
    assert_eq!(latest.text().await.unwrap(), NOTE);
    let tile = client.head(url(&server, "/tile/8/0/000")).send().await.unwrap();
    assert_eq!((tile.status().as_u16(), &tile.headers()["content-length"] == "8192"), (200, true));
    assert_eq!(tile.bytes().await.unwrap().len(), 0);
    let missing = client.get(url(&server, "/lookup/example.com/no@v1.0.0")).send().await.unwrap();
    assert_eq!(missing.status().as_u16(), 404);
    let root = reqwest::Certificate::from_pem(&std::fs::read(&pair.cert).unwrap()).unwrap();
    let old = reqwest::Client::builder().tls_certs_only([root]).no_proxy().http1_only().build().unwrap();
    let latest = old.get(url(&server, "/latest")).send().await.unwrap();
    assert_eq!((latest.version(), latest.status().as_u16()), (reqwest::Version::HTTP_11, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_takes_a_new_pair_and_keeps_the_old_one_while_the_new_is_bad() {
    let test = "reload_takes_a_new_pair_and_keeps_the_old_one_while_the_new_is_bad";
    let dir = TempDir::new().unwrap();
    let (Some(pair), Some(next)) = (make_pair(test, dir.path(), "a"), make_pair(test, dir.path(), "b"))
    else {
        return;
    };
    let (server, keeper) = start(&pair).await;
    let (first_cert, next_cert) = (dir.path().join("first.pem"), next.cert.clone());
    std::fs::copy(&pair.cert, &first_cert).unwrap();
    let before = client(&first_cert);
    let asks = |client: reqwest::Client| client.get(url(&server, "/latest")).send();
    assert!(asks(before.clone()).await.is_ok());
    assert_eq!(keeper.reload().unwrap(), Reload::Unchanged);
    // A renewal writes two files, one after the other.
    replace(&next.cert, &pair.cert);
    assert!(matches!(keeper.reload(), Err(TlsError::Mismatch { .. })));
    assert!(asks(client(&first_cert)).await.is_ok(), "new connections still get the old pair");
    replace(&next.key, &pair.key);
    assert_eq!(keeper.reload().unwrap(), Reload::Replaced);
    assert!(asks(client(&next_cert)).await.is_ok(), "new connections get the new pair");
    assert!(asks(client(&first_cert)).await.is_err(), "and not the old one");
    assert!(asks(before).await.is_ok(), "a connection that was open goes on");
    std::fs::remove_file(&pair.key).unwrap();
    assert!(matches!(keeper.reload(), Err(TlsError::Unreadable { role: "key", .. })));
    assert!(asks(client(&next_cert)).await.is_ok());
}

/// As renewal tools do it: a new file under the old name.
fn replace(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).unwrap();
    std::fs::rename(&new, to).unwrap();
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    let Some(pair) = make_pair("what_is_wrong_with_the_files_is_said", path, "a") else { return };
    let Some(other) = make_pair("what_is_wrong_with_the_files_is_said", path, "b") else { return };
    let file = |name: &str, text: &str| {
        std::fs::write(path.join(name), text).unwrap();
        path.join(name)
    };
    let cert = std::fs::read_to_string(&pair.cert).unwrap();
    let key = std::fs::read_to_string(&pair.key).unwrap();
    let secret = key.lines().nth(1).unwrap();
    let empty = file("empty", "");
    let long = file("long", &"x".repeat(2 << 20));
    let torn = file("torn", key.split("-----END").next().unwrap());
    let garbled = file("garbled", &key.replace(&secret[..4], "!?.,"));
    let broken = file("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let both = file("both", &format!("{cert}{key}"));
    for (cert, key, said) in [
        (&path.join("none"), &pair.key, "cannot read the TLS certificate file"),
        (&pair.cert, &path.join("none"), "cannot read the TLS key file"),
        (&pair.key, &pair.key, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        (&pair.cert, &pair.cert, "holds no key in PEM form (-----BEGIN PRIVATE KEY-----, not encrypted)"),
        (&empty, &pair.key, "holds no certificate"),
        (&pair.cert, &empty, "holds no key"),
        (&long, &pair.key, "is longer than 1048576 bytes"),
        (&pair.cert, &torn, "is not valid PEM: a section has no END line (is the file complete?)"),
        (&pair.cert, &garbled, "is not valid PEM: the base64 between BEGIN and END is malformed"),
        (&pair.cert, &other.key, "does not belong to the first certificate in"),
        (&broken, &pair.key, "cannot be used"),
    ] {
        let error = TlsKeeper::load(cert, key).expect_err(said).to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
        assert!(!error.contains(&secret[8..40]), "{error:?} shows bytes of the key");
    }
    let mode = |mode| std::fs::set_permissions(&both, std::fs::Permissions::from_mode(mode)).unwrap();
    for loose in [0o644, 0o660, 0o602] {
        mode(loose);
        let error = TlsKeeper::load(&both, &both).expect_err("others can read it").to_string();
        assert!(
            error.contains(&format!("has mode {loose:04o}")) && error.contains("fix: chmod 600"),
            "{error}"
        );
    }
    mode(0o600);
    TlsKeeper::load(&both, &both).expect("one file may hold both");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_has_a_deadline() {
    let dir = TempDir::new().unwrap();
    let Some(pair) = make_pair("a_handshake_has_a_deadline", dir.path(), "a") else { return };
    let keeper = Arc::new(TlsKeeper::load(&pair.cert, &pair.key).unwrap());
    let limits = ListenLimits { handshake: Duration::from_millis(50), ..ListenLimits::default() };
    let server = Setup { tls: Some(keeper), limits, ..Setup::default() }.start().await;
    let mut silent = server.connect().await;
    assert_eq!(until_closed(&mut silent).await, b"");
    let plain = server.get("/latest").await;
    assert_ne!(plain.status, 200, "no answer in the clear");
    assert_eq!(server.metrics.traffic.handshakes_failed.get(), 2);
}
