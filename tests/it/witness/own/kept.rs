//! The cosignatures that are kept on disk: only those of the log's witnesses go out, byte for byte.

use super::*;
use crate::support::raw::behind_triggers;

/// The lines of the checkpoint that is served.
async fn served(running: &Running) -> Vec<String> {
    let own = format!("\u{2014} {} ", signer().name());
    let lines = || -> Vec<String> {
        let checkpoint = running.log.checkpoint().unwrap_or_default();
        checkpoint.lines().filter(|line| line.starts_with('\u{2014}')).map(str::to_owned).collect()
    };
    // The log's signature, and its own cosignature once the kept ones are shown.
    let own_lines = || lines().iter().filter(|line| line.starts_with(&own)).count();
    eventually("the checkpoint is shown", async || own_lines() == 2).await;
    lines().into_iter().filter(|line| !line.starts_with(&own)).collect()
}

fn replace_line(database: &Path, tables: &[&str], line: &[u8]) {
    behind_triggers(database, |raw| {
        for table in tables {
            let sql = format!("UPDATE {table} SET line = CAST(? AS TEXT) WHERE size = 3");
            assert_eq!(raw.execute(&sql, [line]).unwrap(), 1, "{table}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_cosignature_with_a_changed_byte_is_never_served() {
    let mut world = World::new();
    let witness = world.witness("w1");
    let running = world.open();
    running.log.append(candidates(0..3)).await.unwrap();
    running.witnessed(&keys(&[witness])).await;
    let [line] = &served(&running).await[..] else { panic!("one witness") };
    let line = line.clone();
    running.close().await;
    // The witness is gone, so what is served is what was kept.
    world.quorum = 0;
    // Its own cosignature follows when it has stopped waiting for the witness.
    world.hearing = Duration::from_millis(1);
    let database = world.path("log/cosignatures.db");
    let both = ["cosignature", "cosignature_copy"];
    let name_and_id = line.rfind(' ').unwrap() + 8;
    for at in (0..name_and_id).chain((name_and_id..line.len()).step_by(9)) {
        let mut changed = line.clone().into_bytes();
        changed[at] ^= 1 << (at % 7);
        // The other copy is sound.
        replace_line(&database, &[both[at % 2]], &changed);
        let running = world.open();
        assert_eq!(served(&running).await, [line.as_str()], "byte {at}");
        running.close().await;
        replace_line(&database, &both, &changed);
        let running = world.open();
        assert!(served(&running).await.is_empty(), "byte {at}");
        running.close().await;
        // It was dropped, unless not even its text can be read.
        let raw = rusqlite::Connection::open(&database).unwrap();
        let rows: i64 =
            raw.query_row("SELECT count(*) FROM cosignature WHERE size = 3", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, i64::from(std::str::from_utf8(&changed).is_err()), "byte {at}");
        raw.execute("DELETE FROM cosignature WHERE size = 3", []).unwrap();
        let (root, key) = (running_root(&world), world.peers[0].key.to_string());
        raw.execute(
            "INSERT INTO cosignature (witness, size, root, line, received_at) VALUES (?, 3, ?, ?, 0)",
            rusqlite::params![key, root, line],
        )
        .unwrap();
    }
}

/// The root of the log's newest head.
fn running_root(world: &World) -> [u8; 32] {
    let reader = tallystick::store::sqlite::SqliteReader::open(&world.path("log/log.db"), 1024).unwrap();
    let heads = tallystick::store::LogReader::heads(&reader, TreeSize(u64::MAX), 1).unwrap();
    *heads[0].tree.root.as_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_cosignature_is_asked_for_again() {
    let mut world = World::new();
    let witnesses = [world.witness("w1")];
    let running = world.open();
    running.log.append(candidates(0..3)).await.unwrap();
    running.witnessed(&keys(&witnesses)).await;
    let [line] = &served(&running).await[..] else { panic!("one witness") };
    let changed = line.replace("witness.example", "witnesz.example");
    running.close().await;
    let database = world.path("log/cosignatures.db");
    replace_line(&database, &["cosignature", "cosignature_copy"], changed.as_bytes());
    let running = world.open();
    running.witnessed(&keys(&witnesses)).await;
    running.close().await;
    let raw = rusqlite::Connection::open(&database).unwrap();
    for table in ["cosignature", "cosignature_copy"] {
        let sql = format!("SELECT line FROM {table} WHERE size = 3");
        let kept: String = raw.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert!(kept.starts_with("\u{2014} witness.example/w1 "), "{table}: {kept}");
    }
}

/// Where cosignatures are demanded, a log whose memory of them is damaged does not go back to an
/// older head: it is not opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_memory_of_demanded_cosignatures_is_refused() {
    let mut world = World::new();
    let witness = world.witness("w1");
    world.required = true;
    let running = world.open();
    running.log.append(candidates(0..3)).await.unwrap();
    running.close().await;
    drop(witness);
    let database = world.path("log/cosignatures.db");
    let good = std::fs::read(&database).unwrap();
    let open = || {
        let store = CosignatureStore::open(&database).map_err(|error| error.to_string())?;
        let witnesses = world.witnesses(store);
        let gate: Arc<dyn PublishGate> = Arc::new(witnesses);
        world
            .open_log(&world.path("log"), Conditions { gate: Some(gate), hold: None })
            .map_err(|error| error.to_string())
    };
    let log = open().unwrap();
    assert_eq!(log.snapshot().size(), TreeSize(3));
    log.close();
    for sql in [
        "DELETE FROM demanded",
        "UPDATE demanded SET after = 4",
        "DELETE FROM demanded_copy",
        "UPDATE cosignature SET line = replace(line, 'w1', 'w2');
         UPDATE cosignature_copy SET line = replace(line, 'w1', 'w2')",
    ] {
        behind_triggers(&database, |raw| raw.execute_batch(sql).unwrap());
        let why = open().err().expect(sql);
        assert!(why.contains("damaged: "), "{sql}: {why}");
        assert_eq!(why.contains("fix: "), sql.contains("replace"), "the opener names the other fix: {why}");
        for side in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{side}", database.display()));
        }
        std::fs::write(&database, &good).unwrap();
    }
    // One copy that is lost changes nothing.
    behind_triggers(&database, |raw| raw.execute_batch("DELETE FROM cosignature").unwrap());
    assert_eq!(open().unwrap().snapshot().size(), TreeSize(3));
}
