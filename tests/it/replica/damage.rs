//! What the disk has changed is an error when it is read, and never an answer.

use super::*;
use crate::support::raw::{behind_triggers, run_behind_triggers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_found_when_it_is_read() {
    let Some((peer, _directory, mirror)) = setup("a_flipped_byte_is_found_when_it_is_read") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let text = mirror.replica().reader().records(40..41).unwrap().remove(0);
    let tallystick::store::replica::RecordText::Lines(lines) = text else { panic!("{text:?}") };
    let rows = [
        ("tile", "tile_id >= 0"),
        ("index_bucket", "bucket_id >= 0"),
        ("dictionary", "dictionary_id = 1"),
        ("edge", "id = 1"),
        ("identity", "id = 1"),
    ];
    for (table, row) in rows {
        let column = if table == "identity" { "index_key" } else { "body" };
        run_behind_triggers(&mirror.database(), "PRAGMA wal_checkpoint(TRUNCATE)");
        let copy = std::fs::read(mirror.database()).unwrap();
        behind_triggers(&mirror.database(), |database| {
            let rows: Vec<(i64, Vec<u8>)> = database
                .prepare(&format!("SELECT rowid, {column} FROM {table} WHERE {row}"))
                .and_then(|mut select| select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
                .unwrap();
            assert!(!rows.is_empty(), "{table}");
            for (id, mut body) in rows {
                let at = body.len() - 3;
                body[at] ^= 0x10;
                let update = format!("UPDATE {table} SET {column} = ? WHERE rowid = ?");
                database.execute(&update, rusqlite::params![body, id]).unwrap();
            }
        });
        run_behind_triggers(&mirror.database(), "PRAGMA wal_checkpoint(TRUNCATE)");
        let opened = Replica::open(&mirror.database(), peer::NAME, &peer.vkey, 1024, Clock::system().now());
        let read = opened.and_then(|replica| {
            let reader = replica.reader();
            reader.find(&lines.module)?;
            reader.push_data(32..64, &mut String::new())?;
            reader.tile(1, 0).map(drop)
        });
        assert!(matches!(read, Err(tallystick::store::StoreError::Damaged { .. })), "{table}: {read:?}");
        std::fs::write(mirror.database(), copy).unwrap();
    }
    peer.assert_mirrored(&mirror.replica().reader(), 72_000, 1001);
}

#[test]
fn a_mirror_of_another_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let key = |n: u8| {
        let name = peer::NAME.parse().unwrap();
        tallystick::note::SignerKey::generate(name, [n; 32]).verifier().to_string()
    };
    drop(Mirror::new(directory.path(), &key(1)).replica());
    let other = Mirror::new(directory.path(), &key(2));
    let opened = Replica::open(&other.database(), peer::NAME, &other.vkey, 1024, Clock::system().now());
    assert!(matches!(opened, Err(tallystick::store::StoreError::Foreign { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_verified_is_insert_only_for_every_connection() {
    let Some((peer, _directory, mirror)) = setup("what_is_verified_is_insert_only") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let database = rusqlite::Connection::open(mirror.database()).unwrap();
    for forbidden in [
        "UPDATE identity SET name = 'other'",
        "DELETE FROM identity",
        "UPDATE dictionary SET body = x'00'",
        "DELETE FROM dictionary",
        "UPDATE tile SET body = x'00'",
        "DELETE FROM tile",
        "REPLACE INTO tile (tile_id, body) SELECT tile_id, x'00' FROM tile",
        "UPDATE edge SET size = size, body = x'00'",
        "UPDATE edge SET segments_end = segments_end - 1",
        "DELETE FROM edge",
        "REPLACE INTO edge (id, size, body) VALUES (1, 0, x'00')",
        "UPDATE head SET note = ''",
        "DELETE FROM head",
        "INSERT INTO head (size, root, note, seen_at) VALUES (72001, zeroblob(32), '', 0)",
    ] {
        assert!(database.execute_batch(forbidden).is_err(), "{forbidden}");
    }
    drop(database);
    peer.assert_mirrored(&mirror.replica().reader(), 72_000, 1001);
}

#[test]
fn a_mirror_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let key =
        tallystick::note::SignerKey::generate(peer::NAME.parse().unwrap(), [1; 32]).verifier().to_string();
    let mirror = Mirror::new(directory.path(), &key);
    let first = mirror.replica();
    let second = || Replica::open(&mirror.database(), peer::NAME, &mirror.vkey, 1024, Clock::system().now());
    assert!(matches!(second(), Err(tallystick::store::StoreError::Locked { .. })));
    drop(first);
    assert!(second().is_ok());
}

/// What the full mirror says may be signed into another log: only what is proved then, whatever its checksum says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_proved_is_no_answer_to_a_look_up() {
    let Some((peer, _directory, mirror)) = setup("damage::what_cannot_be_proved") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    super::files::rewrite(&mirror, 20, |body| {
        body[40] ^= 1;
        super::files::seal(20, body);
    });
    let replica = mirror.replica();
    let module = |id: u64| match replica.reader().records(id..id + 1).unwrap().remove(0) {
        tallystick::store::replica::RecordText::Lines(lines) => lines,
        other => panic!("{other:?}"),
    };
    let log = mirror.log_with(&["http://127.0.0.1:1".to_owned()], Some(replica.clone()));
    let soon = || Clock::system().instant() + Duration::from_secs(30);
    let sound = log.lookup(&module(1_000).module, soon()).await.unwrap();
    assert_eq!((sound.record.0, &sound.lines), (1_000, &module(1_000)));
    // Its neighbours share its tile, so that they cannot be proved either.
    for id in [320, 325, 256] {
        let refused = log.lookup(&module(id).module, soon()).await;
        assert!(matches!(refused, Err(RemoteError::Unavailable { .. })), "record {id}: {refused:?}");
    }
}
