//! What goes wrong under the sequencer, and what is true afterwards.

use crate::support::logs;
use std::time::Duration;

use tallystick::log::{AppendError, AppendOutcome, Conditions, Log, LogOpenError, ReadOnly, State};
use tallystick::store::memory::{Disk, Fault, MemoryStore};
use tallystick::store::sqlite::SqliteStore;
use tallystick::store::{LogParts, LogReader, LogStore, StoreError};
use tallystick::tlog::{RecordId, TreeSize};

use super::{check_receipt, gated, head_sizes, id_of, over};
use crate::support::logs::{
    LogOptions, candidate, candidates, clock, identity_of, lines, open_log, signer, signer_of,
};

fn reason(error: AppendError) -> ReadOnly {
    let AppendError::ReadOnly(reason) = error;
    reason
}

/// Everything that was ever acknowledged is there, once, under a good head; and the log goes on after a restart.
async fn check_restart(disk: &Disk, acknowledged: &[(u64, u64)]) {
    let log = over(disk);
    let snapshot = log.snapshot();
    assert_eq!(snapshot.root_at(snapshot.size()).unwrap(), snapshot.head().tree.root);
    for (i, id) in acknowledged {
        assert_eq!(snapshot.record(RecordId(*id)).unwrap().unwrap().lines, lines(*i));
    }
    let mut modules: Vec<_> = snapshot
        .records(0..snapshot.size().0)
        .unwrap()
        .into_iter()
        .map(|record| record.lines.module)
        .collect();
    let all = modules.len();
    modules.sort();
    modules.dedup();
    assert_eq!(modules.len(), all, "a module version twice");
    let receipt = log.append(vec![candidate(9_999)]).await.unwrap();
    check_receipt(&log, &receipt, &[9_999]);
}

#[tokio::test]
async fn spurious_conflicts_lose_and_double_nothing() {
    let disk = Disk::default();
    let log = over(&disk);
    let kinds = [
        vec![Fault::BeginConflict],
        vec![Fault::CommitConflict],
        vec![Fault::BeginConflict, Fault::CommitConflict],
        vec![Fault::CommitConflict, Fault::CommitConflict],
        vec![Fault::BeginConflict, Fault::BeginConflict],
    ];
    for round in 0..50_u64 {
        let faults = &kinds[round as usize % kinds.len()];
        let before = disk.faults.happened();
        faults.iter().for_each(|fault| disk.faults.queue(*fault));
        let offered: Vec<u64> = (round * 5..round * 5 + 8).collect();
        let receipt = log.append(offered.iter().map(|i| candidate(*i)).collect()).await.unwrap();
        check_receipt(&log, &receipt, &offered);
        assert_eq!(receipt.outcomes.iter().map(id_of).collect::<Vec<_>>(), offered);
        assert_eq!(
            disk.faults.happened() - before,
            faults.len() as u64,
            "the faults of round {round} happened"
        );
    }
    assert_eq!(log.snapshot().size(), TreeSize(49 * 5 + 8));
    log.close();
    check_restart(&disk, &[]).await;
}

#[tokio::test]
async fn a_conflict_that_stays_is_believed() {
    let disk = Disk::default();
    let log = over(&disk);
    log.append(candidates(0..3)).await.unwrap();
    (0..3).for_each(|_| disk.faults.queue(Fault::CommitConflict));
    let refused = reason(log.append(vec![candidate(3)]).await.err().unwrap());
    assert!(matches!(&refused, ReadOnly::Deposed { why } if why.contains("another writer")), "{refused}");
    assert_eq!(head_sizes(&log.snapshot()), [0, 3]);
    assert!(log.append(vec![candidate(4)]).await.is_err());
    drop(log);
    check_restart(&disk, &[(0, 0), (1, 1), (2, 2)]).await;
}

