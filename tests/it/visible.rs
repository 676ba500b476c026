//! A terminal shows what it is told to show: whatever a server, an archive, a file or an argument holds, people see it in escapes
//! that name it, and programs read it exactly.

use crate::support::logs;
use crate::support::logs::LogOptions;
use std::io::Write as _;

use serde_json::{Value, json};
use tallystick::clock::Clock;
use tallystick::dirhash::H1;
use tallystick::gosum::ModuleLines;
use tallystick::log::{Candidate, Conditions};
use tallystick::note::{SignerKey, sign};
use tallystick::store::Evidence;
use tallystick::tlog::{Hash, TreeHead, TreeSize};
use tallystick::visible::is_plain;

use crate::cli::{Ran, Sandbox, installed};
use crate::support::hostile::{Behaviour, HostileServer};

/// One of each kind: title and colors, BEL, backspace, a lone CR, DEL, C1 (CSI, OSC), bidi overrides and isolates, marks,
/// zero-width, line and paragraph separators, a tag.
const TRICKS: &str = "\u{1b}]0;t\u{7}\u{1b}[2K\u{8}\r\u{7f}\u{80}\u{9b}31m\u{9d}\u{9f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{2028}\u{2029}\u{e0041}";

/// Those that a key's name may have: it excludes white space and C0.
fn name_tricks() -> String {
    TRICKS.chars().filter(|c| !c.is_whitespace() && *c >= ' ').collect()
}

#[track_caller]
fn assert_plain(what: &str, text: &str) {
    let odd: Vec<char> = text.chars().filter(|c| !is_plain(*c) && !matches!(c, '\n' | '\t')).collect();
    assert!(odd.is_empty(), "{what}: {odd:?} in {text:?}");
}

