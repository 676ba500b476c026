//! What several subjects of the integration tests share.

pub(crate) mod live;
pub(crate) mod logs;
pub(crate) mod raw;
pub(crate) mod serve;
pub(crate) mod tree;
pub(crate) mod web;
pub(crate) mod witness;

/// How long something that must happen may take, on a machine that is busy with other tests.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Looks again and again until it has happened; for what gives no sign when it does.
pub(crate) async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !happened().await {
        assert!(started.elapsed() < PATIENCE, "it did not happen in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Looks again and again until there is something to see; for what gives no sign, without an async runtime.
pub(crate) fn poll<T>(what: &str, patience: std::time::Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < patience, "it did not happen in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
