//! The forms of `GOSUMDB`: a key and a URL (as in most tests here), a key and a directory, a key alone behind a proxy.

use tallystick::tlog::{TreeSize, new_tiles};

use super::*;

/// Writes the log at `server` as the files that a client asks for.
fn export(server: &Server, lookups: &[String], to: &Path) {
    let write = |path: &str| {
        let page = server.get(path);
        assert_eq!(page.status, 200, "{path}");
        let file = to.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, page.body).unwrap();
    };
    write("/latest");
    let size = server.metric("tree_size");
    for tile in new_tiles(8, TreeSize(0), TreeSize(size)) {
        write(&format!("/{}", tile.path()));
    }
    for module in lookups {
        write(&format!("/lookup/{}", escaped(module)));
    }
}

#[test]
fn a_directory_answers_as_the_server_did() {
    if !oracle::is_there("a_directory_answers_as_the_server_did") {
        return;
    }
    let proxy = Proxy::new(vec![Spec::new("corp.example/Team/Tool"), Spec::new("corp.example/lib")]);
    let modules = ["corp.example/Team/Tool@v1.0.0".to_owned(), "corp.example/lib@v1.0.0".to_owned()];
    let directory = log_over(&proxy);
    // More than one full tile, so that the directory must have parents too.
    grow(&directory, 300);
    let server = directory.serve();
    for module in &modules {
        assert_eq!(server.get(&format!("/lookup/{}", escaped(module))).status, 200);
    }
    let files = tempfile::tempdir().unwrap();
    export(&server, &modules, files.path());
    let gosumdb = format!("{} file://{}", server.vkey, files.path().display());
    server.stop();
    let developer = Developer::new(&proxy.url(), &gosumdb);
    for module in &modules {
        developer.download(module).succeeded();
    }
    assert!(developer.newest_head(NAME).starts_with("go.sum database tree\n302\n"));
    // A directory that somebody changed is no better than a server that does.
    let tile = files.path().join("tile/8/0/001.p/46");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let victim = Developer::new(&proxy.url(), &gosumdb);
    victim.download(&modules[1]).failed_with(&["verifying ", "downloaded inconsistent tile"]);
}

/// A module proxy that passes `/sumdb/` on: the `go` command asks `supported` first and everything below that path.
#[test]
fn a_key_alone_is_enough_behind_a_proxy() {
    if !oracle::is_there("a_key_alone_is_enough_behind_a_proxy") {
        return;
    }
    let module = "corp.example/Team/Tool@v1.0.0";
    // A name with a path in it, and one without.
    for name in ["sum.corp.example/team/log", NAME] {
        let proxy = Proxy::new(vec![Spec::new("corp.example/Team/Tool")]);
        let directory = LogDirectory::new(name, &proxy.route("corp.example/*"));
        let server = directory.serve();
        let (url, files) = (server.url.clone(), proxy.path().to_owned());
        let front = HostileServer::start(move |path| match path.starts_with("/sumdb/") {
            true => forward(&url, path, |page| page),
            false => file(&files, path),
        });
        let developer = Developer::new(&front.url(), &server.vkey);
        developer.download(module).succeeded();
        let paths: Vec<String> = front.paths().iter().map(|path| decoded(path)).collect();
        let paths: Vec<String> = paths.into_iter().filter(|path| path.starts_with("/sumdb/")).collect();
        let base = format!("/sumdb/{name}");
        assert_eq!(
            paths,
            [
                format!("{base}/supported"),
                format!("{base}/lookup/{}", escaped(module)),
                format!("{base}/tile/8/0/000.p/1"),
            ]
        );
        assert!(developer.newest_head(name).starts_with("go.sum database tree\n1\n"));
        // Only known names are answered, so that a client of another log goes on to its next proxy.
        assert_eq!(server.get("/sumdb/sum.other.example/supported").status, 404);
    }
}