#[tokio::test]
async fn faults_at_random_lose_and_double_nothing() {
    let all = [
        Fault::BeginConflict,
        Fault::CommitConflict,
        Fault::CommitFull,
        Fault::CommitFailed,
        Fault::CommitFailedAfterwards,
        Fault::ReloadFailed,
    ];
    let mut happened = 0;
    for seed in 0..40 {
        let disk = Disk::default();
        let mut log = over(&disk);
        let mut acknowledged = Vec::new();
        disk.faults.at_random(seed, 6, &all);
        for i in 0..60 {
            let offered: Vec<u64> = (i * 3..i * 3 + 4).collect();
            match log.append(offered.iter().map(|i| candidate(*i)).collect()).await {
                Ok(receipt) => {
                    check_receipt(&log, &receipt, &offered);
                    acknowledged.extend(offered.iter().copied().zip(receipt.outcomes.iter().map(id_of)));
                }
                Err(error) => {
                    if !matches!(reason(error), ReadOnly::DiskFull { .. }) {
                        let heads = disk.heads(TreeSize(u64::MAX), 1_000).unwrap().len();
                        assert!(log.append(vec![candidate(5_000)]).await.is_err());
                        assert_eq!(
                            disk.heads(TreeSize(u64::MAX), 1_000).unwrap().len(),
                            heads,
                            "nothing more is signed"
                        );
                        // A person starts it again.
                        disk.faults.at_random(0, 1, &[]);
                        drop(log);
                        log = over(&disk);
                        disk.faults.at_random(seed * 1_000 + i, 6, &all);
                    }
                }
            }
        }
        disk.faults.at_random(0, 1, &[]);
        happened += disk.faults.happened();
        log.close();
        check_restart(&disk, &acknowledged).await;
    }
    assert!(happened > 200, "only {happened} faults happened");
}

#[tokio::test]
async fn a_real_second_writer_stops_the_first() {
    let disk = Disk::default();
    let log = over(&disk);
    log.append(candidates(0..3)).await.unwrap();
    let mut second = MemoryStore::open(&disk, None).unwrap();
    let epoch = second.epoch().unwrap() + 1;
    second.claim(epoch).unwrap();
    let refused = reason(log.append(vec![candidate(3)]).await.err().unwrap());
    assert!(matches!(&refused, ReadOnly::Deposed { why } if why.contains("another writer")), "{refused}");
    assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::Deposed { .. })));
    assert_eq!(log.snapshot().record(RecordId(2)).unwrap().unwrap().lines, lines(2), "reads go on");
    assert_eq!(disk.heads(TreeSize(u64::MAX), 10).unwrap().len(), 2);
}

#[tokio::test]
async fn a_full_disk_is_read_only_until_there_is_space() {
    let disk = Disk::default();
    let log = over(&disk);
    log.append(candidates(0..3)).await.unwrap();
    let mut watch = log.watch();
    watch.mark_unchanged();
    for round in 0..3 {
        disk.faults.queue(Fault::CommitFull);
        let refused = reason(log.append(vec![candidate(3 + round)]).await.err().unwrap());
        assert!(matches!(refused, ReadOnly::DiskFull { .. }), "{refused}");
        assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::DiskFull { .. })));
        assert!(watch.has_changed().unwrap(), "who watches is told");
        watch.mark_unchanged();
        assert_eq!(log.snapshot().size(), TreeSize(3 + round));
        let receipt = log.append(vec![candidate(3 + round)]).await.unwrap();
        assert!(matches!(receipt.outcomes[..], [AppendOutcome::Appended(RecordId(id))] if id == 3 + round));
        assert!(matches!(&*log.state(), State::Writing));
    }
    disk.faults.queue(Fault::CommitFull);
    disk.faults.queue(Fault::ReloadFailed);
    let refused = reason(log.append(vec![candidate(10)]).await.err().unwrap());
    assert!(matches!(refused, ReadOnly::Stopped { .. }), "full, and then unreadable: {refused}");
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_signed() {
    for fault in [Fault::CommitFailed, Fault::CommitFailedAfterwards, Fault::CommitPanic] {
        let disk = Disk::default();
        let log = over(&disk);
        let first = log.append(candidates(0..3)).await.unwrap();
        disk.faults.queue(fault);
        let refused = reason(log.append(vec![candidate(3)]).await.err().unwrap());
        assert!(matches!(refused, ReadOnly::Stopped { .. }), "{fault:?}: {refused}");
        if fault != Fault::CommitPanic {
            assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::Stopped { .. })), "{fault:?}");
        }
        assert_eq!(
            log.snapshot().head().note,
            first.snapshot.head().note,
            "{fault:?}: the published head stays"
        );
        let heads = disk.heads(TreeSize(u64::MAX), 10).unwrap().len();
        for i in 3..6 {
            assert!(log.append(vec![candidate(i)]).await.is_err());
        }
        assert_eq!(disk.heads(TreeSize(u64::MAX), 10).unwrap().len(), heads);
        log.close();
        check_restart(&disk, &[(0, 0), (1, 1), (2, 2)]).await;
    }
}

