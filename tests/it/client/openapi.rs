//! `openapi.json` says what the server does: every path of the router and no other, and the form of every answer, by a validator
//! that is not ours.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tallystick::http::api::OPENAPI;

use super::*;

#[test]
fn the_document_has_the_paths_of_the_router() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let described: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")];
    let mut routed = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for route in text.split(".route(\"").skip(1).filter(|rest| rest.starts_with("/api/")) {
                routed.insert(route.split('"').next().unwrap().replace("{*", "{"));
            }
        }
    }
    assert_eq!(described, routed.iter().map(String::as_str).collect());
}

/// An answer of the server, with the path as the document writes it.
fn answer(server: &Server, template: &str, path: &str) -> Value {
    let page = server.get(path);
    let kind = if page.status == 200 { "application/json" } else { "application/problem+json" };
    json!({"path": template, "method": "get", "status": page.status, "type": kind, "body": page.text()})
}

/// Answers to what is posted, and the questions among it.
fn posted(server: &Server) -> (Vec<Value>, Vec<Value>) {
    let question = r#"[{"record": 1}, {"record": 400}, {"from": 3, "to": 2}, {"from": 3}, {"module": "corp.example/m0@v1.0.0", "size": 301}]"#;
    let (mut answers, mut questions) = (Vec::new(), Vec::new());
    let note = server.get("/latest").text();
    for (path, body, kind) in [
        ("/api/v1/proofs", question, "application/json"),
        ("/api/v1/proofs", "{", "application/problem+json"),
        ("/api/v1/gossip", &note, "application/json"),
        ("/api/v1/gossip", "x", "application/problem+json"),
        ("/api/v1/gossip", "go.sum database tree\n1\nx\n\n\u{2014} x AAAAAAAA\n", "application/problem+json"),
    ] {
        let page = web::post(&server.url, path, body.as_bytes()).unwrap();
        let status = page.status;
        answers.push(
            json!({"path": path, "method": "post", "status": status, "type": kind, "body": page.text()}),
        );
        if path == "/api/v1/proofs" && status == 200 {
            questions.push(json!({"path": path, "method": "post", "body": body}));
        }
    }
    (answers, questions)
}

#[test]
fn answers_are_as_the_document_says() {
    if !oracle::is_there("answers_are_as_the_document_says") {
        return;
    }
    let (proxy, paths) = Proxy::of_many("corp.example/m", 1);
    let directory = log_over(&proxy);
    grow(&directory, 300);
    let server = directory.serve();
    assert_eq!(server.get(&format!("/lookup/{}@v1.0.0", paths[0])).status, 200);
    let get = |template: &str, paths: &[&str]| -> Vec<Value> {
        paths.iter().map(|path| answer(&server, template, path)).collect()
    };
    let module = format!("/api/v1/modules/{}@v1.0.0", paths[0]);
    let mut answers = [
        get("/api/v1/log", &["/api/v1/log"]),
        get("/api/v1/records/{id}", &["/api/v1/records/0", "/api/v1/records/301", "/api/v1/records/x"]),
        get(
            "/api/v1/modules/{module}",
            &[&module, "/api/v1/modules/a", "/api/v1/modules/corp.example/x@v1.0.0"],
        ),
        get(
            "/api/v1/heads",
            &[
                "/api/v1/heads",
                "/api/v1/heads?at=9000-01-01",
                "/api/v1/heads?at=1999-01-01",
                "/api/v1/heads?x",
            ],
        ),
        get("/api/v1/heads/{size}", &["/api/v1/heads/300", "/api/v1/heads/7", "/api/v1/heads/x"]),
        get(
            "/api/v1/proofs/inclusion",
            &[
                "/api/v1/proofs/inclusion?record=3",
                "/api/v1/proofs/inclusion?record=3&size=4",
                "/api/v1/proofs/inclusion?record=3&size=302",
                "/api/v1/proofs/inclusion",
            ],
        ),
        get(
            "/api/v1/proofs/consistency",
            &[
                "/api/v1/proofs/consistency?from=3",
                "/api/v1/proofs/consistency?from=302&to=303",
                "/api/v1/proofs/consistency",
            ],
        ),
        get("/api/v1/openapi.json", &["/api/v1/openapi.json"]),
    ]
    .concat();
    let (posted, questions) = posted(&server);
    answers.extend(posted);
    server.stop();
    assert_eq!(oracle::described(OPENAPI, &answers, &questions), Vec::<String>::new());
    // The validator sees what is wrong.
    let mut wrong = answers[0].clone();
    wrong["body"] = json!(answers[0]["body"].as_str().unwrap().replace("\"name\"", "\"nane\""));
    assert_eq!(oracle::described(OPENAPI, &[wrong], &[]).len(), 1);
}
