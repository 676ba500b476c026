//! What TLS said reaches the person, from each command that asks a server, and the advice works.

use super::*;

#[test]
fn an_unknown_authority_is_named_and_cacert_trusts_it() {
    let sandbox = sandbox();
    let test = "an_unknown_authority_is_named_and_cacert_trusts_it";
    let Some(pair) = certificate(test, &sandbox.path(""), "a", LOCAL, false) else { return };
    let (_directory, server) = served(Some(&pair));
    let cert = pair.cert.to_str().unwrap();
    sandbox.write("head", "x");
    let url = server.url.as_str();
    let commands: [(&[&str], i32); 5] = [
        (&["env", "--server", url], 0),
        (&["prove", "example.com/absent@v1.0.0", "--server", url], 1),
        (&["audit", url], 3),
        (&["audit", url, "--key", &server.vkey], 3),
        (&["gossip", url, "--head", "head"], 1),
    ];
    for (arguments, trusted) in commands {
        let what = arguments.join(" ");
        let ran = sandbox.run(arguments);
        let cause = "its certificate is signed by an authority that is not trusted here";
        assert_advised(&what, &ran, 3, cause, "name it with --cacert FILE");
        assert!(ran.stderr.contains(url) && ran.stderr.lines().count() == 2, "{what}: {}", ran.stderr);
        for (more, environment) in [(vec!["--cacert", cert], vec![]), (vec![], vec![("SSL_CERT_FILE", cert)])]
        {
            let ran = sandbox.run_with(&[arguments, more.as_slice()].concat(), &environment);
            // An empty log has nothing to audit, and no head that fits.
            assert!(
                !ran.stderr.contains("TLS") && [trusted, 0].contains(&ran.code),
                "{what}: {}",
                ran.stderr
            );
        }
    }
    // It stands beside the configured roots, which alone do not help.
    let other = certificate(test, &sandbox.path(""), "b", LOCAL, false).unwrap();
    sandbox.write("t.toml", &format!("roots = \"{}\"", other.cert.display()));
    let arguments = ["env", "--config", "t.toml", "--server", url];
    assert_eq!(sandbox.run(&arguments).code, 3);
    let ran = sandbox.run(&[arguments.as_slice(), &["--cacert", cert]].concat());
    assert_eq!(gosumdb(&ran), server.gosumdb());
}

#[test]
fn each_fault_of_a_certificate_has_its_own_words() {
    let sandbox = sandbox();
    let test = "each_fault_of_a_certificate_has_its_own_words";
    let dir = sandbox.path("");
    let Some(authority) = certificate(test, &dir, "authority", LOCAL, true) else { return };
    let named = certificate(test, &dir, "named", "DNS:a.example,DNS:b.example", false).unwrap();
    let mut table = vec![
        (authority, "its certificate is that of an authority (CA:TRUE)", "give it another certificate"),
        (
            named,
            "its certificate is for a.example and b.example, not for 127.0.0.1",
            "use a name of the certificate",
        ),
    ];
    if let Some(expired) = expired_certificate(test, &dir, "expired", LOCAL) {
        table.push((
            expired,
            "its certificate expired on 2025-03-03 12:00 UTC; here it is 20",
            "must renew its certificate",
        ));
    }
    for (pair, cause, fix) in table {
        let (_directory, server) = served(Some(&pair));
        let cert = pair.cert.to_str().unwrap();
        let ran = sandbox.run(&[&env_of(&server.url)[..], &["--cacert", cert]].concat());
        assert_advised(cert, &ran, 3, cause, fix);
    }
}

#[test]
fn the_wrong_scheme_is_told_either_way() {
    let sandbox = sandbox();
    let (_plain_directory, plain) = served(None);
    let https = plain.url.replace("http://", "https://");
    assert_advised("https", &sandbox.run(&env_of(&https)), 3, "its answer is not TLS", "use http://");
    let Some(pair) = certificate("the_wrong_scheme_is_told_either_way", &sandbox.path(""), "a", LOCAL, false)
    else {
        return;
    };
    let (_tls_directory, tls) = served(Some(&pair));
    let http = tls.url.replace("https://", "http://");
    assert_advised("http", &sandbox.run(&env_of(&http)), 3, "not a valid HTTP answer", "use https://");
}

#[test]
fn a_file_of_roots_that_is_none_is_named_with_the_fix() {
    let sandbox = sandbox();
    sandbox.write("empty.pem", "nothing\n");
    for (file, cause) in
        [("empty.pem", "no PEM certificate in it"), ("absent.pem", "No such file or directory")]
    {
        let ran = sandbox.run(&["env", "--server", "http://127.0.0.1:1", "--cacert", file]);
        assert_advised(file, &ran, 2, &format!("root certificates {file}: {cause}"), "give a PEM file");
    }
    let ran =
        sandbox.run_with(&["env", "--server", "http://127.0.0.1:1"], &[("SSL_CERT_FILE", "/absent.pem")]);
    assert_advised("SSL_CERT_FILE", &ran, 2, "SSL_CERT_FILE=\"/absent.pem\"", "correct it, or unset it");
}
