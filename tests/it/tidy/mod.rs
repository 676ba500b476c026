//! The rules of the house that a program can check.

mod loops;
mod names;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the pure core to the faces: a module uses only what stands before it.
const LAYERS: [&str; 28] = [
    "note", "tlog", "visible", "module", "dirhash", "gosum", "proof", "xml", // core
    "clock", "crew", "files", "share", "source", "route", "config", "store", "upstream", // ground
    "log", "mirror", "notary", "witness", "audit", "check", "gossip", "monitor", "operate", // engines
    "http", "cli", // faces
];

/// Modules that use no other at all: each is a spec of its own.
const ALONE: [&str; 2] = ["note", "tlog"];

const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 70;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The text without its unit tests, which may do what the code may not.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests").next().expect("a split has a first part")
    }

    /// The module of the layer list that the file belongs to.
    fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix(root().join("src")).ok()?;
        let first = inside.components().next()?.as_os_str().to_str()?;
        LAYERS.into_iter().find(|layer| first == *layer || first == format!("{layer}.rs"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(directory: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).expect("a directory of the clone") {
            let path = entry.expect("an entry of a directory of the clone").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source { text: fs::read_to_string(&path).expect("sources are UTF-8"), path });
            }
        }
    }
    assert!(!sources.is_empty(), "no sources in {directory}");
    sources
}

