//! Exports, read and hashed again by a Go program (`tests/oracle/static`) and unpacked by other people's programs.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use tallystick::mirror::{BundleError, Delta, ExportTarget, Exported, export};
use tallystick::store::StoreError;
use tallystick::tlog::TreeSize;

use super::*;
use crate::client::oracle;
use crate::support::raw::{behind_triggers, run_behind_triggers};

pub(super) fn export_to(mirror: &Mirror, path: &Path, from: Option<u64>) -> Result<Exported, BundleError> {
    let target = ExportTarget::of(path);
    export(&mirror.replica().reader(), peer::NAME, &target, from.map(TreeSize), &mut |_| {
        ControlFlow::Continue(())
    })
}

/// Every file below a directory, and what is in it.
pub(super) fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut waiting) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let body = fs::read(&path).unwrap();
                files.insert(path.strip_prefix(directory).unwrap().to_owned(), body);
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_what_go_would_have_written() {
    let Some((peer, directory, mirror)) = setup("export::a_directory_is_what_go_would_have_written") else {
        return;
    };
    let out = directory.path().join("out");
    let mut written = 0;
    // One record, a tile, a window, and between: each goes on in the directory of the one before.
    for size in [1, 256, 600, 65_536, 72_000, peer::SIZE] {
        mirror.sync(&[peer.serve_honestly(size).url()]).await.unwrap();
        let done = export_to(&mirror, &out, None).unwrap();
        assert_eq!((done.from.0, done.head.size.0), (written, size));
        assert_eq!(done.progress.records, done.progress.target);
        let checked = oracle::check_static(&peer.vkey, &[&out], &[1, size / 2 + 1]);
        assert_eq!((checked.size, checked.old), (size, 0));
        assert_eq!(fs::read(out.join("latest")).unwrap(), peer.head(size));
        written = size;
    }
    // Into a new directory there are exactly the files that Go wrote, and its heads.
    let whole = directory.path().join("whole");
    let done = export_to(&mirror, &whole, None).unwrap();
    let (ours, theirs) = (files(&whole), files(peer.directory()));
    let theirs: BTreeMap<_, _> =
        theirs.into_iter().filter(|(path, _)| path.starts_with("tile") || path.ends_with("latest")).collect();
    assert!(ours == theirs, "{} files, Go wrote {}", ours.len(), theirs.len());
    assert_eq!(done.progress.files + 1, ours.len() as u64);
    let bytes: usize =
        ours.iter().filter(|(path, _)| path.starts_with("tile")).map(|(_, body)| body.len()).sum();
    assert_eq!(done.progress.bytes, bytes as u64);
    let again = export_to(&mirror, &whole, None).unwrap();
    assert_eq!((again.from.0, again.progress.files), (peer::SIZE, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_is_all_that_an_older_copy_lacks() {
    let Some((peer, directory, mirror)) = setup("export::a_delta_is_all_that_an_older_copy_lacks") else {
        return;
    };
    let base = directory.path().join("base");
    for size in [72_000, peer::SIZE] {
        mirror.sync(&[peer.serve_honestly(size).url()]).await.unwrap();
        if size == 72_000 {
            export_to(&mirror, &base, None).unwrap();
        }
    }
    for from in [1, 255, 256, 65_536, 65_537, 71_936, 72_000] {
        let delta = directory.path().join(format!("delta-{from}"));
        let done = export_to(&mirror, &delta, Some(from)).unwrap();
        assert_eq!((done.from.0, done.head.size.0), (from, peer::SIZE));
        let checked = oracle::check_static(&peer.vkey, &[&delta, &base], &[from, 72_000, 100_001]);
        assert_eq!((checked.size, checked.old), (peer::SIZE, from));
        let text = fs::read_to_string(delta.join("delta")).unwrap();
        let read = Delta::parse(&text).unwrap();
        assert_eq!(read.format(), text);
        let note = (from == 72_000).then(|| String::from_utf8(peer.head(from)).unwrap());
        assert_eq!(read.old_note, note, "the note of the older head, if there is one");
    }
    for from in [0, peer::SIZE, peer::SIZE + 1] {
        let refused = export_to(&mirror, &directory.path().join("none"), Some(from));
        assert!(matches!(refused, Err(BundleError::NoDelta { .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_unpacked_by_tar_and_zstd() {
    let Some((peer, directory, mirror)) = setup("export::an_archive_is_unpacked_by_tar_and_zstd") else {
        return;
    };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let (archive, out) = (directory.path().join("log.tar.zst"), directory.path().join("out"));
    let listing = |path: &Path| fs::read_dir(path).unwrap().count();
    let before = listing(directory.path());
    let mut told = 0;
    export(&mirror.replica().reader(), peer::NAME, &ExportTarget::of(&archive), None, &mut |progress| {
        assert!(!archive.exists(), "an archive that is not whole has no name");
        assert!(progress.records > told && progress.records <= progress.target);
        told = progress.records;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((told, listing(directory.path())), (72_000, before + 1), "no scratch file is left");
    let plain = directory.path().join("log.tar");
    let mut unpacked = zstd::Decoder::new(fs::File::open(&archive).unwrap()).unwrap();
    std::io::copy(&mut unpacked, &mut fs::File::create(&plain).unwrap()).unwrap();
    fs::create_dir(&out).unwrap();
    let Some(tar) = crate::cli::installed("tar", "replica::export::an_archive") else { return };
    let ran = Command::new(tar).args(["-x", "-f"]).arg(&plain).arg("-C").arg(&out).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    assert_eq!(oracle::check_static(&peer.vkey, &[&out], &[1]).size, 72_000);
    let direct = directory.path().join("direct");
    export_to(&mirror, &direct, None).unwrap();
    assert!(files(&out) == files(&direct), "an archive has the files of a directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_with_something_else_is_left_alone() {
    let Some((peer, directory, mirror)) = setup("export::a_directory_with_something_else") else { return };
    let out = directory.path().join("out");
    let nothing = export_to(&mirror, &out, None);
    assert!(matches!(nothing, Err(BundleError::NoHead { .. })), "{nothing:?}");
    mirror.sync(&[peer.serve_honestly(600).url()]).await.unwrap();
    let stranger = peer.head(700_000 / 5);
    for (name, body) in [("notes.txt", b"mine".to_vec()), ("latest", stranger), ("delta", b"x".to_vec())] {
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join(name), &body).unwrap();
        let refused = export_to(&mirror, &out, None);
        assert!(matches!(refused, Err(BundleError::Occupied { .. })), "{name}: {refused:?}");
        assert_eq!(files(&out), BTreeMap::from([(PathBuf::from(name), body)]));
        fs::remove_dir_all(&out).unwrap();
    }
    export_to(&mirror, &out, None).unwrap();
    let refused = export_to(&mirror, &out, Some(100));
    assert!(matches!(refused, Err(BundleError::Occupied { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_has_changed_is_not_exported() {
    let Some((peer, directory, mirror)) = setup("export::what_the_disk_has_changed") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let damages: [fn(&Mirror); 2] = [
        |mirror| super::files::rewrite(mirror, 1000, |body| body[500] ^= 1),
        |mirror| damage(mirror, "tile", "tile_id >= 0"),
    ];
    for damage in damages {
        let saved = super::files::Saved::of(&mirror);
        damage(&mirror);
        for name in ["out", "out.tar.zst"] {
            let out = directory.path().join(name);
            let refused = export_to(&mirror, &out, None);
            assert!(matches!(refused, Err(BundleError::Store(StoreError::Damaged { .. }))), "{refused:?}");
            let looks_whole = if name == "out" { out.join("latest").exists() } else { out.exists() };
            assert!(!looks_whole, "{name}");
        }
        saved.put_back();
    }
    // What was left behind is no obstacle.
    let out = directory.path().join("out");
    export_to(&mirror, &out, None).unwrap();
    assert_eq!(oracle::check_static(&peer.vkey, &[&out], &[]).size, 72_000);
}

/// Flips a bit in the last bytes of a row.
pub(super) fn damage(mirror: &Mirror, table: &str, key: &str) {
    behind_triggers(&mirror.database(), |database| {
        let select = format!("SELECT rowid, body FROM {table} WHERE {key}");
        let (id, mut body): (i64, Vec<u8>) =
            database.query_row(&select, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let at = body.len() - 3;
        body[at] ^= 0x10;
        let update = format!("UPDATE {table} SET body = ? WHERE rowid = ?");
        database.execute(&update, rusqlite::params![body, id]).unwrap();
    });
    run_behind_triggers(&mirror.database(), "PRAGMA wal_checkpoint(TRUNCATE)");
}

/// This very test in another process: there it exports over and over, and ends without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_killed_leaves_nothing_that_looks_whole() {
    const CHILD: &str = "TALLYSTICK_TEST_EXPORT";
    if let Ok(orders) = std::env::var(CHILD) {
        let orders: Vec<&str> = orders.lines().collect();
        let [directory, vkey, out, moment] = orders[..] else { panic!("{orders:?}") };
        let end = Clock::system().instant() + Duration::from_millis(moment.parse().unwrap());
        std::thread::spawn(move || {
            while Clock::system().instant() < end {
                std::thread::yield_now();
            }
            std::process::abort();
        });
        export_to(&Mirror::new(Path::new(directory), vkey), Path::new(out), None).unwrap();
        return;
    }
    let Some((peer, directory, mirror)) = setup("export::an_export_that_is_killed") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    for name in ["out", "out.tar.zst"] {
        let out = directory.path().join(name);
        let mut kills = 0;
        for moment in (0..).map(|n| 30 + 60 * n) {
            let orders =
                format!("{}\n{}\n{}\n{moment}", directory.path().display(), peer.vkey, out.display());
            let test = "replica::export::an_export_that_is_killed_leaves_nothing_that_looks_whole";
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", test, "--nocapture"]).env(CHILD, orders);
            let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            let whole = if name == "out" { out.join("latest") } else { out.clone() };
            if whole.exists() {
                break;
            }
            assert!(!status.success());
            kills += 1;
        }
        assert!(kills >= 1, "{name} was never killed");
    }
    let out = directory.path().join("out");
    export_to(&mirror, &out, None).unwrap();
    let names = files(&out).into_keys().filter(|path| path.to_string_lossy().ends_with(".tmp")).count();
    assert_eq!(names, 0, "no scratch file is left");
    assert_eq!(oracle::check_static(&peer.vkey, &[&out], &[]).size, 72_000);
}
