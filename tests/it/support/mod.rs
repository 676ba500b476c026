//! What several subjects of the integration tests share.

pub(crate) mod hostile;
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

/// Writes a program that may be started at once. Another process writes it: a writable handle of this process could be
/// inherited by a program that another test starts just then, and the kernel would refuse to run the file ("text file
/// busy").
pub(crate) fn write_program(path: &std::path::Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut writer = std::process::Command::new("/bin/sh");
    writer.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(std::process::Stdio::piped());
    let mut writer = writer.spawn().expect("there is a shell");
    writer.stdin.take().expect("it is piped").write_all(bytes).expect("the shell reads");
    assert!(writer.wait().expect("it is our child").success(), "{} cannot be written", path.display());
}
