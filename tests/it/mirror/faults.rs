//! What one broken mirror or proxy must not do to the rest: a database that is damaged, proxies that do not answer, an evidence
//! file from before the database was made anew, clients that ask for what the log does not have.

use std::time::Instant;

use super::commands::{ran, run, status};
use super::served::{PATIENCE, lookup_of, mirroring, reconfigure};
use super::small_log::{NAME, SmallLog, answer};
use super::*;
use crate::crash::clocks::LIBRARIES;
use crate::support::poll;
use crate::support::serve::{LogDirectory, Server};

fn database(directory: &LogDirectory) -> PathBuf {
    directory.data().join(format!("mirror/{NAME}.db"))
}

#[test]
fn a_damaged_mirror_does_not_keep_the_server_from_starting() {
    let log = SmallLog::new(700);
    let upstream = log.serve();
    let route = format!("[[route]]\nmodules = [\"example.com\"]\nchecksum = \"{NAME}\"");
    let directory = mirroring(&log, &upstream.url(), &route);
    ran(&directory, &["sync"], 0);
    std::fs::write(database(&directory), vec![b'x'; 100_000]).unwrap();
    let server = directory.serve();
    assert_eq!(server.get("/latest").status, 200, "the own log is served");
    for path in ["supported", "latest", "tile/8/0/000", "tile/8/data/000", &lookup_of(0)] {
        let page = server.get(&format!("/sumdb/{NAME}/{path}"));
        assert_eq!(page.status, 503, "{path}: {}", page.text());
        assert!(
            page.text().starts_with(&format!("what is kept of {NAME} cannot be read here\n")),
            "{}",
            page.text()
        );
    }
    let page = server.get(&format!("/{}", lookup_of(0)));
    assert!(
        page.status == 503 && page.text().contains(&format!("what is kept of {NAME} cannot be read here")),
        "{}",
        page.text()
    );
    assert_eq!(server.log_metric("mirror_unusable", NAME), 1);
    let printed = server.printed();
    assert!(
        printed.contains("ERROR") && printed.contains("a mirror cannot be used; the others go on"),
        "{printed}"
    );
    let path = database(&directory).display().to_string();
    let told_by = |directory: &LogDirectory| {
        let told = ran(directory, &["sync"], 4).stderr;
        assert!(
            told.contains(&format!("fix: move {path} ")) && told.contains("fetched and verified again"),
            "{told}"
        );
        let text = ran(directory, &["status"], 4).stdout;
        assert!(
            text.contains("  UNUSABLE    ") && text.contains(&format!("  fix         move {path} ")),
            "{text}"
        );
        let json = status(directory);
        assert!(json["unusable"]["why"].as_str().unwrap().contains("damaged"), "{json}");
    };
    told_by(&directory);
    server.stop();
    told_by(&directory);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::rename(format!("{path}{end}"), format!("{path}{end}.damaged"));
    }
    let server = directory.serve();
    assert_eq!(server.log_metric("mirror_unusable", NAME), 0);
    assert_eq!(server.get(&format!("/sumdb/{NAME}/{}", lookup_of(0))).status, 200);
    server.stop();
}

/// Before, each proxy was asked one after the other, up to ten seconds each, and signals were not heard meanwhile.
#[test]
fn proxies_that_do_not_answer_do_not_hold_up_the_start() {
    let silent: Vec<HostileServer> = (0..3).map(|_| HostileServer::always(Behaviour::Stall)).collect();
    let sources: Vec<String> = silent.iter().map(|proxy| format!("\"{}\"", proxy.url())).collect();
    let route = format!(
        "[[route]]\nmodules = [\"*\"]\nsource = [{}]\nchecksum = \"sum.golang.org\"\n",
        sources.join(", ")
    );
    let directory = LogDirectory::new("sum.corp.example", &route);
    let started = Instant::now();
    let server = directory.serve();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(silent.iter().all(|proxy| proxy.paths().is_empty()), "nobody needs them yet");
}

#[test]
fn an_evidence_file_of_before_is_not_replaced() {
    let honest = SmallLog::new(700);
    let directory = mirroring(&honest, &honest.serve().url(), "");
    let show = |server: &HostileServer| reconfigure(&directory, &honest, &server.url(), "");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for at in [500, 300, 100] {
        let (good, bad) = (honest.serve(), honest.fork(at, 900).serve());
        show(&good);
        ran(&directory, &["sync"], 0);
        show(&bad);
        ran(&directory, &["sync"], 4);
        let told = status(&directory);
        assert_eq!(told["stopped"]["incident"], 1, "{told}");
        let path = told["stopped"]["evidence"].as_str().unwrap().to_owned();
        assert_eq!(status(&directory)["stopped"]["evidence"], path.as_str(), "each start finds its own");
        files.push((path.clone(), std::fs::read(&path).unwrap()));
        // Made anew, as after damage.
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", database(&directory).display()));
        }
    }
    let names: Vec<&str> = files.iter().map(|(path, _)| path.rsplit("incident-").next().unwrap()).collect();
    assert_eq!(names, ["1.txt", "1-2.txt", "1-3.txt"]);
    for (path, text) in &files {
        assert_eq!(std::fs::read(path).unwrap(), *text, "{path}");
    }
}

