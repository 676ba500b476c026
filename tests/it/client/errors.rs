//! What a developer reads at the prompt when a look-up ends without a record, from notary to terminal.

use tallystick::visible::fit_for_go;

use super::*;

/// The `go` command's way to show a body: every line of it, indented.
fn shown(status: &str, body: &str) -> String {
    format!("{status}\n\tserver response:\n\t{}", body.trim_end().replace('\n', "\n\t"))
}

/// A log whose routes end in each kind of trouble, by the first element below `corp.example`.
fn troubled(proxy: &Proxy, upstream: &HostileServer) -> LogDirectory {
    // Nobody listens on a port that was just given back.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let route = |name: &str, source: &str| {
        format!(
            "[[route]]\nmodules = [\"corp.example/{name}\"]\nsource = [\"{source}\"]\nchecksum = \"compute\"\n"
        )
    };
    let routes: String = [
        route("down", &format!("http://{closed}")),
        route("forbidden", &upstream.url()),
        route("broken", &upstream.url()),
        route("stalls", &upstream.url()),
        route("absent", &proxy.url()),
        route("lies", &proxy.url()),
    ]
    .concat();
    LogDirectory::new(NAME, &format!("[limits]\ndeadline_seconds = 2\n{routes}"))
}

#[test]
fn every_refusal_is_read_whole_at_the_prompt() {
    if !oracle::is_there("every_refusal_is_read_whole_at_the_prompt") {
        return;
    }
    let names = ["down", "forbidden", "broken", "stalls", "absent", "lies", "elsewhere"];
    let all: Vec<Spec> = names.iter().map(|name| Spec::new(&format!("corp.example/{name}"))).collect();
    // What the developers have, and what the log's source has: not `absent`, and another go.mod beside the zip of `lies`.
    let (developers, source) = (Proxy::new(all), Proxy::new(vec![Spec::new("corp.example/lies")]));
    std::fs::write(source.path().join("corp.example/lies/@v/v1.0.0.mod"), "module corp.example/lies // x\n")
        .unwrap();
    let upstream = HostileServer::start(|path| match path {
        path if path.contains("forbidden") => Behaviour::error(403, "ask the platform team for access"),
        path if path.contains("broken") => Behaviour::error(500, "out of disk"),
        _ => Behaviour::Stall,
    });
    let directory = troubled(&source, &upstream);
    let server = directory.serve();
    let table: [(&str, &str, &[&str]); 7] = [
        (
            "absent",
            "404 Not Found",
            &["not found: ", "does not have corp.example/absent@v1.0.0", "Check path"],
        ),
        ("elsewhere", "404 Not Found", &["no route of this checksum database covers", "[[route]]"]),
        ("forbidden", "403 Forbidden", &["refuses the checksum database access", "must give it credentials"]),
        ("down", "503 Service Unavailable", &["try again: ", "Run the command again in"]),
        ("broken", "503 Service Unavailable", &["try again: ", "Run the command again in"]),
        ("stalls", "503 Service Unavailable", &["takes longer than 2 s", "Run the command again in 10 s."]),
        ("lies", "409 Conflict", &["corp.example/lies@v1.0.0 is refused: ", "must be repaired there"]),
    ];
    for (name, status, texts) in table {
        let module = format!("corp.example/{name}@v1.0.0");
        let ran = Developer::new(&developers.url(), &server.gosumdb()).download(&module).failed_with(texts);
        // The same answer again, remembered or not: all of it is on the screen.
        let body = server.get(&format!("/lookup/{module}")).text();
        assert_eq!(fit_for_go(&body), body, "{module}: go would cut {body:?}");
        let seconds = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "9");
        let (wanted, said) = (shown(status, &body), &ran.stderr);
        assert!(seconds(said).contains(&seconds(&wanted)), "go printed\n{said}\nand not\n{wanted}");
    }
    assert_eq!(server.metric("tree_size"), 0);
}

/// The second version of a tag that was moved: the log keeps the first, and the developer reads that the files differ.
#[test]
fn a_moved_tag_is_refused_for_ever() {
    if !oracle::is_there("a_moved_tag_is_refused_for_ever") {
        return;
    }
    let module = "corp.example/lib@v1.0.0";
    let mut proxy = Proxy::new(vec![Spec::new("corp.example/lib")]);
    let directory = log_over(&proxy);
    let server = directory.serve();
    Developer::new(&proxy.url(), &server.gosumdb()).download(module).succeeded();
    let first = proxy.sums(module).clone();
    proxy.publish(vec![Spec::new("corp.example/lib").file("lib.go", "package lib\n\nconst Name = 2\n")]);
    let second = proxy.sums(module).clone();
    assert_ne!(first.zip, second.zip);
    let mismatch = format!(
        "{module}: verifying module: checksum mismatch\n\tdownloaded: {}\n\t{NAME}: {}\n\nSECURITY ERROR\n",
        second.zip, first.zip
    );
    for _ in 0..2 {
        let victim = Developer::new(&proxy.url(), &server.gosumdb());
        victim.download(module).failed_with(&[&mismatch]);
        assert!(!victim.has_unpacked(module));
    }
    // A new version is the cure that the log's operator is told of.
    proxy.publish(vec![
        Spec::new("corp.example/lib").version("v1.0.1").file("lib.go", "package lib\n\nconst Name = 2\n"),
    ]);
    let developer = Developer::new(&proxy.url(), &server.gosumdb());
    developer.download("corp.example/lib@v1.0.1").succeeded();
    assert_eq!(server.metric("tree_size"), 2);
}
