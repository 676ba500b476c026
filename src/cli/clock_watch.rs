//! Watches this machine's clock while a role runs, and tells when it was set back.
//!
//! Nothing that is proved depends on the calendar: heads and cosignatures go on being signed, with
//! the time that the clock shows. So what is signed until it has caught up carries earlier times
//! than what was signed before, and a person must know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Clock, ClockWatch};
use crate::http::metrics::{MetricsSource, Sample, SampleValue};

/// A clock that was set back is noticed after this long at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often the clock was set back. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockFigures(Arc<AtomicU64>);

impl MetricsSource for ClockFigures {
    fn samples(&self) -> Vec<Sample> {
        let value = SampleValue::Counter(self.0.load(Ordering::Relaxed));
        vec![Sample::new(
            "clock_set_back",
            "How often the clock of this machine was seen to be set back",
            value,
        )]
    }
}

/// Looks again and again. `newest` is the time of the newest head that was signed.
pub(super) async fn watch_clock(clock: Clock, figures: ClockFigures, newest: impl Fn() -> Option<Timestamp>) {
    let mut watch = ClockWatch::new(clock.clone());
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_behind = false;
    loop {
        ticks.tick().await;
        if let Some(back) = watch.look() {
            figures.0.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                seconds = back.as_secs_f64(),
                "the clock of this machine was set back: what is signed until it has caught up carries earlier times than what was \
                 signed before. Hashes and proofs do not depend on it\n  fix: have a time service (chrony, systemd-timesyncd) \
                 keep the clock right"
            );
        }
        let now = clock.now();
        let ahead = newest().filter(|newest| {
            newest.duration_since(now) > ClockWatch::TOLERANCE.try_into().unwrap_or_default()
        });
        match (ahead, is_behind) {
            (Some(newest), false) => tracing::error!(
                newest = %newest,
                "the newest head was signed at a time that this machine's clock has not reached: the clock is wrong now, or it was \
                 wrong then. Heads signed until then carry earlier times\n  fix: compare the clock with another machine's"
            ),
            (None, true) => tracing::info!("this machine's clock has passed the time of the newest head"),
            _ => {}
        }
        is_behind = ahead.is_some();
    }
}