/// What people see is plain; where `names` is given the trick is shown by its name.
#[track_caller]
fn assert_shown(what: &str, ran: &Ran, names: Option<&str>) {
    assert_plain(what, &ran.stdout);
    assert_plain(what, &ran.stderr);
    if let Some(name) = names {
        assert!(
            ran.stderr.contains(name) || ran.stdout.contains(name),
            "{what}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

fn key(name: &str) -> SignerKey {
    SignerKey::generate(name.parse().unwrap(), [7; 32])
}

fn log_answer(name: &str, vkey: &str) -> Behaviour {
    Behaviour::ok(json!({ "name": name, "keys": [{ "verifier": vkey }] }).to_string())
}

/// The name of a server's log is exact for the shell that evaluates it, runs nothing there, and is named for people.
#[test]
fn env_of_a_server_with_a_hostile_name_is_exact_for_shells_and_plain_for_people() {
    let name = format!("it's$(touch${{IFS}}x)`touch${{IFS}}y`;#{}", name_tricks());
    let vkey = key(&name).verifier().to_string();
    let server = HostileServer::always(log_answer(&name, &vkey));
    let sandbox = Sandbox::new();
    for (program, dialect) in [("sh", "sh"), ("bash", "sh"), ("dash", "sh"), ("fish", "fish")] {
        let ran = sandbox.run(&["env", "--shell", dialect, "--server", &server.url()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(&name_tricks()), "exact: {:?}", ran.stdout);
        assert_plain("stderr of env", &ran.stderr);
        assert!(
            ran.stderr.contains(r"\u{9b}31m\u{9d}") && ran.stderr.contains("not shown as they are"),
            "{}",
            ran.stderr
        );
        let Some(program) = installed(program, "visible::env_of_a_server") else { continue };
        let script = match dialect {
            "fish" => "printf '%s\n' $argv[1] | source; printf '%s' $GOSUMDB",
            _ => r#"eval "$1"; printf '%s' "$GOSUMDB""#,
        };
        let mut command = std::process::Command::new(program);
        command.args(["-c", script]).args((dialect == "sh").then_some("sh")).arg(&ran.stdout);
        let output = command.current_dir(sandbox.path("")).env("HOME", sandbox.path("")).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{vkey} {}", server.url()));
        assert!(!sandbox.path("x").exists() && !sandbox.path("y").exists(), "something ran");
    }
    let ran = sandbox.run(&["env", "--server", &server.url(), "--json"]);
    assert_shown("env --json", &ran, Some(r"\u009b31m\u009d"));
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["vkey"], json!(vkey), "JSON means exactly this");
    // A name that disagrees with the key is an error text.
    let server = HostileServer::always(log_answer(&format!("a\nok: verified{TRICKS}"), &vkey));
    let ran = sandbox.run(&["env", "--server", &server.url()]);
    assert_eq!(ran.code, 4);
    assert_shown("env", &ran, Some(r"\u{1b}]0;t\u{7}"));
    assert!(!ran.stderr.lines().any(|line| line.starts_with("ok:")), "a line of its own: {}", ran.stderr);
}

#[test]
fn new_keys_have_plain_names_and_old_ones_still_sign_and_verify() {
    let sandbox = Sandbox::new();
    for trick in name_tricks().chars().filter(|c| !is_plain(*c)) {
        let name = format!("sum.corp{trick}.example");
        let ran = sandbox.run(&["key", "new", "--name", &name]);
        assert_eq!(ran.code, 2, "{name:?}: {}{}", ran.stdout, ran.stderr);
        assert_shown("key new", &ran, Some(&format!("\\u{{{:x}}}", u32::from(trick))));
    }
    // The directory is there, since it is locked before a name is looked at.
    std::fs::create_dir_all(sandbox.path("tallystick-data/keys")).unwrap();
    let made = std::fs::read_dir(sandbox.path("tallystick-data/keys")).unwrap();
    assert_eq!(made.count(), 0, "no key was made");
    // As an older program made it.
    let old = key(&format!("sum{}", name_tricks()));
    let file = sandbox.path("tallystick-data/keys/old.skey");
    std::fs::write(&file, format!("{}\n", *old.to_skey())).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ran = sandbox.run(&["key", "show"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_shown("key show", &ran, Some(r"\u{9b}31m\u{9d}"));
    let note = sign("text\n", &[&old]).unwrap();
    assert!(tallystick::note::open(note.as_bytes(), &[&old.verifier()]).is_ok());
}

/// Everything that a server can answer.
fn hostile_answers(signer: &SignerKey) -> Vec<Behaviour> {
    let (name, vkey) = (signer.name().to_string(), signer.verifier().to_string());
    let head = TreeHead { size: TreeSize(1), root: Hash::of_record(b"x") }.format();
    let plain: String = TRICKS.chars().filter(|c| *c >= ' ').collect();
    let note = sign(&format!("{head}more {plain}\n"), &[signer]).unwrap();
    let foreign = sign(&head, &[&key(&format!("other{}", name_tricks()))]).unwrap();
    let info = json!({ "Version": format!("v1.0.0{TRICKS}"), "Origin": { "URL": TRICKS } });
    vec![
        Behaviour::error(404, &format!("not found{TRICKS}")),
        Behaviour::error(403, &format!("refused{TRICKS}")),
        Behaviour::error(500, &format!("broken{TRICKS}\n\n{TRICKS}")),
        Behaviour::ok(TRICKS),
        Behaviour::ok(note.clone()),
        Behaviour::ok(format!("0\n{TRICKS} v1.0.0 h1:x\n\n{note}")),
        Behaviour::ok(foreign),
        Behaviour::ok(info.to_string()),
        log_answer(&name, &vkey),
        log_answer(TRICKS, &vkey),
        log_answer(&name, TRICKS),
        Behaviour::Redirect(format!("http://127.0.0.1:1/{plain}")),
    ]
}

/// A log and a monitor that ask nobody but the server at `url`, and files to ask about.
fn client_of(url: &str, head: &str) -> Sandbox {
    let (sandbox, vkey) = (Sandbox::new(), json!(key("s.example").verifier().to_string()));
    let config = format!(
        "[sumdb.\"s.example\"]\nkey = {vkey}\nurls = [\"{url}\"]\nmode = \"full\"\n\
         [[route]]\nmodules = [\"p.example\"]\nsource = [\"{url}\"]\nchecksum = \"compute\"\n\
         [[route]]\nmodules = [\"*\"]\nsource = [\"{url}\"]\nchecksum = \"s.example\"\n"
    );
    sandbox.write("t.toml", &config);
    let log = format!("[[log]]\nname = \"s.example\"\nkey = {vkey}\nurls = [\"{url}\"]\n");
    sandbox.write("m.toml", &format!("state = \"state\"\n{log}"));
    sandbox.write("go.sum", "rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n");
    sandbox.write("head", head);
    sandbox.succeed(&["key", "new", "--name", "own.example"]);
    sandbox
}

/// Every command that asks a server, with everything that one can answer.
#[test]
fn what_servers_answer_is_shown_plain() {
    let signer = key(&format!("sum.example{}", name_tricks()));
    let vkey = signer.verifier().to_string();
    let head =
        sign(&TreeHead { size: TreeSize(1), root: Hash::of_record(b"x") }.format(), &[&signer]).unwrap();
    for answer in hostile_answers(&signer) {
        let server = HostileServer::always(answer.clone());
        let url = server.url();
        let sandbox = client_of(&url, &head);
        let commands: [&[&str]; 14] = [
            &["env", "--server", &url],
            &["audit", &url],
            &["audit", &url, "--key", &vkey, "--from", "head"],
            &["audit", &url, "--key", &vkey, "--gosum", "go.sum"],
            &["mirror", "sync", "--config", "t.toml"],
            &["mirror", "status", "--config", "t.toml"],
            &["mirror", "import", "s.example", &url, "--config", "t.toml"],
            &["lookup", "rsc.io/quote@v1.5.2", "--notarize", "--config", "t.toml"],
            &["lookup", "p.example/m@v1.0.0", "--notarize", "--config", "t.toml"],
            &["import", "go.sum", "--config", "t.toml"],
            &["prove", "rsc.io/quote@v1.5.2", "--server", &url],
            &["gossip", &url, "--head", "head"],
            &["monitor", "m.toml", "--once"],
            &["lookup", "p.example/m@v1.0.1", "--notarize", "--json", "--config", "t.toml"],
        ];
        for words in commands {
            let format = if words[0] == "mirror" { "json" } else { "text" };
            let logging = [("TALLYSTICK_LOG_FORMAT", format), ("TALLYSTICK_LOG_FILTER", "debug")];
            let ran = sandbox.run_with(words, &logging);
            let what = format!("{words:?} with {answer:?}");
            assert_plain(&what, &ran.stderr);
            // What a shell evaluates is exact.
            if words[0] != "env" {
                assert_plain(&what, &ran.stdout);
            }
        }
    }
}

/// What lies in files: arguments, configurations, go.sum files, archives, proofs, directories.
#[test]
fn what_files_hold_is_shown_plain() {
    let sandbox = Sandbox::new();
    let named = format!("n{}", TRICKS.replace('\u{0}', ""));
    sandbox.write("bad.sum", &format!("{TRICKS} v1.0.0{TRICKS} h1:{TRICKS}\n"));
    sandbox.write("bad.toml", "\"x\\u001B[2K\\u009B\\u202E\" = 1\n");
    sandbox.write("raw.toml", &format!("x = \"{TRICKS}\"\n"));
    std::fs::create_dir_all(sandbox.path("proofs")).unwrap();
    let place = format!("proofs/{named}.tlog-proof");
    sandbox.write(&place, TRICKS);
    let mut signed = key(&format!("x{}", name_tricks())).verifier().to_string();
    signed.push('\n');
    sandbox.write("key.vkey", &signed);
    let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..named.len().min(100)]
        .copy_from_slice(&named.as_bytes()[..named.len().min(100)]);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_cksum();
    archive.append(&header, &[][..]).unwrap();
    let mut stream = archive.into_inner().unwrap();
    stream.flush().unwrap();
    std::fs::write(sandbox.path("evil.tar.zst"), stream.finish().unwrap()).unwrap();
    sandbox.write(
        "t.toml",
        &format!(
            "[sumdb.\"s.example\"]\nkey = {}\nurls = [\"file:///nonexistent\"]\nmode = \"full\"\n\
         [[route]]\nmodules = [\"p.example\"]\nsource = [\"file:///nonexistent\"]\nchecksum = \"compute\"\n",
            json!(key("s.example").verifier().to_string())
        ),
    );
    let vkey = key("v.example").verifier().to_string();
    let commands: [&[&str]; 14] = [
        &["verify", "proofs", "--key", &vkey],
        &["verify", &place, "--key", &vkey],
        &["verify", &place, "--key", &vkey, "--json"],
        &["verify", "proofs", "--key", &vkey, "--gosum", "bad.sum"],
        &["verify", "proofs", "--policy", "bad.sum"],
        &["audit", "proofs", "--key", "key.vkey"],
        &["audit", "proofs", "--key", "bad.sum"],
        &["mirror", "import", "s.example", "evil.tar.zst", "--config", "t.toml"],
        &["import", "bad.sum", "--config", "t.toml"],
        &["import", "bad.sum", "--trust", "--importer", &named, "--config", "t.toml"],
        &["lookup", &named],
        &["config", "check", "--config", "bad.toml"],
        &["config", "check", "--config", "raw.toml"],
        &[&named],
    ];
    for words in commands {
        let ran = sandbox.run(words);
        assert_ne!(ran.code, 0, "{words:?}");
        assert_shown(&format!("{words:?}"), &ran, None);
    }
    let ran = sandbox.run(&["mirror", "import", "s.example", "evil.tar.zst", "--config", "t.toml"]);
    assert!(ran.stderr.contains(r"n\u{1b}]0;t\u{7}"), "the archive's entry is named: {}", ran.stderr);
}

/// Evidence that is stored stays as it is: JSON gives it exactly, people see it in escapes and on its own line.
#[test]
fn evidence_that_is_stored_is_exact_for_programs_and_plain_for_people() {
    let sandbox = Sandbox::new();
    sandbox.succeed(&["key", "new", "--name", "own.example"]);
    let keys = std::fs::read_dir(sandbox.path("tallystick-data/keys")).unwrap();
    let secret =
        keys.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "skey"));
    let signer: SignerKey = std::fs::read_to_string(secret.unwrap()).unwrap().trim().parse().unwrap();
    let data = sandbox.path("tallystick-data");
    let origin = format!(
        "{{\"URL\":\n\"https://h/{}\",\n\"New\":[1]}}",
        TRICKS.chars().filter(|c| *c >= ' ').collect::<String>()
    );
    let evidence = [
        Evidence::Imported { importer: format!("ci\nrecord      7{TRICKS}") },
        Evidence::Computed {
            source: TRICKS.to_owned(),
            url: TRICKS.to_owned(),
            fetched_at: Clock::system().now(),
            zip_sha256: TRICKS.to_owned(),
            zip_bytes: 1,
            origin: Some(serde_json::value::RawValue::from_string(origin.clone()).unwrap()),
        },
    ];
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = LogOptions {
            anchor: data.join("anchor.db"),
            directory: data,
            signers: vec![signer],
            reader_cache_kib: 256,
            clock: Clock::system(),
        };
        let log = logs::open_log_as(options, Conditions::default()).unwrap();
        let candidates = evidence.into_iter().zip(1..).map(|(evidence, n)| {
            let module = format!("corp.example/m@v1.0.{n}").parse().unwrap();
            let hash = H1::from_bytes([n; 32]);
            Candidate::new(ModuleLines { module, zip: hash, go_mod: hash }, evidence.into())
        });
        log.append(candidates.collect()).await.unwrap();
        tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    });
    for n in [1, 2] {
        let module = format!("corp.example/m@v1.0.{n}");
        let ran = sandbox.run(&["lookup", &module]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_shown("lookup", &ran, Some(r"\u{9b}31m"));
        let records = ran.stdout.lines().filter(|line| line.starts_with("record ")).count();
        assert_eq!(records, 1, "a line of its own: {}", ran.stdout);
        let ran = sandbox.run(&["lookup", &module, "--json"]);
        assert_shown("lookup --json", &ran, None);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        let evidence = &answer["found"]["evidence"];
        match n {
            1 => assert_eq!(evidence["importer"], json!(format!("ci\nrecord      7{TRICKS}"))),
            _ => assert_eq!(evidence["origin"], serde_json::from_str::<Value>(&origin).unwrap()),
        }
    }
}
