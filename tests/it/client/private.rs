//! Private modules from a module proxy of files: cold and warm caches, odd names, toolchains, many clients at once.

use super::*;

/// Modules that a company has: capitals, major versions, pre-releases, pseudo-versions, no go.mod, `+incompatible`.
fn company() -> (Proxy, Vec<&'static str>) {
    let modules = vec![
        Spec::new("corp.example/lib"),
        Spec::new("corp.example/Team/Tool"),
        Spec::new("corp.example/big/v2").version("v2.3.4"),
        Spec::new("corp.example/early").version("v0.1.0-RC.1"),
        Spec::new("corp.example/commit").version("v0.0.0-20261121120000-0123456789ab"),
        Spec::new("corp.example/plain").without("go.mod"),
        Spec::new("corp.example/old").without("go.mod").version("v4.0.0+incompatible"),
    ];
    let names = vec![
        "corp.example/lib@v1.0.0",
        "corp.example/Team/Tool@v1.0.0",
        "corp.example/big/v2@v2.3.4",
        "corp.example/early@v0.1.0-RC.1",
        "corp.example/commit@v0.0.0-20261121120000-0123456789ab",
        "corp.example/plain@v1.0.0",
        "corp.example/old@v4.0.0+incompatible",
    ];
    (Proxy::new(modules), names)
}

#[test]
fn private_modules_with_cold_and_warm_caches() {
    if !oracle::is_there("private_modules_with_cold_and_warm_caches") {
        return;
    }
    let (proxy, modules) = company();
    let directory = log_over(&proxy);
    let server = directory.serve();
    let developer = Developer::new(&proxy.url(), &server.gosumdb());
    // Cold on both sides: each module is new to the log.
    for module in &modules {
        developer.download(module).succeeded();
        let page = server.get(&format!("/lookup/{}", escaped(module)));
        let [zip, go_mod] = proxy.lines(module);
        assert!(page.text().contains(&format!("\n{zip}\n{go_mod}\n\n")), "{}", page.text());
    }
    assert_eq!(server.metric("tree_size"), modules.len() as u64);
    // Warm: the client asks nobody.
    let before = server.requests(None);
    for module in &modules {
        developer.download(module).succeeded();
    }
    assert_eq!(server.requests(None), before);
    // The client's module cache is gone and its newest head is not: everything is asked again and nothing is new.
    let head = developer.newest_head(NAME);
    assert!(head.starts_with(&format!("go.sum database tree\n{}\n", modules.len())), "{head}");
    developer.forget_modules();
    for module in &modules {
        developer.download(module).succeeded();
    }
    assert_eq!(developer.newest_head(NAME), head);
    // A second developer, and a server that was started again.
    server.stop();
    let server = directory.serve();
    let second = Developer::new(&proxy.url(), &server.gosumdb());
    for module in &modules {
        second.download(module).succeeded();
    }
    assert_eq!(second.newest_head(NAME), head);
    assert_eq!(server.metric("tree_size"), modules.len() as u64);
    assert_eq!((server.requests(Some("lookup")), server.requests(Some("notarize"))), (7, 0));
}

/// A build, not only a download: the project's go.sum is what x/mod says, and `go mod verify` agrees.
#[test]
fn a_build_of_private_modules() {
    if !oracle::is_there("a_build_of_private_modules") {
        return;
    }
    let lib = "corp.example/lib".to_owned();
    let app = Spec::new("corp.example/app").requires(std::slice::from_ref(&lib));
    let app = app.file("lib.go", "package app\n\nimport \"corp.example/lib\"\n\nconst Name = lib.Name\n");
    let proxy = Proxy::new(vec![Spec::new(&lib), app]);
    let directory = log_over(&proxy);
    let server = directory.serve();
    let developer = Developer::new(&proxy.url(), &server.gosumdb());
    developer.project(&["corp.example/app".to_owned()]);
    developer.write("p.go", "package p\n\nimport \"corp.example/app\"\n\nconst Name = app.Name\n");
    developer.go(&["build", "./..."]).succeeded();
    let verified = developer.go(&["mod", "verify"]).succeeded();
    assert_eq!(verified.stdout, "all modules verified\n");
    let mut lines = proxy.lines("corp.example/app@v1.0.0").to_vec();
    lines.extend(proxy.lines("corp.example/lib@v1.0.0"));
    lines.sort();
    let go_sum = developer.go_sum();
    let mut written: Vec<&str> = go_sum.lines().collect();
    written.sort_unstable();
    assert_eq!(written, lines);
}

