//! `prove` and `verify`: what one writes the other verifies with no server, and nothing that was changed.

use std::process::Command;

use serde_json::json;

use super::*;

const GOLANG: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const FIXTURE_MODULES: [&str; 3] =
    ["rsc.io/quote@v1.5.2", "github.com/BurntSushi/toml@v1.3.2", "gopkg.in/yaml.v3@v3.0.1"];

impl World {
    fn vkey(&self) -> String {
        self.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned()
    }

    /// A log with a private module and three public ones, and the go.sum that names them.
    fn with_modules(&self) {
        let mut gosum = String::new();
        for module in FIXTURE_MODULES.iter().chain(&["corp.example/billing@v0.4.0"]) {
            let answer = self.json(&["lookup", module, "--notarize", "--json"]);
            let lines = answer["found"]["lines"].as_array().expect("it is in the log");
            lines.iter().for_each(|line| gosum += &format!("{}\n", line.as_str().unwrap()));
        }
        self.sandbox.write("go.sum", &gosum);
    }

    fn own(&self, module: &str) -> PathBuf {
        self.sandbox.path(&format!("proofs/sum.corp.example/{module}.tlog-proof"))
    }

    /// Runs `verify` where there is no log and no configuration.
    fn verify(&self, arguments: &[&str]) -> Ran {
        let elsewhere = self.sandbox.path("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        let arguments = [&["verify"], arguments].concat();
        Ran::of(self.sandbox.command(&arguments).current_dir(elsewhere).output().unwrap())
    }
}

#[test]
fn a_whole_go_sum_is_proved_and_verified() {
    World::both_ways(|world| {
        world.with_modules();
        let asked = world.golang.requests().len();
        let report = world.json(&["prove", "--gosum", "go.sum", "--out", "proofs", "--json"]);
        assert_eq!(world.golang.requests().len(), asked, "nobody is asked for what is kept");
        let proved = report["proved"].as_array().unwrap();
        // Each in our log, and the public ones in theirs.
        assert_eq!((proved.len(), report["missing"].clone()), (7, json!([])), "{report}");
        assert_eq!(proved[0]["file"], "proofs/sum.corp.example/rsc.io/quote@v1.5.2.tlog-proof");
        assert_eq!((&proved[1]["log"], &proved[1]["record"]), (&json!("sum.golang.org"), &json!(942)));
        assert!(world.own("github.com/!burnt!sushi/toml@v1.3.2").exists());

        let key = world.vkey();
        let ran = world.verify(&["../proofs/sum.corp.example", "--key", &key, "--gosum", "../go.sum"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("8 of 8 go.sum lines are proved"), "{}", ran.stderr);
        assert!(ran.stderr.contains("4 of 4 files verified"), "{}", ran.stderr);
        assert!(ran.stdout.starts_with("MODULE"), "{}", ran.stdout);
        // sum.golang.org's own proofs, by its own key, under the head of 66398721 records that it signed.
        let origin = "go.sum database tree";
        let ran = world.verify(&["../proofs/sum.golang.org", "--key", GOLANG, "--origin", origin, "--json"]);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((ran.code, &report["verified"]), (0, &json!(true)), "{}{}", ran.stdout, ran.stderr);
        let quote = report["files"].as_array().unwrap().iter().find(|file| file["record"] == 942).unwrap();
        assert_eq!(quote["lines"], json!(QUOTE.lines().collect::<Vec<_>>()));
        assert_eq!((&quote["origin"], &quote["log"]), (&json!(origin), &json!("sum.golang.org")));
        // All of them at once, with both keys.
        let ran = world.verify(&["../proofs", "--key", &key, "--key", GOLANG, "--gosum", "../go.sum"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    });
}

#[test]
fn what_does_not_verify_ends_with_four() {
    let world = World::new();
    world.with_modules();
    world.succeed(&["prove", "--gosum", "go.sum", "--out", "proofs"]);
    let key = world.vkey();
    let file = fs::read_to_string(world.own("rsc.io/quote@v1.5.2")).unwrap();
    let refused = |text: &str, more: &[&str], why: &str| {
        world.sandbox.write("changed.tlog-proof", text);
        let ran = world.verify(&[&["../changed.tlog-proof"], more].concat());
        assert_eq!(ran.code, 4, "{why}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(why), "{why}: {}", ran.stderr);
        assert!(ran.stderr.contains("0 of 1 files verified"), "{}", ran.stderr);
    };
    let trusted = &["--key", key.as_str()][..];
    let hash = file.lines().nth(3).unwrap();
    refused(&file.replace("index 0\n", "index 1\n"), trusted, "the proof does not lead to the root");
    refused(&file.replace("index 0\n", "index 4\n"), trusted, "record 4 is not in a tree of size 4");
    refused(
        &file.replacen(hash, "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=", 1),
        trusted,
        "does not lead to the root",
    );
    refused(
        &file.replace("\nsum.corp.example\n4\n", "\nsum.corp.example\n5\n"),
        trusted,
        "invalid signature",
    );
    refused(&file.replace("@v1", "@v2"), trusted, "this is no proof file");
    refused(&file, &["--key", GOLANG], "and by no key that was given");
    refused(
        &file,
        &["--key", &key, "--origin", "sum.other.example"],
        "the checkpoint's origin is \"sum.corp.example\", not \"sum.other.example\"",
    );
    refused(&(file.clone() + &"x".repeat(1 << 20)), trusted, "is larger than 1048576 bytes");
    let signature = file.lines().last().unwrap();
    let many = file.clone() + &format!("{}\n", signature.replace("sum.corp.example", "x")).repeat(100);
    refused(&many, trusted, "more than 100 signatures");
    refused("", trusted, "this is no proof file");
    // A file that is not there does not verify either.
    let ran = world.verify(&["nowhere.tlog-proof", "--key", &key]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
}

#[test]
fn go_sum_must_be_what_is_proved_and_all_of_it() {
    let world = World::new();
    world.with_modules();
    world.succeed(&["prove", "--gosum", "go.sum", "--out", "proofs"]);
    let (key, gosum) = (world.vkey(), fs::read_to_string(world.sandbox.path("go.sum")).unwrap());
    let verify = |text: &str| {
        world.sandbox.write("other.sum", text);
        world.verify(&["../proofs/sum.corp.example", "--key", &key, "--gosum", "../other.sum"])
    };
    let wrong = "h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=";
    let right = "h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=";
    let ran = verify(&gosum.replace(right, wrong));
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("go.sum contradicts sum.corp.example\n  go.sum: rsc.io/quote v1.5.2/go.mod {wrong}\n  proved: rsc.io/quote v1.5.2/go.mod {right}")),
        "{}",
        ran.stderr
    );
    let more = format!("{gosum}rsc.io/sampler v1.3.0/go.mod {right}\n");
    let ran = verify(&more);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("no file proves rsc.io/sampler v1.3.0/go.mod"), "{}", ran.stderr);
    assert!(ran.stderr.contains("8 of 9 go.sum lines are proved"), "{}", ran.stderr);
    // What is not in the log is not proved, and the rest is.
    world.sandbox.write("more.sum", &more);
    let ran = world.run(&["prove", "--gosum", "more.sum", "--out", "proofs"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("rsc.io/sampler@v1.3.0 is not proved: the log has no record of"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout.lines().count(), 8, "{}", ran.stdout);
    assert_eq!(verify("this is none").code, 2);
}

#[test]
fn a_policy_is_asked_of_every_file() {
    let world = World::new();
    world.with_modules();
    world.succeed(&["prove", "rsc.io/quote@v1.5.2", "--out", "proofs"]);
    let key = world.vkey();
    let witness = tallystick::note::CosignatureSigner::generate("w.example".parse().unwrap(), [7; 32]);
    let policy = |quorum: &str| format!("log {key}\nwitness W {}\nquorum {quorum}\n", witness.verifier());
    let verify = |quorum: &str| {
        world.sandbox.write("policy.txt", &policy(quorum));
        world.verify(&["../proofs/sum.corp.example", "--policy", "../policy.txt", "--json"])
    };
    let ran = verify("none");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = verify("W");
    assert_eq!(ran.code, 4);
    assert!(
        ran.stdout.contains("the policy's quorum is not met: 0 of its 1 witnesses have cosigned"),
        "{}",
        ran.stdout
    );
    // With its cosignature it is met, and the time is shown.
    let file = fs::read_to_string(world.own("rsc.io/quote@v1.5.2")).unwrap();
    let (head, checkpoint) = file.split_once("\n\n").unwrap();
    let (text, _) = checkpoint.split_once("\n\n").unwrap();
    let cosignature = witness.cosign(&format!("{text}\n"), 1_700_000_000).format_line();
    fs::write(world.own("rsc.io/quote@v1.5.2"), format!("{head}\n\n{checkpoint}{cosignature}\n")).unwrap();
    let ran = verify("W");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        report["files"][0]["cosigned"],
        json!([{"witness": "w.example", "at": "2023-11-14T22:13:20Z"}])
    );
    // What is wrong with the policy is wrong usage.
    for (text, why) in [
        ("quorum W\n".to_owned(), "line 1 of the policy: no earlier line defines \"W\""),
        ("quorum none\n".to_owned(), "there is no log to trust"),
    ] {
        world.sandbox.write("policy.txt", &text);
        let ran = world.verify(&["../proofs/sum.corp.example", "--policy", "../policy.txt"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    assert_eq!(world.verify(&["../proofs"]).code, 2, "somebody must be trusted");
    assert_eq!(world.verify(&["../proofs", "--key", "sum.corp.example"]).code, 2);
    assert_eq!(world.verify(&["../goproxy", "--key", &key]).code, 2, "no proofs there");
}

#[test]
fn proofs_come_over_http_too() {
    let world = World::new();
    let server = world.serve();
    world.with_modules();
    let url =
        server.announced.lines().find_map(|line| line.strip_prefix("address")).unwrap().trim().to_owned();
    world.succeed(&["prove", "--gosum", "go.sum", "--out", "proofs"]);
    let ran = world.verify_like_prove(&["--gosum", "../go.sum", "--out", "../fetched", "--server", &url]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for file in [
        "sum.corp.example/rsc.io/quote@v1.5.2",
        "sum.golang.org/rsc.io/quote@v1.5.2",
        "sum.corp.example/corp.example/billing@v0.4.0",
    ] {
        let read = |directory: &str| {
            fs::read(world.sandbox.path(&format!("{directory}/{file}.tlog-proof"))).unwrap()
        };
        assert_eq!(read("fetched"), read("proofs"), "{file}");
    }
    let ran = world.verify_like_prove(&["rsc.io/sampler@v1.3.0", "--server", &url]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("rsc.io/sampler@v1.3.0 is not proved"), "{}", ran.stderr);
    // The endpoint itself: what is not there, and what is no question.
    let path = "/api/v1/tlog-proof/rsc.io/quote@v1.5.2";
    for (path, status, said) in [
        (path.to_owned(), 200, "c2sp.org/tlog-proof@v1\nextra "),
        (format!("{path}?log=sum.golang.org"), 200, "\nindex 942\n"),
        (format!("{path}?log=sum.other.example"), 404, "were not taken from sum.other.example"),
        (format!("{path}?size=1"), 400, "unknown parameter"),
        (format!("{path}?log=a&log=b"), 400, "log is given twice"),
        (
            "/api/v1/tlog-proof/corp.example/billing@v0.4.0?log=sum.golang.org".to_owned(),
            404,
            "were not taken from",
        ),
        (
            "/api/v1/tlog-proof/rsc.io/sampler@v1.3.0".to_owned(),
            404,
            "the log has no record of rsc.io/sampler@v1.3.0",
        ),
        ("/api/v1/tlog-proof/rsc.io/quote".to_owned(), 400, ""),
        ("/api/v1/tlog-proof/github.com/BurntSushi/toml@v1.3.2".to_owned(), 400, ""),
        (
            "/api/v1/tlog-proof/github.com/!burnt!sushi/toml@v1.3.2".to_owned(),
            200,
            "c2sp.org/tlog-proof@v1\n",
        ),
        ("/api/v1/tlog-proof/%zz".to_owned(), 400, "percent-escape"),
    ] {
        let page = crate::support::web::get(&url, &path).unwrap();
        assert_eq!(page.status, status, "{path}: {}", page.text());
        assert!(page.text().contains(said), "{path}: {}", page.text());
    }
    assert!(server.stop().0);
    let ran = world.verify_like_prove(&["rsc.io/quote@v1.5.2", "--server", &url]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

impl World {
    /// Runs `prove` where there is no log.
    fn verify_like_prove(&self, arguments: &[&str]) -> Ran {
        let elsewhere = self.sandbox.path("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        let arguments = [&["prove"], arguments].concat();
        Ran::of(self.sandbox.command(&arguments).current_dir(elsewhere).output().unwrap())
    }
}

#[test]
fn the_own_proof_stands_without_the_other_logs() {
    World::both_ways(|world| {
        world.with_modules();
        assert_eq!(world.run(&["prove", "corp.example/billing@v0.4.0", "--out", "proofs"]).code, 0);
        assert!(!world.sandbox.path("proofs/sum.golang.org").exists(), "a private module is in no other log");
    });
    let world = World::new();
    world.with_modules();
    fs::remove_dir_all(world.sandbox.path("data/mirror")).unwrap();
    let ran = world.run(&["prove", "rsc.io/quote@v1.5.2", "--out", "proofs"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("what proved record 942 of sum.golang.org is not kept here"),
        "{}",
        ran.stderr
    );
    let key = world.vkey();
    let ran = world.verify(&["../proofs", "--key", &key]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("1 of 1 files verified"), "{}", ran.stderr);
}

/// The program that README.md shows: golang.org/x/mod and nothing else.
#[test]
fn the_program_in_the_readme_verifies_the_same_files() {
    let test = "the_program_in_the_readme_verifies_the_same_files";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let mut programs = readme.split("```go\n").skip(1).filter_map(|rest| rest.split("```").next());
    let program = programs.find(|program| program.starts_with("// go run . VKEY ORIGIN FILE\n"));
    let program = program.expect("README.md shows the program");
    let world = World::new();
    world.with_modules();
    world.succeed(&["prove", "--gosum", "go.sum", "--out", "proofs"]);
    let directory = world.sandbox.path("auditor");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("main.go"), program).unwrap();
    for file in ["go.mod", "go.sum"] {
        fs::copy(root.join("tests/oracle").join(file), directory.join(file)).unwrap();
    }
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.args(arguments).current_dir(&directory).env("GOTOOLCHAIN", "local");
        go.env("GOFLAGS", "-mod=readonly -buildvcs=false").env("GOWORK", "off").output()
    };
    let why = match go(&["mod", "download", "golang.org/x/mod"]) {
        Err(error) => Some(format!("the go command does not run: {error}")),
        Ok(output) if !output.status.success() => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Ok(_) => None,
    };
    if let Some(why) = why {
        eprintln!("SKIPPED: {test}: {why}");
        return;
    }
    let built = go(&["build", "-o", "verify", "."]).unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let verify = |key: &str, origin: &str, file: &Path| {
        let output = Command::new(directory.join("verify")).args([key, origin]).arg(file).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (key, own) = (world.vkey(), world.own("rsc.io/quote@v1.5.2"));
    let theirs = world.sandbox.path("proofs/sum.golang.org/rsc.io/quote@v1.5.2.tlog-proof");
    let golang = "go.sum database tree";
    assert_eq!(verify(&key, "sum.corp.example", &own), (true, format!("record 0 of 4 is\n{QUOTE}")));
    assert_eq!(verify(GOLANG, golang, &theirs), (true, format!("record 942 of 66398721 is\n{QUOTE}")));
    // What we refuse it refuses.
    assert!(!verify(&key, golang, &own).0 && !verify(GOLANG, "sum.corp.example", &own).0);
    let file = fs::read_to_string(&own).unwrap();
    for changed in [
        file.replace("index 0\n", "index 1\n"),
        file.replace("extra c", "extra d"),
        file.replace("\n4\n", "\n5\n"),
    ] {
        assert_ne!(changed, file);
        world.sandbox.write("changed.tlog-proof", &changed);
        assert!(!verify(&key, "sum.corp.example", &world.sandbox.path("changed.tlog-proof")).0, "{changed}");
    }
}

/// A pipe that is found would be waited for without end; one that is named is what a shell's `<(…)` makes.
#[test]
fn what_is_found_must_be_regular_and_what_is_named_may_be_a_pipe() {
    let world = World::new();
    let module = "corp.example/billing@v0.4.0";
    world.succeed(&["lookup", module, "--notarize"]);
    world.succeed(&["prove", module, "--out", "proofs"]);
    let (key, proof) = (world.vkey(), world.own(module));
    let found = world.sandbox.path("found");
    fs::create_dir_all(found.join("below")).unwrap();
    fs::copy(&proof, found.join("below/good.tlog-proof")).unwrap();
    let place = |name: &str| found.join(format!("{name}.tlog-proof"));
    std::os::unix::fs::symlink("below/good.tlog-proof", place("inside")).unwrap();
    std::os::unix::fs::symlink(&proof, place("outside")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place("device")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place("socket")).unwrap();
    make_pipe(&place("pipe"));
    let ran = world.verify(&["../found", "--key", &key]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    for (name, why) in [
        ("pipe", "it is a named pipe, not a regular file"),
        ("outside", "it is a link that leads out of"),
        ("device", "it is a link that leads out of"),
        ("socket", ""),
    ] {
        let said =
            ran.stderr.lines().find(|line| line.contains(&format!("{name}.tlog-proof does not verify")));
        assert!(said.is_some_and(|line| line.contains(why)), "{name}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("2 of 6 files verified"), "{}", ran.stderr);

    let sh = "\"$1\" verify <(cat \"$2\") --key \"$3\"";
    let Some(bash) = crate::cli::installed("bash", "prove::what_is_named_may_be_a_pipe") else { return };
    let mut command = Command::new(bash);
    command.args(["-c", sh, "bash", env!("CARGO_BIN_EXE_tallystick")]).arg(&proof).arg(&key);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // It is read no further than a proof may reach.
    let endless = sh.replace("cat \"$2\"", "yes");
    let mut command = Command::new("bash");
    command.args(["-c", &endless, "bash", env!("CARGO_BIN_EXE_tallystick")]).arg(&proof).arg(&key);
    let ran = Ran::of(command.output().unwrap());
    assert!(ran.code == 4 && ran.stderr.contains("it is larger than"), "{}", ran.stderr);
}

fn make_pipe(path: &std::path::Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}
