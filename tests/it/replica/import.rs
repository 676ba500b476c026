//! Imports: of what Go wrote and of what was exported, whole and as deltas, from liars, interrupted. No URL of the log answers here.

use std::fs;
use std::process::Command;

use tallystick::mirror::{self, BundleError, ImportError, ImportProgress, ImportSource, Misbehavior};
use tallystick::note;
use tallystick::tlog::{Hash, Tile, TileLevel, TreeHead, TreeSize, new_tiles};

use super::export::{export_to, files};
use super::*;
use crate::support::tree::Tree;

/// Where nobody is.
const NOWHERE: &str = "file:///nonexistent";

async fn import(mirror: &Mirror, source: &Path) -> Result<Replicated, ImportError> {
    import_from(mirror, source.to_str().unwrap()).await
}

async fn import_from(mirror: &Mirror, source: &str) -> Result<Replicated, ImportError> {
    let log = mirror.log(&[NOWHERE.to_owned()]);
    let imported =
        mirror::import(&log, &mirror.replica(), &ImportSource::parse(source).unwrap(), |_| ()).await;
    let left = fs::read_dir(&mirror.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("import")).count(), 0, "what was unpacked is removed");
    imported
}

fn mirror_in(directory: &Path, peer: &Peer, name: &str) -> Mirror {
    let directory = directory.join(name);
    fs::create_dir(&directory).unwrap();
    Mirror::new(&directory, &peer.vkey)
}