/// Every line of the code (comments aside) that `is_wrong` points at.
fn offences(sources: &[Source], is_wrong: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for line in source.code().lines().filter(|line| !line.trim_start().starts_with("//")) {
            if is_wrong(source, line) {
                let path = source.path.strip_prefix(root()).expect("a source is in the clone");
                found.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    found
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn a_module_uses_only_the_layers_before_it() {
    let position = |layer: &str| LAYERS.iter().position(|other| *other == layer);
    let wrong = offences(&read("src"), |source, line| {
        let Some(own) = source.layer() else { return false };
        line.split("crate::").skip(1).any(|rest| {
            let used = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().expect("a first part");
            used != own && position(used).is_some_and(|used| used > position(own).expect("a layer"))
                || ALONE.contains(&own) && used != own && position(used).is_some()
        })
    });
    assert_none(wrong, "a module may use only what stands before it in the list of layers");
}

#[test]
fn sql_is_only_in_the_store() {
    let wrong = offences(&read("src"), |source, line| {
        let is_sql = ["rusqlite", "SELECT ", "INSERT INTO", "DELETE FROM", "PRAGMA "]
            .iter()
            .any(|word| line.contains(word));
        is_sql && source.layer() != Some("store")
    });
    assert_none(wrong, "SQL belongs into store/");
}

#[test]
fn time_is_read_only_by_the_clock() {
    let wrong = offences(&read("src"), |source, line| {
        let reads = ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"]
            .iter()
            .any(|word| line.contains(word));
        reads && source.layer() != Some("clock")
    });
    assert_none(wrong, "what time it is, clock.rs says");
}

#[test]
fn the_core_has_no_input_or_output() {
    const OUTSIDE: [&str; 7] =
        ["std::fs", "std::net", "tokio::", "async fn", "tracing::", "reqwest::", "std::env"];
    let wrong = offences(&read("src"), |source, line| {
        let core = source.layer().is_some_and(|layer| LAYERS[..8].contains(&layer));
        core && OUTSIDE.iter().any(|word| line.contains(word))
    });
    assert_none(wrong, "the core has no files, network, async, logs or environment");
}

#[test]
fn answers_are_made_only_by_http() {
    let wrong = offences(&read("src"), |source, line| {
        line.contains("axum::") && !matches!(source.layer(), Some("http" | "cli"))
    });
    assert_none(wrong, "what we answer over HTTP is decided in http/");
}

/// Invariant 9: one place knows which status code an answer has. A client may compare those that
/// it is given.
#[test]
fn status_codes_are_chosen_in_one_place() {
    let wrong = offences(&read("src"), |source, line| {
        let is_answer = source.path.starts_with(root().join("src/http/answer"));
        let is_client = source.path.ends_with("control/client.rs");
        line.contains("StatusCode::") && source.layer() == Some("http") && !is_answer && !is_client
    });
    assert_none(wrong, "http/answer makes every answer, and nobody else chooses a status code");
}

/// Proxies, root certificates and limits are those of one client, whoever asks.
#[test]
fn servers_are_asked_by_one_client() {
    let wrong =
        offences(&read("src"), |source, line| line.contains("reqwest") && source.layer() != Some("upstream"));
    assert_none(wrong, "upstream makes the HTTP client");
}

#[test]
fn errors_are_typed_below_the_command_line() {
    let wrong =
        offences(&read("src"), |source, line| line.contains("anyhow") && source.layer() != Some("cli"));
    assert_none(wrong, "anyhow is for cli/ and tests");
}

/// What people read goes through one place, which escapes what a terminal would obey.
#[test]
fn only_the_output_prints() {
    const WAYS: [&str; 10] = [
        "println!(",
        "eprintln!(",
        "print!(",
        "eprint!(",
        "io::stdout()",
        "io::stderr()",
        "io::stderr",
        "anstream::",
        "ProgressBar",
        "comfy_table::",
    ];
    let wrong = offences(&read("src"), |source, line| {
        let is_output = source.path.ends_with("cli/output.rs") || source.path.ends_with("cli/logging.rs");
        let asks = line.contains(".is_terminal()");
        WAYS.iter().any(|way| line.contains(way)) && !is_output && !asks
    });
    assert_none(wrong, "cli/output.rs prints, and cli/logging.rs logs");
    // What only programs read may be as it is.
    const EXACT: [&str; 4] = ["cli/env.rs", "cli/completions.rs", "cli/witness.rs", "cli/witnesses.rs"];
    let wrong = offences(&read("src"), |source, line| {
        line.contains("print_exact(")
            && !EXACT.iter().chain(&["cli/output.rs"]).any(|name| source.path.ends_with(name))
    });
    assert_none(wrong, "only what a shell or a program reads is printed exactly");
}

#[test]
fn nothing_is_unfinished_and_no_check_vanishes() {
    const MARKS: [&str; 6] = ["todo!(", "unimplemented!(", "debug_assert", "FIXME", "dbg!(", ".unwrap()"];
    let wrong = offences(&read("src"), |_, line| MARKS.iter().any(|mark| line.contains(mark)));
    assert_none(wrong, "no unfinished code, no check that release builds drop, no bare unwrap");
}

#[test]
fn tests_do_not_sleep_and_are_not_ignored() {
    let wrong = offences(&read("tests"), |source, line| {
        let marks =
            line.contains("#[ignore") || line.contains("thread::sleep(") || line.contains("time::sleep(");
        marks && !source.path.ends_with("tidy/mod.rs") && !source.path.to_string_lossy().contains("/support/")
    });
    assert_none(wrong, "a test that waits polls with a deadline (tests/it/support), and none is ignored");
}

#[test]
fn files_and_functions_are_short() {
    let mut sources = read("src");
    sources.extend(read("tests"));
    let mut wrong = Vec::new();
    for source in &sources {
        let (path, lines) = (source.path.display(), source.text.lines().count());
        if lines > LONGEST_FILE {
            wrong.push(format!("{path}: {lines} lines, more than {LONGEST_FILE}"));
        }
        wrong.extend(
            long_functions(&source.text).into_iter().map(|(name, lines)| {
                format!("{path}: {name} has {lines} lines, more than {LONGEST_FUNCTION}")
            }),
        );
    }
    assert_none(wrong, "too long");
}

/// Functions whose body, as rustfmt indents it, is longer than allowed.
fn long_functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else { continue };
        let is_item = before.split_whitespace().all(|word| {
            ["pub", "async", "const", "unsafe", "extern"].iter().any(|start| word.starts_with(start))
                || word.ends_with(')')
        });
        if !is_item || line.trim_start().starts_with("//") {
            continue;
        }
        let opens = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if opens.is_none_or(|line| !line.ends_with('{')) {
            continue; // declared here, written elsewhere
        }
        let end = lines[start..].iter().position(|end| *end == format!("{}}}", " ".repeat(indent(line))));
        if let Some(length) = end.filter(|length| *length + 1 > LONGEST_FUNCTION) {
            found.push((after.split('(').next().unwrap_or(after).to_owned(), length + 1));
        }
    }
    found
}

/// A folder's module is its `mod.rs`, and a module lies where its name says.
#[test]
fn a_folder_is_one_module() {
    let mut sources = read("src");
    sources.extend(read("tests"));
    let wrong = sources.iter().filter(|source| {
        let says_where = source.text.lines().any(|line| line.starts_with("#[path"));
        source.path.with_extension("").is_dir() || says_where
    });
    let wrong = wrong.map(|source| source.path.display().to_string()).collect();
    assert_none(
        wrong,
        "a folder has its mod.rs, not a file beside it, and #[path] hides where a module lies",
    );
}

/// The fuzz targets and the inner benchmarks build with `--locked`, and nothing else builds them in
/// a test.
#[test]
fn the_lock_files_beside_ours_know_every_dependency() {
    let file = |path: &str| fs::read_to_string(root().join(path)).expect("a file of the clone");
    let manifest = file("Cargo.toml");
    let section = manifest.split("\n[dependencies]\n").nth(1).expect("there are dependencies");
    let section = section.split("\n[").next().expect("a first part");
    let named: Vec<&str> = section
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| !name.starts_with(['#', ' ']))
        .collect();
    assert!(named.len() > 20, "Cargo.toml is read: {named:?}");
    for path in ["fuzz/Cargo.lock", "bench/inner/Cargo.lock"] {
        let lock = file(path);
        let ours = lock.split("name = \"tallystick\"\n").nth(1).expect("it builds this crate");
        let ours = ours.split("\n]").next().expect("a first part");
        let unknown: Vec<&&str> =
            named.iter().filter(|name| !ours.contains(&format!("\n \"{name}"))).collect();
        assert!(unknown.is_empty(), "{path} lacks {unknown:?}: run `cargo metadata` beside it");
    }
}

