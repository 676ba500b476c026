//! What was downloaded and what was built: `go mod download -json`, module caches, programs.

use super::*;

#[test]
fn what_go_downloads_is_checked_as_it_comes() {
    let Some(world) = World::new("what_go_downloads_is_checked_as_it_comes") else { return };
    let told = world.developer.go(&["mod", "download", "-json", LIB, TOOL]).succeeded().stdout;
    let ran = world.developer.check_with(&["-"], &[], &told);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("4 of 4 hashes are proved"), "{}", ran.stdout);
    let lines = world.proxy.lines(LIB).join("\n");
    assert_eq!(world.developer.check_with(&["-"], &[], &lines).code, 0);
    let hash = &world.proxy.sums(LIB).zip;
    let ran = world.developer.check_with(&["-"], &[], &told.replace(hash, &world.proxy.sums(TOOL).zip));
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    let failed = world.developer.go(&["mod", "download", "-json", "corp.example/lib@v9.9.9"]).stdout;
    let ran = world.developer.check_with(&["-"], &[], &failed);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("go could not download it"), "{}", ran.stdout);
    let ran = world.developer.check_with(&["-"], &[], "{\"Path\": 1}");
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
}

/// The zip is hashed, whatever the `.ziphash` file beside it says.
#[test]
fn a_zip_that_was_changed_in_the_module_cache_is_found() {
    let Some(world) = World::new("a_zip_that_was_changed_in_the_module_cache_is_found") else { return };
    world.download();
    let (code, report) = world.developer.check_json(&["--modcache"]);
    assert_eq!((code, counts(&report)), (0, vec![("proved".to_owned(), 4)]), "{report}");
    let cache = world.developer.path("modcache");
    let named = format!("--modcache={}", cache.display());
    let ran = world.developer.check_with(&[&named], &[("GOMODCACHE", "/nonexistent")], "");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let zip = cache.join("cache/download/corp.example/lib/@v/v1.0.0.zip");
    let other =
        Proxy::new(vec![Spec::new("corp.example/lib").file("lib.go", "package lib\n\nconst Name = 2\n")]);
    std::fs::copy(other.path().join("corp.example/lib/@v/v1.0.0.zip"), &zip).unwrap();
    let (code, report) = world.developer.check_json(&["--modcache"]);
    let finding = &report["findings"][0];
    assert_eq!((code, finding["file"].as_str()), (4, zip.to_str()), "{report}");
    assert!(finding["why"].as_str().unwrap().contains(&other.sums(LIB).zip), "{report}");
    // One that cannot be hashed is no proof either.
    std::fs::write(&zip, "PK").unwrap();
    let (code, report) = world.developer.check_json(&["--modcache"]);
    assert_eq!((code, report["findings"][0]["verdict"].as_str()), (1, Some("not-checked")), "{report}");
}

/// One of the oracle's own programs, which Go has built with x/mod in it, and a log that has
/// x/mod's lines as tests/oracle/go.sum has them.
#[test]
fn the_modules_of_a_program_are_held_against_the_log() {
    let Some(world) = World::new("the_modules_of_a_program_are_held_against_the_log") else { return };
    let lines: String = include_str!("../../../oracle/go.sum")
        .lines()
        .filter(|line| line.starts_with("golang.org/x/mod "))
        .map(|line| format!("{line}\n"))
        .collect();
    world.developer.write("records", &lines);
    let config = world.directory.config();
    let mut import = world.developer.program(TALLYSTICK);
    import.arg("--config").arg(config).args(["import", "--trust", "--importer", "test", "records"]);
    let ran = Checked::of(import.output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let program = oracle::program("mkproxy");
    let (code, report) = world.developer.check_json(&[program.to_str().unwrap()]);
    let want = vec![("proved".to_owned(), 1), ("unverified".to_owned(), 1)];
    assert_eq!((code, counts(&report)), (0, want), "{report}");
    let local = &report["findings"][0];
    assert!(local["why"].as_str().unwrap().contains("it was built from a directory"), "{report}");
    // A program without a list, and a file that is none.
    let shell = if Path::new("/bin/sh").exists() { "/bin/sh" } else { TALLYSTICK };
    let ran = world.developer.check(&[shell]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains(shell), "{}", ran.stderr);
}
