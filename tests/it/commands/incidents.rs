//! `incidents`: a line that was imported by mistake is withdrawn, other incidents are closed, and why the log signs nothing is
//! shown. The record of an incident and of its decision stays.

use super::*;
use crate::support::web;

const WRONG: &str = "h1:AAAAhefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=";
const RIGHT: &str = "h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=";

/// Imports a go.sum with one wrong line.
fn import_wrong(world: &World) {
    world.sandbox.write("go.sum", &QUOTE.replace(RIGHT, WRONG));
    let ran = world.run(&["import", "go.sum", "--importer", "build-7"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
}

/// What is shown, as long as the code says the same.
#[track_caller]
fn shown(world: &World) -> Value {
    let ran = world.run(&["incidents", "--json"]);
    let shown: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
    let needs_a_person = shown["open"] != 0 || !shown["read_only"].is_null();
    assert_eq!(ran.code, if needs_a_person { 4 } else { 0 }, "{shown}");
    shown
}

fn open_incident(world: &World) -> (String, Value) {
    let shown = shown(world);
    assert_eq!(shown["open"], 1, "{shown}");
    let all = shown["incidents"].as_array().unwrap();
    let open = all.iter().find(|incident| incident["state"] == "open").unwrap().clone();
    (open["id"].to_string(), open)
}

#[test]
fn the_importer_withdraws_a_wrong_line_and_the_record_of_both_stays() {
    World::both_ways(|world| {
        assert_eq!(world.succeed(&["incidents"]), "no incidents\n");
        import_wrong(world);
        let (id, incident) = open_incident(world);
        let detail = &incident["detail"];
        assert_eq!((&detail["importer"], &detail["line"]), (&json!("build-7"), &json!(2)), "{incident}");
        assert_eq!(
            (&incident["log"], &incident["kind"]),
            (&json!("sum.corp.example"), &json!("hash-conflict"))
        );

        let withdraw = ["incidents", "withdraw", &id, "--reason", "a typing error"];
        let refusals: [(&[&str], &str); 5] = [
            (
                &[&withdraw[..], &["--importer", "build-8"]].concat(),
                "was imported by build-7, not by build-8",
            ),
            (&["incidents", "withdraw", "99", "--reason", "x"], "there is no incident 99"),
            (&["incidents", "withdraw", &id], "--reason"),
            (&["incidents", "withdraw", &id, "--reason", " "], "the reason is empty"),
            (&["incidents", "withdraw", &id, "--reason", "a\u{1b}[2J"], "control or invisible characters"),
        ];
        for (words, said) in refusals {
            let ran = world.run(words);
            assert_eq!(ran.code, 2, "{words:?}: {}", ran.stderr);
            assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
        }
        assert_eq!(shown(world)["open"], 1);
        world.succeed(&[&withdraw[..], &["--importer", "build-7"]].concat());

        let after = shown(world);
        assert_eq!((&after["open"], after["incidents"].as_array().unwrap().len()), (&json!(0), 1), "{after}");
        let withdrawn = &after["incidents"][0];
        assert_eq!((&withdrawn["state"], &withdrawn["detail"]), (&json!("withdrawn"), detail));
        let decision = &withdrawn["decision"];
        assert_eq!((&decision["by"], &decision["reason"]), (&json!("build-7"), &json!("a typing error")));
        let text = world.succeed(&["incidents"]);
        assert!(text.contains("withdrawn by build-7 at ") && text.contains(": a typing error"), "{text}");
        let kinds: Vec<String> = world.incidents().into_iter().map(|one| one.kind).collect();
        assert_eq!(kinds, ["decision", "hash-conflict"], "both rows are kept");
        let again = world.run(&[&withdraw[..], &["--importer", "build-7"]].concat());
        assert_eq!(again.code, 2);
        assert!(again.stderr.contains("is withdrawn already, by build-7"), "{}", again.stderr);

        // Nobody can decide about what comes later: the same line is a new incident, once.
        for times in 1..=2 {
            import_wrong(world);
            import_wrong(world);
            let (id, incident) = open_incident(world);
            assert_eq!(incident["detail"]["again"]["times"], times, "{incident}");
            world.succeed(&["incidents", "close", &id, "--reason", "the file is repaired", "--by", "ops"]);
        }
        assert_eq!(shown(world)["incidents"].as_array().unwrap().len(), 3);
        world.succeed(&["fsck"]);
    });
}

#[test]
fn a_trusted_record_is_withdrawn_by_who_imported_it() {
    let world = World::new();
    world.sandbox.write("records.txt", QUOTE);
    world.succeed(&["import", "records.txt", "--trust", "--importer", "build-7"]);
    world.sandbox.write("records.txt", &QUOTE.replace(RIGHT, WRONG));
    assert_eq!(world.run(&["import", "records.txt", "--trust", "--importer", "build-8"]).code, 4);
    let (id, incident) = open_incident(&world);
    assert_eq!(incident["detail"]["importer"], "build-8", "{incident}");
    world.succeed(&["incidents", "withdraw", &id, "--reason", "an old file", "--importer", "build-8"]);
    assert_eq!(shown(&world)["open"], 0);
}

#[test]
fn open_incidents_are_counted_by_log_and_kind() {
    let world = World::new();
    let server = world.serve();
    let metrics = server.announced.lines().find_map(|line| line.strip_prefix("metrics       ")).unwrap();
    let metrics = metrics.trim_end_matches("/metrics").to_owned();
    let count = |kind: &str| {
        let text = web::get(&metrics, "/metrics").unwrap().text();
        let name = format!("tallystick_incidents_open{{log=\"sum.corp.example\",kind=\"{kind}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
    };
    assert_eq!(["hash-conflict", "misbehaviour", "damage"].map(&count), ["0.0", "0.0", "0.0"]);
    import_wrong(&world);
    assert_eq!(count("hash-conflict"), "1.0");
    let (id, _) = open_incident(&world);
    world.succeed(&["incidents", "withdraw", &id, "--reason", "a typing error", "--importer", "build-7"]);
    assert_eq!(count("hash-conflict"), "0.0");
    assert!(server.stop().0);
}

/// The reason is shown with a server and without one, and its advice helps.
#[test]
fn a_log_that_signs_nothing_is_never_shown_as_one_without_incidents() {
    for beside_a_server in [false, true] {
        let world = World::new();
        world.succeed(&["lookup", "corp.example/billing@v0.4.0", "--notarize"]);
        fs::remove_file(world.sandbox.path("data/anchor.db")).unwrap();
        let server = beside_a_server.then(|| world.serve());
        let ran = world.run(&["incidents"]);
        assert_eq!(ran.code, 4, "{}", ran.stdout);
        assert!(!ran.stdout.contains("no incidents"), "{}", ran.stdout);
        let advice = "`tallystick anchor settle --size 1`";
        assert!(
            ran.stderr.contains("the log signs nothing: ") && ran.stderr.contains(advice),
            "{}",
            ran.stderr
        );
        let reason = shown(&world)["read_only"].as_str().unwrap().to_owned();
        assert!(reason.contains(advice), "{reason}");
        if let Some(server) = server {
            assert!(server.stop().0);
        }
        world.succeed(&["anchor", "settle", "--size", "1"]);
        assert_eq!(world.succeed(&["incidents"]), "no incidents\n");
    }
}