/// The `go` command wants the checksum database for toolchains even where GONOSUMDB matches (unless its only proxy is a
/// directory, which is how a distribution tests itself), and refuses them without one.
#[test]
fn a_toolchain_is_looked_up_like_any_module() {
    if !oracle::is_there("a_toolchain_is_looked_up_like_any_module") {
        return;
    }
    const TOOLCHAIN: &str = "golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64";
    let (path, version) = TOOLCHAIN.split_once('@').unwrap();
    let toolchain = Spec::new(path).version(version).without("go.mod").without("lib.go");
    let toolchain = toolchain.file("_go.mod", "module golang.org/toolchain\n").file("bin/go", "#!/bin/sh\n");
    let mut proxy = Proxy::new(vec![toolchain]);
    let directory = LogDirectory::new(NAME, &proxy.route("golang.org/toolchain"));
    let server = directory.serve();
    let goproxy = format!("{},off", proxy.url());
    for (count, gonosumdb) in ["none", "golang.org/toolchain", "*"].into_iter().enumerate() {
        let developer = Developer::new(&goproxy, &server.gosumdb()).with("GONOSUMDB", gonosumdb);
        developer.download(TOOLCHAIN).succeeded();
        assert_eq!(server.requests(Some("notarize")), 1, "only the first is new to the log");
        assert_eq!(server.requests(Some("lookup")), count as u64, "asked with GONOSUMDB={gonosumdb}");
    }
    let [zip, go_mod] = proxy.lines(TOOLCHAIN);
    assert!(server.get(&format!("/lookup/{TOOLCHAIN}")).text().contains(&format!("{zip}\n{go_mod}\n\n")));
    let off = Developer::new(&goproxy, "off");
    off.download(TOOLCHAIN).failed_with(&["checksum database disabled by GOSUMDB=off"]);
    // GONOSUMDB does not let a changed toolchain through either.
    let other = Spec::new(path).version(version).without("go.mod").file("bin/go", "#!/bin/evil\n");
    proxy.publish(vec![other]);
    let victim = Developer::new(&goproxy, &server.gosumdb()).with("GONOSUMDB", "*");
    victim.download(TOOLCHAIN).failed_with(&["verifying module: checksum mismatch", "SECURITY ERROR"]);
}

/// GOPRIVATE is the default of GONOSUMDB: what it names is not looked up at all. `GONOSUMDB=none` is the cure.
#[test]
fn goprivate_skips_the_log_and_gonosumdb_none_does_not() {
    if !oracle::is_there("goprivate_skips_the_log_and_gonosumdb_none_does_not") {
        return;
    }
    let proxy = Proxy::new(vec![Spec::new("corp.example/lib")]);
    let directory = log_over(&proxy);
    let server = directory.serve();
    // GONOPROXY keeps its other default from sending the module to version control.
    let skipping = Developer::new(&proxy.url(), &server.gosumdb()).with("GOPRIVATE", "corp.example/*");
    let mut developer = skipping.with("GONOPROXY", "none").with("GONOSUMDB", "");
    developer.download("corp.example/lib@v1.0.0").succeeded();
    assert_eq!(server.requests(None), 0, "with GOPRIVATE alone nobody asks the log");
    developer.set("GONOSUMDB", "none");
    developer.forget_modules();
    developer.download("corp.example/lib@v1.0.0").succeeded();
    assert_eq!(server.metric("tree_size"), 1);
}

/// Eight machines and one shared cache, each with most of the modules: one record for each module, the same for all.
#[test]
fn many_clients_at_once() {
    if !oracle::is_there("many_clients_at_once") {
        return;
    }
    let (proxy, paths) = Proxy::of_many("corp.example/shared", 24);
    let directory = log_over(&proxy);
    let server = directory.serve();
    let developers: Vec<Developer> = (0..8)
        .map(|number| {
            let developer = Developer::new(&proxy.url(), &server.gosumdb());
            let mut requires: Vec<String> = paths.iter().cycle().skip(number * 3).take(16).cloned().collect();
            requires.sort();
            developer.project(&requires);
            developer
        })
        .collect();
    // The first has a second process on the same caches.
    let running: Vec<_> = developers
        .iter()
        .chain(&developers[..1])
        .map(|developer| {
            let mut command = developer.command(&["mod", "download", "all"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.metric("tree_size"), 24);
    for developer in &developers {
        let go_sum = developer.go_sum();
        let expected: Vec<String> =
            paths.iter().flat_map(|path| proxy.lines(&format!("{path}@v1.0.0"))).collect();
        assert_eq!(go_sum.lines().count(), 32, "{go_sum}");
        assert!(go_sum.lines().all(|line| expected.iter().any(|known| known == line)), "{go_sum}");
    }
    let audit = oracle::rehash(&server.vkey, &server.url, &[1, 12, 23]);
    assert_eq!(audit.size, 24);
    assert_eq!(server.metric("notary_conflicts"), 0);
}
