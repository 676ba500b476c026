//! Directories: modules, workspaces, vendored files; and the settings with which `go` goes around
//! the log.

use super::*;

#[test]
fn a_workspace_is_all_its_members() {
    let Some(world) = World::new("a_workspace_is_all_its_members") else { return };
    world.download();
    let developer = world.developer;
    let work = developer.work();
    for (member, requires) in [("a", "corp.example/lib"), ("b", "corp.example/Team/Tool")] {
        std::fs::create_dir(work.join(member)).unwrap();
        let go_mod = format!(
            "module example.com/{member}\n\ngo 1.21\n\nrequire {requires} v1.0.0\n\nreplace corp.example/local => ../local\n"
        );
        developer.write(&format!("{member}/go.mod"), &go_mod);
    }
    let [lib, lib_mod] = world.proxy.lines(LIB);
    let [tool, tool_mod] = world.proxy.lines(TOOL);
    developer.write("a/go.sum", &format!("{lib}\n{lib_mod}\n"));
    developer.write("b/go.sum", &format!("{tool}\n"));
    developer.write(
        "go.work",
        "go 1.21\n\nuse (\n\t./a\n\tb\n)\n\nreplace corp.example/other v1.2.0 => ./other\n",
    );
    developer.write("go.work.sum", &format!("{tool_mod}\n"));
    std::fs::remove_file(work.join("go.mod")).unwrap();
    std::fs::remove_file(work.join("go.sum")).unwrap();
    let (code, report) = developer.check_json(&["."]);
    let want = vec![("proved".to_owned(), 4), ("unverified".to_owned(), 3)];
    assert_eq!((code, counts(&report)), (0, want), "{report}");
    let named: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["file"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["a/go.mod", "b/go.mod", "go.work"]);
    // Each file counts.
    for (name, text) in [("go.work.sum", tool_mod), ("b/go.sum", tool), ("a/go.sum", lib)] {
        let other = text.replace("h1:", "h1:A");
        let right = std::fs::read_to_string(work.join(name)).unwrap();
        let wrong = format!("{} h1:{}=", text.rsplit_once(' ').unwrap().0, "B".repeat(42) + "A");
        developer.write(name, &right.replace(&text, &wrong));
        let (code, report) = developer.check_json(&["."]);
        assert_eq!((code, report["findings"][0]["file"].as_str()), (4, Some(name)), "{other}{report}");
        developer.write(name, &right);
    }
}

#[test]
fn a_directory_without_what_is_needed_is_named() {
    let Some(world) = World::new("a_directory_without_what_is_needed_is_named") else { return };
    let ran = world.developer.check(&[]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("go.sum is missing") && ran.stderr.contains("fix: run `go mod tidy`"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    std::fs::remove_file(world.developer.work().join("go.mod")).unwrap();
    let ran = world.developer.check(&[]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("there is no go.work, go.mod or go.sum in this directory"), "{}", ran.stderr);
    let ran = world.developer.check(&["nowhere/go.sum"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn vendored_files_are_those_of_the_zips() {
    let Some(world) = World::new("vendored_files_are_those_of_the_zips") else { return };
    let developer = world.developer;
    developer.write(
        "main.go",
        "package main\n\nimport (\n\t_ \"corp.example/Team/Tool\"\n\t_ \"corp.example/lib\"\n)\n\nfunc main() {}\n",
    );
    developer.go(&["mod", "tidy"]).succeeded();
    developer.go(&["mod", "vendor"]).succeeded();
    let (code, report) = developer.check_json(&[".", "--vendor"]);
    assert_eq!((code, counts(&report)), (0, vec![("proved".to_owned(), 6)]), "{report}");
    let file = "vendor/corp.example/lib/lib.go";
    let right = std::fs::read_to_string(developer.work().join(file)).unwrap();
    developer.write(file, &format!("{right}\n"));
    let (code, report) = developer.check_json(&["--vendor"]);
    let finding = &report["findings"][0];
    assert_eq!((code, finding["file"].as_str()), (4, Some(file)), "{report}");
    assert!(
        finding["why"].as_str().unwrap().contains("it is not the file in the zip of corp.example/lib@v1.0.0"),
        "{report}"
    );
    // Without --vendor nobody looks; go does not either.
    assert_eq!(developer.check(&[]).code, 0);
    developer.write(file, &right);
    for stray in ["vendor/corp.example/lib/more.go", "vendor/corp.example/strange.go"] {
        developer.write(stray, "package lib\n");
        let (code, report) = developer.check_json(&["--vendor"]);
        assert_eq!((code, report["findings"][0]["file"].as_str()), (4, Some(stray)), "{report}");
        std::fs::remove_file(developer.work().join(stray)).unwrap();
    }
    // A package that the module does not have.
    let listed = std::fs::read_to_string(developer.work().join("vendor/modules.txt")).unwrap();
    let more = "\ncorp.example/lib\ncorp.example/lib/more\n";
    developer.write("vendor/modules.txt", &listed.replace("\ncorp.example/lib\n", more));
    let (code, report) = developer.check_json(&["--vendor"]);
    let line = listed.lines().position(|line| line == "corp.example/lib").unwrap() + 2;
    let finding = &report["findings"][0];
    let place = (finding["file"].as_str(), finding["line"].as_u64());
    assert_eq!((code, place), (4, (Some("vendor/modules.txt"), Some(line as u64))), "{report}");
    // A version that was put into vendor/modules.txt by hand is another zip.
    developer
        .write("vendor/modules.txt", &listed.replace("corp.example/lib v1.0.0", "corp.example/lib v1.0.1"));
    let (code, report) = developer.check_json(&["--vendor"]);
    assert_eq!(code, 1, "{report}");
    assert!(report.to_string().contains("its zip cannot be had"), "{report}");
}

/// The rules are those of `go help module-auth`, `go help module-private` and `go help goproxy`.
#[test]
fn settings_that_bypass_the_log_fail() {
    let Some(world) = World::new("settings_that_bypass_the_log_fail") else { return };
    world.download();
    let developer = world.developer.with("GOFLAGS", "-mod=mod");
    let run = |environment: &[(&str, &str)]| developer.check_with(&["--env"], environment, "");
    let ran = run(&[("GOPROXY", "https://proxy.corp.example")]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    for (name, value) in [
        ("GOSUMDB", "off"),
        ("GONOSUMDB", "corp.example"),
        ("GOINSECURE", "corp.example"),
        ("GOFLAGS", "-insecure"),
        ("GOFLAGS", "-mod=vendor"),
        ("GOPROXY", "https://proxy.corp.example,direct"),
        ("GOPROXY", "https://proxy.corp.example|https://other.example"),
        ("GOPROXY", "direct"),
    ] {
        let ran = run(&[("GOPROXY", "https://proxy.corp.example"), (name, value)]);
        assert_eq!(ran.code, 1, "{name}={value}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(name), "{name}={value}: {}", ran.stdout);
    }
    let private =
        [("GOPROXY", "https://proxy.corp.example"), ("GONOSUMDB", ""), ("GOPRIVATE", "corp.example")];
    assert_eq!(run(&private).code, 1);
    // GOSUMDB of another log than the one that is checked.
    let key = world.server.as_ref().unwrap().vkey.clone();
    let arguments = ["--env", "--key", &key];
    let ran = developer.check_with(
        &arguments,
        &[("GOPROXY", "https://p.example"), ("GOSUMDB", "sum.golang.org")],
        "",
    );
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("GOSUMDB names another log"), "{}", ran.stdout);
}
