//! What the disk has changed is an error when it is read, and never an answer.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_found_when_it_is_read() {
    let Some((peer, _directory, mirror)) = setup("a_flipped_byte_is_found_when_it_is_read") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let text = mirror.replica().reader().records(40..41).unwrap().remove(0);
    let tallystick::store::replica::RecordText::Lines(lines) = text else { panic!("{text:?}") };
    let rows = [
        ("segment", "segment_id = 2"),
        ("tile", "tile_id >= 0"),
        ("index_bucket", "bucket_id >= 0"),
        ("dictionary", "dictionary_id = 1"),
        ("edge", "id = 1"),
        ("identity", "id = 1"),
    ];
    for (table, row) in rows {
        let column = if table == "identity" { "index_key" } else { "body" };
        let flip = format!(
            "UPDATE {table} SET {column} = substr({column}, 1, length({column}) - 3)
             || CASE substr({column}, -3, 1) WHEN x'00' THEN x'01' ELSE x'00' END || substr({column}, -2) WHERE {row}"
        );
        let database = rusqlite::Connection::open(mirror.database()).unwrap();
        let trigger: Option<String> = database
            .query_row("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 AND sql LIKE '%BEFORE UPDATE%'", [table], |row| row.get(0))
            .ok();
        if let Some(trigger) = &trigger {
            let refused = database.execute_batch(&flip);
            assert!(refused.is_err(), "{table} is insert-only");
            database.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
        }
        let copy = std::fs::read(mirror.database()).unwrap();
        database.execute_batch(&flip).unwrap();
        database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(database);
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