/// Writes what a log of a key looks like whose records are made up.
fn write_log(directory: &Path, signer: &note::SignerKey, size: u64) -> TreeHead {
    let texts: Vec<String> = (0..size)
        .map(|n| {
            let hash = Hash::of_record(&n.to_le_bytes());
            format!("other.example/m v1.0.{n} h1:{hash}\nother.example/m v1.0.{n}/go.mod h1:{hash}\n")
        })
        .collect();
    let mut tree = Tree::default();
    texts.iter().for_each(|text| drop(tree.push(Hash::of_record(text.as_bytes()))));
    let write = |tile: &Tile, body: &[u8]| {
        let path = directory.join(tile.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
    };
    for tile in new_tiles(8, TreeSize(0), TreeSize(size)) {
        write(&tile, &tree.tile(&tile));
        if tile.level == TileLevel::Hash(0) {
            let first = tile.number as usize * 256;
            let data: String =
                texts[first..first + tile.width as usize].iter().map(|text| format!("{text}\n")).collect();
            write(&Tile { level: TileLevel::Data, ..tile }, data.as_bytes());
        }
    }
    fs::write(directory.join("latest"), note::sign(&tree.head().format(), &[signer]).unwrap()).unwrap();
    tree.head()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_go_wrote_and_what_was_exported_is_taken_in() {
    let Some((peer, directory, mirror)) = setup("import::what_go_wrote") else { return };
    let done = import(&mirror, peer.directory()).await.unwrap();
    assert_eq!((done.from.0, done.progress.size.0, done.progress.retries), (0, peer::SIZE, 0));
    peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 101);
    let again = import(&mirror, peer.directory()).await.unwrap();
    assert_eq!((again.from.0, again.progress.requests), (peer::SIZE, 0));
    // Out and in again: as a directory, as an archive, and the directory through tar and zstd.
    let (out, archive) = (directory.path().join("out"), directory.path().join("out.tar.zst"));
    export_to(&mirror, &out, None).unwrap();
    export_to(&mirror, &archive, None).unwrap();
    let served = peer.serve_honestly(peer::SIZE);
    let mut sources = vec![out.clone(), archive, PathBuf::from(served.url())];
    if crate::cli::installed("zstd", "replica::import::what_go_wrote").is_some() {
        let packed = directory.path().join("packed.tar.zst");
        let ran = Command::new("tar")
            .args(["--zstd", "-cf"])
            .arg(&packed)
            .arg("-C")
            .arg(&out)
            .arg(".")
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        sources.push(packed);
    }
    for (n, source) in sources.iter().enumerate() {
        let other = mirror_in(directory.path(), peer, &format!("mirror-{n}"));
        assert_eq!(import(&other, source).await.unwrap().progress.size.0, peer::SIZE, "{source:?}");
        peer.assert_mirrored(&other.replica().reader(), peer::SIZE, 101);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_interrupted_leaves_the_verified_prefix() {
    let Some((peer, _directory, mirror)) = setup("import::an_import_that_is_interrupted") else { return };
    let (log, replica) = (mirror.log(&[NOWHERE.to_owned()]), mirror.replica());
    let (first, stopped) = tokio::sync::oneshot::channel();
    let first = std::sync::Mutex::new(Some(first));
    let told = move |progress| {
        assert!(matches!(progress, ImportProgress::Stored(_)), "{progress:?}");
        if let Some(first) = first.lock().unwrap().take() {
            let _ = first.send(());
        }
    };
    let source = ImportSource::Directory(peer.directory().to_owned());
    tokio::select! {
        done = mirror::import(&log, &replica, &source, told) => drop(done.unwrap()),
        _ = stopped => {}
    }
    let size = replica.reader().size().0;
    assert!(size == 65_536 || size == 131_072, "{size}");
    assert!(replica.reader().head().is_none());
    peer.assert_records(&replica.reader(), size, 509);
    drop((log, replica));
    let done = import(&mirror, peer.directory()).await.unwrap();
    assert!(done.from.0 >= size && done.progress.requests <= (peer::SIZE - size).div_ceil(256));
    peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_applies_where_its_tree_is_stored_and_nowhere_else() {
    let Some((peer, directory, mirror)) = setup("import::a_delta_applies") else { return };
    import(&mirror, peer.directory()).await.unwrap();
    for (have, from) in [(65_537, 65_537), (72_000, 257), (72_000, 65_536), (72_000, 72_000), (600, 1)] {
        let delta = directory.path().join(format!("delta-{have}-{from}.tar.zst"));
        export_to(&mirror, &delta, Some(from)).unwrap();
        let other = mirror_in(directory.path(), peer, &format!("other-{have}-{from}"));
        let refused = import(&other, &delta).await;
        let Err(ImportError::Bundle(error @ BundleError::Gap { .. })) = refused else {
            panic!("{refused:?}")
        };
        let records = if from == 1 { "1 record".to_owned() } else { format!("{from} records") };
        let told = format!("a delta from {records} on, and only 0 are stored here");
        assert!(error.to_string().contains(&told), "{error}");
        other.sync(&[peer.serve_honestly(have).url()]).await.unwrap();
        let done = import(&other, &delta).await.unwrap();
        assert_eq!((done.from.0, done.progress.size.0), (have, peer::SIZE));
        assert_eq!(done.progress.requests, peer::SIZE.div_ceil(256) - have / 256);
        peer.assert_mirrored(&other.replica().reader(), peer::SIZE, 101);
    }
}

fn misbehaviour(result: Result<Replicated, ImportError>) -> std::sync::Arc<Misbehavior> {
    match result {
        Err(ImportError::Replicate(RecordsError::Remote(RemoteError::Misbehavior(evidence)))) => evidence,
        other => panic!("expected misbehaviour, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_contradiction_stops_the_log() {
    let Some((peer, directory, _mirror)) = setup("import::a_signed_contradiction") else { return };
    // A tree that is larger than the known one, one of its size, and a smaller one.
    for (known, shown) in [(600, 900), (600, 600), (4_000, 900)] {
        let mirror = mirror_in(directory.path(), peer, &format!("m-{known}-{shown}"));
        mirror.sync(&[peer.serve_honestly(known).url()]).await.unwrap();
        let fork = directory.path().join(format!("fork-{known}-{shown}"));
        write_log(&fork, &peer.signer(), shown);
        let evidence = misbehaviour(import(&mirror, &fork).await);
        assert_eq!(evidence.verify(&peer.vkey.parse().unwrap()), Ok(()));
        let judged = crate::client::oracle::judge(&peer.vkey, &evidence.to_text());
        assert_eq!((judged.older, judged.newer), (known.min(shown), known.max(shown)));
        peer.assert_mirrored(&mirror.replica().reader(), known, 7);
        // An honest source is not asked before a person has looked.
        misbehaviour(import(&mirror, peer.directory()).await);
        let log = mirror.log(&[NOWHERE.to_owned()]);
        let incident = log.incident().unwrap();
        assert!(incident.evidence.exists());
        assert!(log.resume(incident.id).await.unwrap());
        drop(log);
        import(&mirror, peer.directory()).await.unwrap();
        peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 1001);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_is_that_of_the_log_itself() {
    let Some((peer, directory, mirror)) = setup("import::the_stop_is_that_of_the_log_itself") else { return };
    mirror.sync(&[peer.serve_honestly(600).url()]).await.unwrap();
    write_log(&directory.path().join("fork"), &peer.signer(), 900);
    let log = mirror.log(&[peer.url()]);
    let source = ImportSource::Directory(directory.path().join("fork"));
    misbehaviour(mirror::import(&log, &mirror.replica(), &source, |_| ()).await);
    assert!(log.is_stopped().is_some(), "who has the log open hears of it");
    let refused = log.advance(Clock::system().instant() + Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(RemoteError::Misbehavior(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_export_is_compared_and_brings_nothing() {
    let Some((peer, directory, mirror)) = setup("import::an_older_export") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let out = directory.path().join("out");
    export_to(&mirror, &out, None).unwrap();
    import(&mirror, peer.directory()).await.unwrap();
    let done = import(&mirror, &out).await.unwrap();
    assert_eq!((done.from.0, done.progress.requests), (peer::SIZE, 0));
    // Only the newest head is known, and none of the records: it can be compared with a network only.
    let other = mirror_in(directory.path(), peer, "other");
    let log = other.log(&[peer.url()]);
    log.advance(Clock::system().instant() + Duration::from_secs(60)).await.unwrap();
    drop(log);
    let refused = import(&other, &out).await;
    let Err(ImportError::Older { offered, newest, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((offered.0, newest.0), (72_000, peer::SIZE));
    let log = other.log(&[peer.url()]);
    let done = mirror::import(&log, &other.replica(), &ImportSource::Directory(out), |_| ()).await.unwrap();
    assert_eq!(done.progress.size.0, 72_000);
    peer.assert_mirrored(&other.replica().reader(), 72_000, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_named_and_what_was_before_them_stays() {
    let Some((peer, directory, mirror)) = setup("import::wrong_bytes_are_named") else { return };
    mirror.sync(&[peer.serve_honestly(72_000).url()]).await.unwrap();
    let out = directory.path().join("out");
    export_to(&mirror, &out, None).unwrap();
    for (n, (path, stays)) in
        [("tile/8/data/000", 0), ("tile/8/data/270", 65_536), ("tile/8/1/000", 0), ("latest", 0)]
            .iter()
            .enumerate()
    {
        let other = mirror_in(directory.path(), peer, &format!("other-{n}"));
        let honest = fs::read(out.join(path)).unwrap();
        let mut wrong = honest.clone();
        // A digit of a hash, or of a size.
        let at = if *path == "latest" { "go.sum database tree\n".len() } else { 1_000 };
        wrong[at] = if wrong[at] == b'8' { b'9' } else { b'8' };
        fs::write(out.join(path), &wrong).unwrap();
        let refused = import(&other, &out).await;
        let Err(ImportError::Replicate(RecordsError::Remote(RemoteError::Unproven(error)))) = refused else {
            panic!("{path}: {refused:?}");
        };
        assert!(error.to_string().contains(path), "{path}: {error}");
        assert_eq!(other.replica().reader().size().0, *stays, "{path}");
        assert!(other.log(&[NOWHERE.to_owned()]).is_stopped().is_none(), "unsigned bytes prove nothing");
        fs::write(out.join(path), &honest).unwrap();
        assert_eq!(import(&other, &out).await.unwrap().from.0, *stays);
        peer.assert_mirrored(&other.replica().reader(), 72_000, 1001);
    }
    fs::remove_file(out.join("tile/8/data/100")).unwrap();
    let other = mirror_in(directory.path(), peer, "other");
    let refused = import(&other, &out).await.unwrap_err().to_string();
    assert!(refused.contains("tile/8/data/100"), "{refused}");
}

#[track_caller]
fn assert_no_archive(refused: Result<Replicated, ImportError>) {
    let Err(ImportError::Bundle(error @ (BundleError::File { .. } | BundleError::Hostile { .. }))) = refused
    else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("evil.tar.zst: "), "{error}");
}

/// Whoever opened one of these pipes as any other file would wait here for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_in_the_place_of_a_file_is_named_and_refused() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let Some((peer, directory, mirror)) = setup("import::a_pipe_in_the_place_of_a_file") else { return };
    mirror.sync(&[peer.serve_honestly(600).url()]).await.unwrap();
    let out = directory.path().join("out");
    export_to(&mirror, &out, None).unwrap();
    let pipe = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for (n, name) in ["latest", "delta", "tile/8/data/001"].iter().enumerate() {
        let other = mirror_in(directory.path(), peer, &format!("other-{n}"));
        let honest = fs::read(out.join(name)).ok();
        let _ = fs::remove_file(out.join(name));
        pipe(&out.join(name));
        let refused = import(&other, &out).await.unwrap_err().to_string();
        let is_said = refused.contains("it is a named pipe, not a regular file")
            || refused.contains("it has no file `latest`");
        assert!(is_said && refused.contains(name), "{name}: {refused}");
        fs::remove_file(out.join(name)).unwrap();
        if let Some(honest) = honest {
            fs::write(out.join(name), honest).unwrap();
        }
    }
    let archive = directory.path().join("evil.tar.zst");
    pipe(&archive);
    let other = mirror_in(directory.path(), peer, "other");
    let refused = import(&other, &archive).await.unwrap_err().to_string();
    assert!(refused.contains("evil.tar.zst: it is a named pipe"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_can_do_no_harm() {
    let Some((peer, directory, mirror)) = setup("import::an_archive_can_do_no_harm") else { return };
    if ["tar", "zstd"]
        .iter()
        .any(|program| crate::cli::installed(program, "replica::import::an_archive").is_none())
    {
        return;
    }
    mirror.sync(&[peer.serve_honestly(600).url()]).await.unwrap();
    let out = directory.path().join("out");
    export_to(&mirror, &out, None).unwrap();
    let inside = directory.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let victim = mirror_in(&inside, peer, "mirror");
    let archive = directory.path().join("evil.tar.zst");
    let pack = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        command.args(["--zstd", "-P", "-cf"]).arg(&archive).arg("-C").arg(&out).args(arguments);
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    fs::write(out.join("big"), vec![0; 10_000]).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", out.join("link")).unwrap();
    let before: Vec<PathBuf> = files(&inside).into_keys().collect();
    for (arguments, why) in [
        (&["--transform", "s,^latest,../latest,", "latest"][..], "../latest would leave the directory"),
        (&["--transform", "s,^latest,/tmp/latest,", "latest"], "/tmp/latest would leave the directory"),
        (&["--transform", "s,^latest,tile/8/../../../latest,", "latest"], "would leave the directory"),
        (&["--transform", "s,^link,latest,", "link"], "latest is no file but a link or a device (kind 2)"),
        (&["--transform", "s,^big,tile/8/0/000,", "big"], "tile/8/0/000 has 10000 bytes, more than 8192"),
        (&["--transform", "s,^big,tile/8/0/0,", "big"], "tile/8/0/0"),
        (&["latest", "latest", "--hard-dereference"], "latest is in it twice"),
        (&["big"], "it has no file `latest`"),
    ] {
        pack(arguments);
        let refused = import(&victim, &archive).await;
        let Err(ImportError::Bundle(error)) = refused else { panic!("{arguments:?}: {refused:?}") };
        assert!(error.to_string().contains(why), "{arguments:?}: {error}");
        let remote: Vec<PathBuf> = files(&inside)
            .into_keys()
            .filter(|path| ![".db", "/replica."].iter().any(|part| path.to_string_lossy().contains(part)))
            .collect();
        assert_eq!(remote, before, "{arguments:?}");
    }
    // What an import that was killed has left goes with the next one.
    fs::create_dir_all(victim.directory.join("remote.import-killed/tile")).unwrap();
    // Not an archive; one that was cut; and what others put beside a log is passed over.
    fs::write(&archive, b"no archive at all").unwrap();
    assert_no_archive(import(&victim, &archive).await);
    fs::remove_file(out.join("link")).unwrap();
    pack(&["."]);
    let whole = fs::read(&archive).unwrap();
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    assert_no_archive(import(&victim, &archive).await);
    fs::write(&archive, &whole).unwrap();
    assert_eq!(import(&victim, &archive).await.unwrap().progress.size.0, 600);
    peer.assert_mirrored(&victim.replica().reader(), 600, 1);
}