#[test]
fn what_the_log_does_not_have_is_asked_once_in_a_while() {
    let log = SmallLog::new(700);
    let served = log.clone();
    let upstream = HostileServer::start(move |path| answer(served.answer(path, 700, |_| 700)));
    let directory = mirroring(&log, &upstream.url(), "");
    let server = directory.serve();
    let missing = format!("/sumdb/{NAME}/lookup/example.com/m@v1.0.9999");
    for _ in 0..5 {
        let page = server.get(&missing);
        assert_eq!(
            (page.status, page.text()),
            (404, format!("not found: {NAME} does not have example.com/m@v1.0.9999\n"))
        );
    }
    let asked = upstream.paths().iter().filter(|path| path.contains("9999")).count();
    assert_eq!(asked, 1, "{:?}", upstream.paths());
    assert_eq!(server.get(&format!("/sumdb/{NAME}/{}", lookup_of(5))).status, 200);
    server.stop();
}

#[test]
fn our_contact_is_in_every_request() {
    let log = SmallLog::new(7);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let config = std::fs::read_to_string(directory.config()).unwrap();
    std::fs::write(directory.config(), format!("contact = \"mailto:ops@corp.example\"\n{config}")).unwrap();
    ran(&directory, &["sync"], 0);
    let requests = upstream.requests();
    let agents: Vec<&str> = requests.iter().map(|seen| seen.header("user-agent").unwrap()).collect();
    assert!(!agents.is_empty());
    for agent in agents {
        assert!(
            agent.starts_with("tallystick/") && agent.ends_with("; +mailto:ops@corp.example)"),
            "{agent}"
        );
    }
}

/// The textfile holds the mirrors' part of `/metrics`, with a server and without one.
#[test]
fn a_sync_leaves_its_metrics_in_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let log = SmallLog::new(700);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "");
    let file = directory.data().with_file_name("tallystick.prom");
    let names = |text: &str| -> Vec<String> {
        let samples = text.lines().filter(|line| line.starts_with("tallystick_mirror_"));
        samples.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let sync = |code: i32| {
        ran(&directory, &["sync", "--quiet", "--textfile", file.to_str().unwrap()], code);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        std::fs::read_to_string(&file).unwrap()
    };
    let alone = sync(0);
    assert!(alone.contains(&format!("tallystick_mirror_size{{log=\"{NAME}\"}} 700\n")), "{alone}");
    assert!(alone.contains("# TYPE tallystick_mirror_failures_total counter\n"), "{alone}");
    let server = directory.serve();
    let beside = sync(0);
    assert_eq!(names(&beside), names(&alone));
    for name in names(&beside) {
        let name = name.strip_prefix("tallystick_").unwrap().split('{').next().unwrap();
        // Panics where the server has no such metric.
        server.log_metric(name.trim_end_matches("_total"), NAME);
    }
    server.stop();
    drop(upstream);
    // What could not be reached is told there too.
    let failed = sync(3);
    assert!(failed.contains(&format!("tallystick_mirror_failures_total{{log=\"{NAME}\"}} 1\n")), "{failed}");
    assert_eq!(
        std::fs::read_dir(file.parent().unwrap())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".tmp"))
            .count(),
        0
    );
    let nowhere = run(&directory, &["sync", "--textfile", "/nonexistent/x.prom"]);
    assert!(
        nowhere.code != 0 && nowhere.stderr.contains("cannot write /nonexistent/x.prom"),
        "{}",
        nowhere.stderr
    );
}

/// At noon by the calendar, and not before: the clock is faked to a few seconds before it.
#[test]
fn a_schedule_is_kept() {
    const TEST: &str = "mirror::faults::a_schedule_is_kept";
    let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
        return eprintln!("SKIPPED: {TEST}: libfaketime is not installed");
    };
    let log = SmallLog::new(700);
    let upstream = log.serve();
    let directory = mirroring(&log, &upstream.url(), "mode = \"heads\"\nschedule = \"0 12 * * *\"");
    let config = directory.config();
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME", "@2026-11-21 11:59:50"),
        ("TZ", "UTC"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let started = Instant::now();
    let arguments = ["--config", config.to_str().unwrap()];
    let server = Server::start(config.parent().unwrap(), &arguments, &environment);
    let text = ran(&directory, &["status"], 0).stdout;
    assert!(text.contains("  mode        heads, polled at 0 12 * * * (UTC)\n"), "{text}");
    poll("noon", PATIENCE, || upstream.paths().contains(&"/latest".to_owned()).then_some(()));
    // It began after `started`, so noon is at least that long after it. A heads mirror without a schedule asks at once.
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
    poll("the head is kept", PATIENCE, || (server.log_metric("mirror_size", NAME) == 700).then_some(()));
    assert_eq!(upstream.paths().iter().filter(|path| *path == "/latest").count(), 1, "the next is tomorrow");
    server.stop();
}
