//! What `--json` prints follows one schema, that of README ("JSON for programs"): a field has one meaning everywhere.

use super::*;

/// Checks a value and everything in it. `path` says where it is.
fn check(path: &str, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| check(&format!("{path}[]"), item)),
        Value::Object(fields) => {
            assert!(!fields.contains_key("verifier"), "{path}: a verifier key is a vkey: {value}");
            // The deprecated names stand beside the new ones. A setting's `key` is another thing.
            let is_vkey =
                fields.get("key").and_then(Value::as_str).is_some_and(|key| key.matches('+').count() >= 2);
            assert!(!is_vkey || fields.contains_key("vkey"), "{path}.key without vkey: {value}");
            let has_notices = fields.contains_key("notices");
            assert!(
                !has_notices || fields.contains_key("warnings"),
                "{path}.notices without warnings: {value}"
            );
            for (name, field) in fields {
                let path = format!("{path}.{name}");
                check_field(&path, name, field);
                check(&path, field);
            }
        }
        _ => {}
    }
}

fn check_field(path: &str, name: &str, field: &Value) {
    let text = field.as_str();
    let is_right = match name {
        "log" => text.is_some_and(|log| !log.is_empty()),
        "vkey" => text.is_some_and(|vkey| vkey.splitn(3, '+').count() == 3),
        // What has no version is a module's path.
        "module" => text.is_some(),
        "root" => text.is_some_and(|root| root.len() == 44) || field.is_null(),
        "record" | "size" | "open" => field.is_u64() || field.is_null(),
        "warnings" => field.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        "problems" | "findings" => {
            field.as_array().is_some_and(|all| all.iter().all(|one| one["why"].is_string()))
        }
        "read_only" => text.is_some() || field.is_null(),
        name if name == "at" || name.ends_with("_at") => {
            field.is_null()
                || text.is_some_and(|at| at.ends_with('Z') && at.parse::<jiff::Timestamp>().is_ok())
        }
        name if name.ends_with("_bytes") || name.ends_with("_seconds") => {
            field.is_number() || field.is_null()
        }
        _ => true,
    };
    assert!(is_right, "{path}: {field}");
}

#[test]
fn every_json_answer_follows_the_schema() {
    let world = World::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    world.sandbox.write("go.sum", &format!("{QUOTE}{}", billing_lines()));
    let wrong = "corp.example/billing v0.4.0/go.mod h1:AAAAhefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=\n";
    world.sandbox.write("wrong.sum", wrong);
    world.sandbox.write("bad.toml", "listne = 3\n[sumdb.x]\n");
    let config = fs::read_to_string(world.sandbox.path("tallystick.toml")).unwrap();
    let full = format!("mode = \"full\"\nurls = [\"{}\"]", world.golang.url());
    let full = config.replace(&format!("urls = [\"{}\"]", world.golang.url()), &full);
    world.sandbox.write("full.toml", &full);
    let vkey = world.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned();
    let golang = format!("{}", root.join("keys/sum.golang.org.vkey").display());
    let fixture = format!("{}", root.join("tests/fixtures/sum.golang.org").display());
    let server = world.serve();
    let url =
        server.announced.lines().find_map(|line| line.strip_prefix("address       ")).unwrap().to_owned();
    let commands: [&[&str]; 25] = [
        &["key", "show"],
        &["env"],
        &["lookup", "corp.example/billing@v0.4.0", "--notarize"],
        &["lookup", "corp.example/none@v0.4.0"],
        &["import", "go.sum"],
        &["import", "wrong.sum"],
        &["prove", "--gosum", "go.sum", "--out", "proofs"],
        &["verify", "proofs/sum.corp.example", "--key", &vkey, "--gosum", "go.sum"],
        &["fsck"],
        &["anchor", "show"],
        &["incidents"],
        &["witnesses", "status"],
        &["mirror", "status"],
        &["mirror", "diff"],
        &["mirror", "sync"],
        &["mirror", "sync", "--config", "full.toml", "--data", "other"],
        &["config", "show"],
        &["config", "check"],
        &["config", "check", "--config", "bad.toml"],
        &["check", "go.sum", "--server", &url, "--key", &vkey, "--state", "heads"],
        &["check", "wrong.sum", "--server", &url, "--key", &vkey, "--state", "heads"],
        &["audit", &url, "--key", &vkey],
        &["audit", &fixture, "--key", &golang, "--gosum", "go.sum"],
        &["gossip", &url, "--head", "head"],
        &["env", "--server", &url],
    ];
    world.sandbox.write("head", &crate::support::web::get(&url, "/latest").unwrap().text());
    for words in commands {
        let words = [words, &["--json"]].concat();
        let ran = if words.contains(&"--config") { world.sandbox.run(&words) } else { world.run(&words) };
        let answer: Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}{}", ran.stdout, ran.stderr));
        check(&words.join(" "), &answer);
    }
    assert!(server.stop().0);
    let checked = world.sandbox.run(&["config", "check", "--json", "--config", "bad.toml"]);
    let checked: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(checked["ok"], false, "{checked}");
    let unknown = checked["problems"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["place"].as_str().is_some_and(|place| place.ends_with("bad.toml:1")));
    assert!(unknown.is_some_and(|one| one["fix"].is_string()), "{checked}");
}
