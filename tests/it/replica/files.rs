//! The two files with the segments of a mirror, `replica.segments` and `replica.places`, read and written here as their documentation
//! describes them: cut off, changed, exchanged, of an older program, on a disk that fails or is full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt as _;

use tallystick::store::StoreError;
use tallystick::store::replica::file_bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::*;
use crate::crash::full_disk::Disk;
use crate::crash::strace::is_available;

/// All files of a mirror as they are now.
pub(super) struct Saved(Vec<(PathBuf, Vec<u8>)>);

impl Saved {
    pub(super) fn of(mirror: &Mirror) -> Saved {
        let files = [mirror.database(), segments(mirror), places(mirror)];
        Saved(files.map(|path| (path.clone(), fs::read(path).unwrap())).into())
    }

    pub(super) fn put_back(&self) {
        self.0.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

fn segments(mirror: &Mirror) -> PathBuf {
    mirror.database().with_extension("segments")
}

fn places(mirror: &Mirror) -> PathBuf {
    mirror.database().with_extension("places")
}

/// Where each segment begins, and the last one ends.
fn read_places(mirror: &Mirror) -> Vec<u64> {
    let bytes = fs::read(places(mirror)).unwrap();
    bytes.chunks_exact(8).map(|place| u64::from_le_bytes(place.try_into().unwrap())).collect()
}

/// Changes a segment where it lies.
pub(super) fn rewrite(mirror: &Mirror, segment: usize, change: impl Fn(&mut [u8])) {
    let places = read_places(mirror);
    let mut body = vec![0; (places[segment + 1] - places[segment]) as usize];
    let file = fs::File::options().read(true).write(true).open(segments(mirror)).unwrap();
    file.read_exact_at(&mut body, places[segment]).unwrap();
    change(&mut body);
    file.write_all_at(&body, places[segment]).unwrap();
}

/// Gives a segment of layout 3 the checksum of what is in it, which is seeded with its number and its first two bytes.
pub(super) fn seal(number: usize, body: &mut [u8]) {
    let seed = (number as u64) << 16 | u64::from(body[0]) << 8 | u64::from(body[1]);
    let sum = xxh3_64_with_seed(&body[10..], seed);
    body[2..10].copy_from_slice(&sum.to_le_bytes());
}

fn open(mirror: &Mirror) -> Result<Replica, StoreError> {
    Replica::open(&mirror.database(), peer::NAME, &mirror.vkey, 1024, Clock::system().now())
}

fn cut(path: &Path, length: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_what_their_documentation_says() {
    let Some((peer, _directory, mirror)) = setup("files::they_are_what_their_documentation_says") else {
        return;
    };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let (places, bytes) = (read_places(&mirror), fs::read(segments(&mirror)).unwrap());
    assert_eq!(places.len(), 72_000 / 256 * 16 + 1);
    assert_eq!((places[0], *places.last().unwrap()), (16, bytes.len() as u64));
    assert_eq!(&bytes[..8], b"tallyseg");
    for (segment, pair) in places.windows(2).enumerate() {
        let mut body = bytes[pair[0] as usize..pair[1] as usize].to_vec();
        let as_written = body.clone();
        seal(segment, &mut body);
        assert!(body[0] == 3 && body == as_written, "at {}", pair[0]);
    }
    let whole: u64 = fs::read_dir(&mirror.directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("replica."))
        .filter(|entry| !entry.file_name().to_str().unwrap().ends_with("-shm"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(file_bytes(&mirror.database()), whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_found_when_it_is_read() {
    let Some((peer, _directory, mirror)) = setup("files::a_flipped_bit_is_found_when_it_is_read") else {
        return;
    };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let text = mirror.replica().reader().records(40..41).unwrap().remove(0);
    let tallystick::store::replica::RecordText::Lines(lines) = text else { panic!("{text:?}") };
    let (saved, begins) = (Saved::of(&mirror), read_places(&mirror)[2]);
    // The header, the database's mark, the segment's ends and what is between; where it begins, and the last place.
    let last = 8 * (72_000 / 256 * 16);
    let flips = [0, 8, begins, begins + 5, begins + 700].map(|at| (segments(&mirror), at));
    let flips =
        flips.into_iter().chain([2 * 8, 2 * 8 + 7, 3 * 8, last, last + 7].map(|at| (places(&mirror), at)));
    for (path, at) in flips {
        for bit in [0, 7] {
            let file = fs::File::options().read(true).write(true).open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
            let told = format!("byte {at} of {}", path.display());
            let read = open(&mirror).and_then(|replica| {
                let reader = replica.reader();
                let find = reader.find(&lines.module).map(drop);
                let each = reader.push_data(32..64, &mut String::new()).map(drop);
                assert!(find.is_err() && each.is_err(), "{told}");
                assert!(reader.push_data(64..256, &mut String::new()).is_ok(), "{told}: its neighbours");
                find
            });
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{told}: {read:?}");
            saved.put_back();
        }
    }
    peer.assert_mirrored(&mirror.replica().reader(), 72_000, 1001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_not_all_there_or_of_another_mirror_are_refused_and_left_alone() {
    let Some((peer, directory, mirror)) = setup("files::files_that_are_not_all_there") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let saved = Saved::of(&mirror);
    let elsewhere = directory.path().join("other");
    fs::create_dir(&elsewhere).unwrap();
    let other = Mirror::new(&elsewhere, &peer.vkey);
    other.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let length = |path: PathBuf| fs::metadata(path).unwrap().len();
    let header = |byte: u8| fs::write(segments(&mirror), [byte; 16]).unwrap();
    let faults: [&dyn Fn(); 7] = [
        &|| fs::remove_file(segments(&mirror)).unwrap(),
        &|| fs::remove_file(places(&mirror)).unwrap(),
        &|| cut(&segments(&mirror), length(segments(&mirror)) - 1),
        &|| cut(&places(&mirror), length(places(&mirror)) - 1),
        &|| fs::write(segments(&mirror), fs::read(segments(&other)).unwrap()).unwrap(),
        // A database that begins anew does not write over the segments of another.
        &|| fs::remove_file(mirror.database()).unwrap(),
        // Nor over what may be anything.
        &|| (fs::remove_file(mirror.database()).unwrap(), header(3)).1,
    ];
    for (at, fault) in faults.iter().enumerate() {
        fault();
        let bytes = fs::read(segments(&mirror)).ok();
        let refused = open(&mirror).map(drop);
        let Err(StoreError::Damaged { place, .. }) = &refused else { panic!("fault {at}: {refused:?}") };
        assert!(
            place.contains("replica.segments") || place.contains("replica.places"),
            "fault {at}: {place}"
        );
        assert_eq!(fs::read(segments(&mirror)).ok(), bytes, "fault {at}");
        fs::remove_file(mirror.database()).unwrap();
        saved.put_back();
    }
    peer.assert_mirrored(&open(&mirror).unwrap().reader(), 72_000, 1001);
}

/// What a run has written that was killed before it could commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_committed_is_written_over() {
    let Some((peer, _directory, mirror)) = setup("files::what_was_not_committed") else { return };
    drop(mirror.replica());
    for (before, size) in [(0, 600), (600, 72_000), (72_000, peer::SIZE)] {
        for path in [segments(&mirror), places(&mirror)] {
            let length = fs::metadata(&path).unwrap().len();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[7; 100_003], length).unwrap();
        }
        let replica = mirror.replica();
        assert_eq!(replica.reader().size().0, before);
        sync(&mirror.log(&[peer.serve_honestly(size).url()]), &replica).await.unwrap();
        peer.assert_mirrored(&replica.reader(), size, 101);
    }
}

/// Puts the segments where an older program had them: in a table, one a row.
fn make_older(mirror: &Mirror) {
    let (places, bytes) = (read_places(mirror), fs::read(segments(mirror)).unwrap());
    let mut database = rusqlite::Connection::open(mirror.database()).unwrap();
    let transaction = database.transaction().unwrap();
    transaction
        .execute_batch(
            "CREATE TABLE segment (segment_id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
             CREATE TRIGGER segment_replace BEFORE INSERT ON segment WHEN EXISTS (SELECT 1 FROM segment WHERE segment_id = NEW.segment_id)
                 BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
             CREATE TRIGGER segment_update BEFORE UPDATE ON segment BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
             CREATE TRIGGER segment_delete BEFORE DELETE ON segment BEGIN SELECT RAISE(ABORT, 'segment is insert-only'); END;
             DROP TRIGGER head_inserted;
             DROP TABLE newest_head;
             DROP TRIGGER edge_inserted;
             DROP TRIGGER edge_updated;
             DROP TABLE edge_copy;
             DROP TRIGGER edge_backwards;
             ALTER TABLE edge DROP COLUMN segments_end;
             CREATE TRIGGER edge_backwards BEFORE UPDATE ON edge WHEN NEW.size <= OLD.size OR NEW.id <> OLD.id
                 BEGIN SELECT RAISE(ABORT, 'the edge only moves forward'); END;
             PRAGMA user_version = 2;",
        )
        .unwrap();
    for (segment, pair) in places.windows(2).enumerate() {
        let body = &bytes[pair[0] as usize..pair[1] as usize];
        transaction.execute("INSERT INTO segment VALUES (?, ?)", (segment as i64, body)).unwrap();
    }
    transaction.commit().unwrap();
    fs::remove_file(segments(mirror)).unwrap();
    fs::remove_file(self::places(mirror)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_of_an_older_program_is_moved_once_and_goes_on() {
    let Some((peer, _directory, mirror)) = setup("files::a_mirror_of_an_older_program") else { return };
    for size in [1, 255, 600, 72_000] {
        mirror.sync(&[peer.serve_honestly(size).url()]).await.unwrap();
        let as_written = fs::read(segments(&mirror)).unwrap();
        make_older(&mirror);
        // A move that was killed is begun anew, whatever it has left.
        fs::write(segments(&mirror), [&as_written[..16], &[3; 5_000]].concat()).unwrap();
        let replica = mirror.replica();
        assert!(fs::read(segments(&mirror)).unwrap().starts_with(&as_written));
        peer.assert_mirrored(&replica.reader(), size, 101);
        replica.settle().unwrap();
        drop(replica);
        assert!(
            !mirror.database().metadata().is_ok_and(|found| found.len() > 2_000_000),
            "the table's pages are given back"
        );
        peer.assert_mirrored(&mirror.replica().reader(), size, 101);
    }
    make_older(&mirror);
    mirror.sync(&[peer.url()]).await.unwrap();
    peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 101);
    make_older(&mirror);
    let database = rusqlite::Connection::open(mirror.database()).unwrap();
    database
        .execute_batch("DROP TRIGGER segment_delete; DELETE FROM segment WHERE segment_id = 3000")
        .unwrap();
    drop(database);
    let refused = open(&mirror).map(drop);
    assert!(
        matches!(&refused, Err(StoreError::Damaged { place, .. }) if place == "segment 3000"),
        "{refused:?}"
    );
}

/// Each call on one of the files fails once, or is the last that the process makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_fails_nothing_is_lost_and_the_next_run_goes_on() {
    if !is_available("replica::files::whatever_call_fails") {
        return;
    }
    let Some((peer, directory, mirror)) = setup("files::whatever_call_fails") else { return };
    let (mut failed, mut whole) = (0, 0);
    for (call, effects) in [
        ("openat", &["error=EIO"][..]),
        ("ftruncate", &["error=EIO"]),
        ("pwrite64", &["error=EIO", "error=ENOSPC", "signal=SIGKILL"]),
        ("fdatasync", &["error=EIO", "signal=SIGKILL"]),
    ] {
        for (effect, path) in
            effects.iter().flat_map(|effect| [(effect, segments(&mirror)), (effect, places(&mirror))])
        {
            for nth in [1, 4] {
                let child = kills::command(directory.path(), &mirror, peer, u64::MAX);
                let mut strace = std::process::Command::new("strace");
                strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(&path);
                strace.args([
                    "-e",
                    &format!("trace={call}"),
                    "-e",
                    &format!("inject={call}:{effect}:when={nth}"),
                ]);
                strace.arg(child.get_program()).args(child.get_args());
                strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
                let ended =
                    strace.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
                let told = format!("{effect} at {call} number {nth} of {}", path.display());
                *(if ended.unwrap().success() { &mut whole } else { &mut failed }) += 1;
                let replica = open(&mirror).unwrap_or_else(|error| panic!("{told}: {error}"));
                let size = replica.reader().size().0;
                assert!(size.is_multiple_of(65_536) || size == peer::SIZE, "{told}: {size}");
                if size > 0 {
                    peer.assert_records(&replica.reader(), size, 5_003);
                }
                sync(&mirror.log(&[peer.url()]), &replica).await.unwrap();
                peer.assert_mirrored(&replica.reader(), peer::SIZE, 20_011);
                drop(replica);
                for name in ["db", "segments", "places", "lock", "db-wal", "db-shm"] {
                    let _ = fs::remove_file(mirror.database().with_extension(name));
                }
            }
        }
    }
    // Some are never made as often.
    assert!(failed >= 13 && whole > 0, "{failed} runs failed, {whole} did not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_a_run_and_with_space_it_goes_on() {
    let Some((peer, directory, _)) = setup("files::a_full_disk_stops_a_run") else { return };
    let place = directory.path().join("disk");
    let Some(disk) = Disk::mount(&place, 10 << 20, "replica::files::a_full_disk_stops_a_run") else { return };
    let mirror = Mirror::new(&place, &peer.vkey);
    let log = mirror.log(&[peer.url()]);
    let replica = mirror.replica();
    for mib in [10, 12] {
        disk.resize(mib << 20);
        let refused = sync(&log, &replica).await;
        assert!(matches!(refused, Err(RecordsError::Store(StoreError::Full))), "{mib} MiB: {refused:?}");
        let size = replica.reader().size().0;
        assert!(size.is_multiple_of(65_536) && size < peer::SIZE, "{mib} MiB: {size}");
        peer.assert_records(&replica.reader(), size, 1009);
    }
    disk.resize(64 << 20);
    sync(&log, &replica).await.unwrap();
    peer.assert_mirrored(&replica.reader(), peer::SIZE, 1009);
}

/// What a power cut may take away is what was not synced: nothing of the segments may be that when the database hears of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_synced_before_the_database_hears_of_them() {
    if !is_available("replica::files::segments_are_synced") {
        return;
    }
    let Some((peer, directory, mirror)) = setup("files::segments_are_synced") else { return };
    let log = directory.path().join("calls");
    let child = kills::command(directory.path(), &mirror, peer, u64::MAX);
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-s0", "-e", "trace=pwrite64,fdatasync", "-o"]).arg(&log);
    let wal = mirror.database().with_extension("db-wal");
    for path in [&segments(&mirror), &places(&mirror), &wal] {
        strace.arg("-P").arg(path);
    }
    strace.arg(child.get_program()).args(child.get_args());
    strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let quiet = std::process::Stdio::null;
    assert!(strace.stdout(quiet()).stderr(quiet()).status().unwrap().success());
    // Files with writes that are not synced, and syncs that have begun, by thread.
    let (mut unsynced, mut begun) = (BTreeSet::new(), BTreeMap::new());
    let (mut written, mut told) = (0, 0);
    for line in fs::read_to_string(log).unwrap().lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let file = ["segments", "places", "wal"].into_iter().find(|end| call.contains(&format!("{end}>")));
        match (call.trim_start(), file) {
            (call, Some("wal")) if call.starts_with("pwrite64(") => {
                told += 1;
                assert!(unsynced.is_empty(), "{unsynced:?} when the database is written: {line}");
            }
            // The head of an empty file may be written again.
            (call, Some(_)) if call.contains("..., 16, 0") || call.contains("..., 8, 0") => {}
            (call, Some(file)) if call.starts_with("pwrite64(") => {
                written += 1;
                unsynced.insert(file);
            }
            (call, Some(file)) if call.starts_with("fdatasync(") && call.contains("unfinished") => {
                begun.insert(thread, file);
            }
            (call, Some(file)) if call.starts_with("fdatasync(") => {
                unsynced.remove(file);
            }
            (call, None) if call.contains("fdatasync resumed") => {
                if let Some(file) = begun.remove(thread) {
                    unsynced.remove(file);
                }
            }
            _ => {}
        }
    }
    assert!(written > 10 && told > 10, "{written} writes of segments, {told} of the database");
}

/// A commit whose sync failed may be read out of the write-ahead log by the next process, after this one has gone on without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_sees_yet_finds_its_segments_later() {
    let Some((peer, _directory, mirror)) = setup("files::a_commit_that_nobody_sees_yet") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let before = fs::read(mirror.database()).unwrap();
    mirror.sync(&[peer.url()]).await.unwrap();
    let after = fs::read(mirror.database()).unwrap();
    let later = |stride| {
        fs::write(mirror.database(), &after).unwrap();
        peer.assert_mirrored(&open(&mirror).unwrap().reader(), peer::SIZE, stride);
    };
    // It is looked what is in the file, and nothing more comes.
    fs::write(mirror.database(), &before).unwrap();
    let replica = open(&mirror).unwrap();
    assert_eq!(replica.edge().size.0, 72_000);
    replica.settle().unwrap();
    drop(replica);
    later(1_009);
    // Part of it was written again.
    fs::write(mirror.database(), &before).unwrap();
    fs::remove_file(mirror.directory.join("remote.db")).unwrap();
    mirror.sync(&[peer.serve_honestly(128_000).url()]).await.unwrap();
    peer.assert_mirrored(&open(&mirror).unwrap().reader(), 128_000, 1_009);
    later(101);
}
