//! `import` of go.sum files: each line by its route, compared with what the log says.

use serde_json::json;

use super::*;

/// Public and private modules, and a module of which only the go.mod was needed.
fn go_sum() -> String {
    format!(
        "{}{QUOTE}rsc.io/sampler v1.3.0/go.mod h1:T1hPZKmBbMNahiBKFy5HrXp6adAjACjK9JXDnKaTXpA=\n",
        billing_lines()
    )
}

fn outcomes(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let modules = report["modules"].as_array().unwrap().iter();
    modules.map(|module| (text(&module["module"]), text(&module["outcome"]))).collect()
}

#[test]
fn every_line_follows_its_route() {
    World::both_ways(|world| {
        world.sandbox.write("go.sum", &go_sum());
        let table = world.succeed(&["import", "go.sum"]);
        insta::allow_duplicates!(insta::assert_snapshot!(table, @"
        NEW  PRESENT  CONFLICT  NOT FOUND  FAILED
        3    0        0         0          0
        "));
        // The lone go.mod line was completed.
        let sampler = world.succeed(&["lookup", "rsc.io/sampler@v1.3.0"]);
        let lines = "rsc.io/sampler v1.3.0 h1:7uVkIFmeBqHfdjD+gZwtXXI+RODJ2Wc4O7MPEh/QiW4=\n\
                     rsc.io/sampler v1.3.0/go.mod h1:T1hPZKmBbMNahiBKFy5HrXp6adAjACjK9JXDnKaTXpA=\n";
        assert!(sampler.starts_with(lines), "{sampler}");
        let asked = world.golang.requests().len();
        let again = world.json(&["import", "go.sum", "--json"]);
        assert_eq!((&again["new"], &again["present"]), (&json!(0), &json!(3)), "{again}");
        assert_eq!(world.golang.requests().len(), asked);
        assert_eq!(world.size(), 3);
        assert!(world.incidents().is_empty());
        world.succeed(&["fsck"]);
    });
}

#[test]
fn a_line_that_disagrees_is_an_incident_and_the_others_are_imported() {
    World::both_ways(|world| {
        let wrong = "h1:AAAAhefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=";
        let right = "h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=";
        world.sandbox.write("go.sum", &go_sum().replace(right, wrong));
        world.sandbox.write("other.sum", &format!("rsc.io/quote v1.5.2/go.mod {wrong}\n"));
        let ran = world.run(&["import", "go.sum", "other.sum", "--importer", "ci of billing"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        let incidents = world.incidents();
        assert_eq!(incidents.len(), 1, "{incidents:?}");
        let detail: Value = serde_json::from_str(&incidents[0].detail).unwrap();
        let record = detail["record"].clone();
        let table = ran.stdout.replace(&format!("(record {record})"), "(record R)");
        insta::allow_duplicates!(insta::assert_snapshot!(table, @"
        OUTCOME   MODULE               WHY
        conflict  rsc.io/quote@v1.5.2  go.sum:4 says h1:AAAAhefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0= for its go.mod, the log says h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0= (record R)
        conflict  rsc.io/quote@v1.5.2  other.sum:1 says h1:AAAAhefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0= for its go.mod, the log says h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0= (record R)

        NEW  PRESENT  CONFLICT  NOT FOUND  FAILED
        2    0        1         0          0
        "));
        assert!(ran.stderr.contains("a changed module needs a new version"), "{}", ran.stderr);
        assert_eq!(world.size(), 3, "the log has what its source says");
        assert_eq!(incidents[0].kind, "hash-conflict");
        let expected = json!({
            "module": "rsc.io/quote",
            "version": "v1.5.2",
            "record": record,
            "standing": QUOTE,
            "offered": format!("rsc.io/quote v1.5.2/go.mod {wrong}\n"),
            "importer": "ci of billing",
            "file": "go.sum",
            "line": 4,
        });
        assert_eq!(detail, expected);

        let again = world.json(&["import", "go.sum", "--importer", "ci of billing", "--json"]);
        let conflict = json!([{
            "file": "go.sum", "line": 4, "kind": "go.mod", "hash": wrong, "standing": right,
        }]);
        let quote =
            again["modules"].as_array().unwrap().iter().find(|m| m["module"] == "rsc.io/quote@v1.5.2");
        assert_eq!(quote.unwrap()["conflicts"], conflict);
        assert_eq!(quote.unwrap()["record"], record);
        assert_eq!(world.incidents().len(), 1, "the same thing is kept once");
    });
}

#[test]
fn what_has_no_source_is_listed_with_its_reason() {
    World::both_ways(|world| {
        let missing = "corp.example/none v1.0.0/go.mod h1:T1hPZKmBbMNahiBKFy5HrXp6adAjACjK9JXDnKaTXpA=\n";
        world.sandbox.write("go.sum", &format!("{missing}{QUOTE}"));
        let ran = world.run(&["import", "go.sum"]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        insta::allow_duplicates!(insta::assert_snapshot!(ran.stdout, @"
        OUTCOME    MODULE                    WHY
        not found  corp.example/none@v1.0.0  not found at the server's module directory

        NEW  PRESENT  CONFLICT  NOT FOUND  FAILED
        1    0        0         1          0
        "));
        let report = world.json(&["import", "go.sum", "--json"]);
        let expected = [("corp.example/none@v1.0.0", "not-found"), ("rsc.io/quote@v1.5.2", "present")];
        assert_eq!(
            outcomes(&report),
            expected.map(|(module, outcome)| (module.to_owned(), outcome.to_owned()))
        );
    });
    let mut world = World::new();
    world.golang = HostileServer::start(fixture);
    world.sandbox.write("go.sum", QUOTE);
    let ran = world.run(&["import", "go.sum"]);
    assert_eq!(ran.code, 3, "its sum.golang.org is gone: {}", ran.stderr);
}

#[test]
fn a_malformed_file_imports_nothing() {
    let world = World::new();
    let cases = [
        (format!("{QUOTE}rsc.io/quote v1.5.2\n"), "go.sum:3: wrong number of fields 2"),
        (format!("<<<<<<< HEAD\n{QUOTE}"), "go.sum:1: a merge conflict marker, <<<<<<<"),
        ("rsc.io/quote 1.5.2 h1:x\n".to_owned(), "go.sum:1: the file is not a go.sum file"),
    ];
    for (text, said) in cases {
        world.sandbox.write("go.sum", &text);
        let ran = world.run(&["import", "go.sum"]);
        assert_eq!(ran.code, 2, "{text}: {}", ran.stdout);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let ran = world.run(&["import", "nowhere.sum"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("cannot read nowhere.sum: No such file or directory"), "{}", ran.stderr);
    assert!(world.succeed(&["fsck"]).contains("clean; 0 records"));
    assert_eq!(world.golang.requests().len(), 0);
}

/// The go command reads such a file; a hash that nothing has is no line to compare, and is not passed over in silence.
#[test]
fn one_odd_line_does_not_stop_an_import() {
    let world = World::new();
    let odd = "rsc.io/quote v1.5 h1:x\nrsc.io/quote v1.5.2 h2:x\n";
    world.sandbox.write("go.sum", &format!("{odd}{QUOTE}"));
    let report = world.json(&["import", "go.sum", "--json"]);
    assert_eq!((&report["new"], report["ignored"].as_array().unwrap().len()), (&json!(1), 2), "{report}");
    assert_eq!(report["ignored"][1]["line"], 2);
    world.sandbox.write("go.sum", &QUOTE.replace("h1:w5", "h1:w"));
    let ran = world.run(&["import", "go.sum"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("go.sum:1: the hash of rsc.io/quote@v1.5.2 is malformed"), "{}", ran.stderr);
}

#[test]
fn standard_input_is_a_file_too() {
    World::both_ways(|world| {
        let ran = world.run_with_input(&["import", "-", "--json"], go_sum().into_bytes());
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((ran.code, &report["new"]), (0, &json!(3)), "{}", ran.stderr);
    });
}
