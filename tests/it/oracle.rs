//! The vectors are what golang.org/x/mod says today: each generator in `tests/oracle` is run again and its output
//! compared, byte for byte, with the committed file that the other tests read.
//!
//! To write the files anew: `cd tests/oracle && go run ./tlogvec >../vectors/tlog.json`, and so on.

use std::path::Path;
use std::process::Command;

/// The generators (a Go package that prints its vectors) and the files that hold what they print. A generator that
/// does not exist yet is passed over, unless its file does.
const VECTORS: &[(&str, &str)] = &[
    ("notevec", "note.json"),
    ("tlogvec", "tlog.json"),
    ("modulevec", "module.json"),
    ("dirhashvec", "dirhash.json"),
    ("lettervec", "letters.json"),
    ("proxyvec", "proxy.json"),
];

fn tests_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

fn go(arguments: &[&str]) -> std::io::Result<std::process::Output> {
    // The oracle is the module version in go.mod, built with the Go that is installed.
    let mut command = Command::new("go");
    command.args(arguments).current_dir(tests_dir().join("oracle"));
    command.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly").env("GOWORK", "off").output()
}

/// Why the generators cannot be run here, if they cannot.
fn missing() -> Option<String> {
    match go(&["mod", "download", "golang.org/x/mod"]) {
        Err(error) => Some(format!("the go command does not run: {error}")),
        Ok(output) if !output.status.success() => {
            Some(format!("golang.org/x/mod is not to be had: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Ok(_) => None,
    }
}

#[test]
fn vectors_are_what_x_mod_says() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: vectors_are_what_x_mod_says: {why}");
        return;
    }
    for (package, file) in VECTORS {
        if !tests_dir().join("oracle").join(package).is_dir() {
            continue;
        }
        let output = go(&["run", &format!("./{package}")]).expect("go ran a moment ago");
        assert!(output.status.success(), "{package}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let path = tests_dir().join("vectors").join(file);
        let committed = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let differs = printed.lines().zip(committed.lines()).position(|(a, b)| a != b);
        assert!(
            printed == committed,
            "{file} is not what {package} prints; first in line {:?}",
            differs.map(|l| l + 1)
        );
    }
}

#[test]
fn every_vector_file_has_a_generator() {
    for entry in std::fs::read_dir(tests_dir().join("vectors")).expect("tests/vectors") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        let package = VECTORS.iter().find(|(_, file)| *file == name).map(|(package, _)| package);
        let package = package.unwrap_or_else(|| panic!("tests/vectors/{name} has no row in VECTORS"));
        assert!(tests_dir().join("oracle").join(package).is_dir(), "tests/oracle/{package} is missing");
    }
}
