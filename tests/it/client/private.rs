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
