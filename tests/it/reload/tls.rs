//! The certificate: replaced by a reload, and watched for its end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tallystick::http::tls::{TlsKeeper, TlsPair};

use super::{reload, route, run};
use crate::support::serve::LogDirectory;

/// A self-signed certificate for 127.0.0.1 that is valid for so many days.
fn make_pair(test: &str, directory: &Path, name: &str, days: u32) -> Option<(PathBuf, PathBuf)> {
    let (cert, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-days",
            &days.to_string(),
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output();
    let Ok(made) = made else {
        eprintln!("SKIPPED: {test}: openssl cannot be run");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    Some((cert, key))
}

fn client(cert: &Path) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(&std::fs::read(cert).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap()
}

fn tls((cert, key): &(PathBuf, PathBuf)) -> String {
    format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n", cert.display(), key.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_get_the_new_certificate_and_old_ones_go_on() {
    const TEST: &str = "new_connections_get_the_new_certificate_and_old_ones_go_on";
    let directory = tempfile::tempdir().unwrap();
    let Some(old) = make_pair(TEST, directory.path(), "old", 90) else { return };
    let Some(new) = make_pair(TEST, directory.path(), "new", 60) else { return };
    let rest = route("https://proxy.example");
    let data = LogDirectory::new("sum.corp.example", &(rest.clone() + &tls(&old)));
    let server = data.serve();
    let latest = format!("{}/latest", server.url);
    let (by_old, by_new) = (client(&old.0), client(&new.0));
    assert_eq!(by_old.get(&latest).send().await.unwrap().status(), 200);
    assert!(by_new.get(&latest).send().await.is_err(), "it trusts the other certificate only");
    let until = |pair: &(PathBuf, PathBuf)| {
        TlsPair::read(&pair.0, &pair.1).unwrap().validity().unwrap().not_after.as_second() as u64
    };
    let metric = "tls_certificate_not_after_timestamp_seconds";
    assert_eq!(server.metric(metric), until(&old));

    // A pair that does not fit together changes nothing.
    let mixed = (new.0.clone(), old.1.clone());
    data.configure("sum.corp.example", &(rest.clone() + &tls(&mixed)));
    let refused = reload(&data);
    assert!(refused.code == 2 && refused.stderr.contains("does not belong"), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("{}:", data.config().display())), "{}", refused.stderr);

    data.configure("sum.corp.example", &(rest.clone() + &tls(&new)));
    let changed = reload(&data);
    assert!(changed.code == 0 && changed.stdout.contains("tls.cert"), "{}{}", changed.stdout, changed.stderr);
    assert_eq!(by_new.get(&latest).send().await.unwrap().status(), 200);
    // It would not take the new certificate, so it is the connection of before.
    assert_eq!(by_old.get(&latest).send().await.unwrap().status(), 200);
    assert!(client(&old.0).get(&latest).send().await.is_err());
    assert_eq!(server.metric(metric), until(&new));

    // Without TLS it would be another address for every client.
    data.configure("sum.corp.example", &rest);
    let refused = reload(&data);
    assert!(refused.code == 1 && refused.stderr.contains("`tls.cert`"), "{}", refused.stderr);
    server.stop();
}

#[test]
fn a_certificate_that_expires_is_warned_of_by_the_check_and_by_the_server() {
    const TEST: &str = "a_certificate_that_expires_is_warned_of_by_the_check_and_by_the_server";
    let directory = tempfile::tempdir().unwrap();
    let Some(soon) = make_pair(TEST, directory.path(), "soon", 29) else { return };
    let Some(later) = make_pair(TEST, directory.path(), "later", 31) else { return };
    let rest = route("https://proxy.example");
    let data = LogDirectory::new("sum.corp.example", &(rest.clone() + &tls(&soon)));
    let said = format!("the certificate in {} expires in 28 days, at ", soon.0.display());
    let checked = run(&data, &["config", "check"]);
    assert!(checked.code == 0 && checked.stderr.contains(&said), "{}", checked.stderr);
    let server = data.serve();
    assert!(server.printed().contains(&said), "{}", server.printed());
    data.configure("sum.corp.example", &(rest + &tls(&later)));
    assert!(!run(&data, &["config", "check"]).stderr.contains("expires"));
    server.stop();
    // The keeper of a witness reads the same dates.
    let keeper = TlsKeeper::load(&soon.0, &soon.1).unwrap();
    assert!(keeper.current().validity().is_some());
}