#[tokio::test]
async fn a_writer_that_panics_does_not_pretend_to_write() {
    let disk = Disk::default();
    let log = over(&disk);
    let mut watch = log.watch();
    watch.mark_unchanged();
    disk.faults.queue(Fault::CommitPanic);
    assert!(log.append(vec![candidate(0)]).await.is_err());
    // The thread may still be unwinding: the change of state is announced.
    tokio::time::timeout(Duration::from_secs(30), watch.changed()).await.unwrap().unwrap();
    assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::Stopped { .. })));
}

#[tokio::test]
async fn what_is_found_damaged_stays_damaged() {
    let disk = Disk::default();
    let log = over(&disk);
    log.append(candidates(0..3)).await.unwrap();
    let damage = StoreError::Damaged { place: "segment 7".to_owned(), why: "a test".to_owned() };
    log.stop_signing(&damage);
    let refused = reason(log.append(vec![candidate(3)]).await.err().unwrap());
    assert!(matches!(&refused, ReadOnly::Damaged { why } if why.contains("segment 7")), "{refused}");
    log.stop_signing(&StoreError::Damaged { place: "tile 1".to_owned(), why: "another".to_owned() });
    let state = log.state();
    assert!(
        matches!(&*state, State::ReadOnly(ReadOnly::Damaged { why }) if why.contains("segment 7")),
        "{state:?}"
    );
    assert!(refused.to_string().contains("tallystick fsck"), "{refused}");
}

