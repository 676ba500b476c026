//! Tests that ask the outside world: run by `./tests/run live`, which reports and gates nothing.

/// Whether tests that leave this machine are wanted now; says loudly that `test` is skipped where not.
pub(crate) fn is_wanted(test: &str) -> bool {
    let wanted = std::env::var_os("TALLYSTICK_TESTS_LIVE").is_some();
    if !wanted {
        eprintln!("SKIPPED: {test}: it asks the outside world; `./tests/run live` runs it");
    }
    wanted
}