#[test]
fn documented_commands_and_keys_exist_and_the_other_way_round() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let command = tallystick::cli::command();
    let known: BTreeSet<String> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut shown = BTreeSet::new();
    // In code only: `tallystick serve`, ./target/release/tallystick env, and the same through cargo run.
    for after in readme.split("tallystick ").skip(1).chain(readme.split("cargo run --release -- ").skip(1)) {
        let word: String = after.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        if known.contains(&word) {
            shown.insert(word);
        } else {
            let before_prose = readme.contains(&format!("`tallystick {word}"));
            assert!(
                !before_prose || word.is_empty(),
                "README.md shows `tallystick {word}`, which is no command"
            );
        }
    }
    assert_eq!(shown, known, "commands in README.md, and commands that exist");
    use tallystick::config::reference::{MONITOR, SERVER, WITNESS};
    for reference in [&SERVER, &WITNESS, &MONITOR] {
        let text = reference.markdown();
        if !readme.contains(&text) {
            let name = format!("{}.md", reference.program);
            let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::write(&made, text).expect("the target directory can be written");
            let shown = made.display();
            panic!(
                "README.md does not explain the keys as config/reference/{}.rs does: paste {shown}",
                reference.program
            );
        }
    }
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let library = fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    let tests: String = read("tests").iter().chain(&read("src")).map(|source| source.text.as_str()).collect();
    let invariants = library.split("//! # Invariants").nth(1).expect("lib.rs lists the invariants");
    let named: Vec<&str> = invariants
        .split("//! # ")
        .next()
        .expect("a first part")
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains("::") && !word.contains(' '))
        .collect();
    assert!(named.len() >= 10, "ten invariants, each with a test: only {named:?}");
    for name in named {
        let function = name.rsplit("::").next().expect("a last part");
        assert!(
            tests.contains(&format!("fn {function}(")),
            "lib.rs names the test {name}, which does not exist"
        );
    }
}

#[test]
fn listeners_are_made_in_one_place() {
    let wrong = offences(&read("src"), |source, line| {
        let makes =
            ["TcpListener::bind", "UnixListener::bind", ".listen("].iter().any(|call| line.contains(call));
        makes && !source.path.ends_with("http/listener.rs")
    });
    assert_none(wrong, "http/listener.rs makes every listener, with the longest queue");
}