#[tokio::test]
async fn a_write_that_fails_ends_the_process_of_a_damaged_log_too() {
    let disk = Disk::default();
    let log = over(&disk);
    log.append(candidates(0..3)).await.unwrap();
    let mut watch = log.watch();
    disk.faults.queue(Fault::CommitFailed);
    // The incident is what cannot be written.
    log.stop_signing(&StoreError::Damaged { place: "segment 7".to_owned(), why: "a test".to_owned() });
    let stopped = async {
        while !matches!(&*log.state(), State::ReadOnly(ReadOnly::Stopped { .. })) {
            watch.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stopped).await.expect("the process is told to end");
}

#[tokio::test]
async fn damage_that_is_found_during_a_commit_stops_the_next_one() {
    let (log, gate) = gated(&Disk::default());
    gate.set(false);
    let waiter = tokio::spawn({
        let log = log.clone();
        async move { log.append(vec![candidate(0)]).await }
    });
    tokio::task::yield_now().await;
    log.stop_signing(&StoreError::Damaged { place: "segment 7".to_owned(), why: "a test".to_owned() });
    gate.set(true);
    let _ = waiter.await.unwrap();
    assert!(log.append(vec![candidate(1)]).await.is_err());
    assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_loses_nothing_acknowledged_and_does_not_wait_for_other_handles() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5_u64 {
        let log = open_log(directory.path()).unwrap();
        let tasks: Vec<_> = (0..32_u64)
            .map(|task| {
                let log = log.clone();
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for i in 0.. {
                        let i = round * 1_000_000 + task * 10_000 + i;
                        match log.append(vec![candidate(i)]).await {
                            Ok(receipt) => acknowledged.push((i, id_of(&receipt.outcomes[0]))),
                            Err(_) => break,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let mut watch = log.watch();
        let start = log.snapshot().size().0;
        watch.wait_for(|size| size.0 > start + 100).await.unwrap();
        let kept = log.clone();
        log.close();
        let mut acknowledged = Vec::new();
        for task in tasks {
            acknowledged.extend(task.await.unwrap());
        }
        assert!(acknowledged.len() >= 32);
        assert!(matches!(kept.append(vec![candidate(0)]).await, Err(AppendError::ReadOnly(_))));
        assert!(
            matches!(open_log(directory.path()), Err(LogOpenError::Store(StoreError::Locked { .. }))),
            "a handle is left"
        );
        for (i, id) in &acknowledged {
            assert_eq!(kept.snapshot().record(RecordId(*id)).unwrap().unwrap().lines, lines(*i));
        }
        drop(kept);
        let again = open_log(directory.path()).unwrap();
        for (i, id) in acknowledged {
            assert_eq!(again.snapshot().record(RecordId(id)).unwrap().unwrap().lines, lines(i));
        }
    }
}

#[tokio::test]
async fn the_last_handle_that_goes_ends_the_writer_before_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let log = open_log(directory.path()).expect("the process before has let go of it");
        log.append(vec![candidate(round)]).await.unwrap();
        drop(log);
    }
}

#[tokio::test]
async fn a_second_process_is_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(vec![candidate(0)]).await.unwrap();
    let refused = open_log(directory.path()).map(drop).unwrap_err();
    assert!(matches!(&refused, LogOpenError::Store(StoreError::Locked { .. })), "{refused}");
    assert!(refused.to_string().contains("in use by another tallystick process"), "{refused}");
    log.append(vec![candidate(1)]).await.unwrap();
}

#[tokio::test]
async fn an_older_writer_is_refused_by_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let open = || Box::new(SqliteStore::open(&path, Some(&identity_of(&signer())), 1024).unwrap());
    let older = Log::open(LogParts::only(open()), vec![signer()], clock(), Conditions::default()).unwrap();
    older.append(vec![candidate(0)]).await.unwrap();
    // As by a process that got around the lock.
    let mut store = open();
    let epoch = store.epoch().unwrap() + 1;
    store.claim(epoch).unwrap();
    let newer = Log::open(LogParts::only(store), vec![signer()], clock(), Conditions::default()).unwrap();
    newer.append(vec![candidate(1)]).await.unwrap();
    let refused = reason(older.append(vec![candidate(2)]).await.err().unwrap());
    assert!(matches!(&refused, ReadOnly::Deposed { why } if why.contains("another writer")), "{refused}");
    newer.append(vec![candidate(3)]).await.unwrap();
    assert_eq!(head_sizes(&newer.snapshot()), [0, 1, 2, 3]);
    assert_eq!(older.snapshot().size(), TreeSize(1), "the older one publishes nothing of the newer");
}

#[tokio::test]
async fn a_wrong_key_is_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    drop(open_log(directory.path()).unwrap());
    let refused = crate::support::logs::open_log_with(
        directory.path(),
        &directory.path().join("anchor.db"),
        vec![signer_of(2)],
    )
    .map(drop)
    .unwrap_err();
    assert!(matches!(refused, LogOpenError::WrongKey { .. }), "{refused}");
    for part in [signer().verifier().to_string(), signer_of(2).verifier().to_string()] {
        assert!(refused.to_string().contains(&part), "{refused}");
    }
    let memory = Disk::default();
    drop(over(&memory));
    let store = MemoryStore::open(&memory, None).unwrap();
    let refused =
        Log::open(LogParts::only(Box::new(store)), vec![signer_of(2)], clock(), Conditions::default())
            .map(drop)
            .unwrap_err();
    assert!(matches!(refused, LogOpenError::WrongKey { .. }), "{refused}");
}

#[tokio::test]
async fn without_a_key_a_log_is_only_read() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    log.append(candidates(0..3)).await.unwrap();
    log.close();
    let anchor = directory.path().join("anchor.db");
    let before = std::fs::read(&anchor).unwrap();
    let options = LogOptions {
        directory: directory.path().to_owned(),
        anchor: anchor.clone(),
        signers: vec![],
        reader_cache_kib: 1024,
        clock: clock(),
    };
    let log = logs::open_log_as(options, Conditions::default()).unwrap();
    assert!(matches!(&*log.state(), State::ReadOnly(ReadOnly::NoKey)));
    assert_eq!(log.snapshot().size(), TreeSize(3));
    assert!(log.append(vec![candidate(3)]).await.is_err());
    log.close();
    assert!(std::fs::read(&anchor).unwrap() == before, "reading does not claim the epoch");
}
