//! The background re-verification of `serve`: which mirrors, how often, and who hears of what it finds.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::engines::Engines;
use crate::config::{Config, Origin, VerifyInterval};
use crate::http::control::by_hand::report_damage;
use crate::log::FsckFinding;
use crate::mirror::reverify;

/// `--verify-interval`, for all mirrors.
pub(super) fn set_interval(config: &mut Config, interval: VerifyInterval) {
    for sumdb in config.sumdbs.values_mut() {
        sumdb.verify_interval = interval;
        sumdb.verify_interval_origin = Origin::Flag("--verify-interval");
    }
}

/// Starts one task for each full mirror. What is found becomes an incident of the own log.
pub(super) fn start(config: &Config, engines: &Engines, background: &mut JoinSet<()>) {
    for mirror in engines.mirrors.iter() {
        let interval = config.sumdbs.get(mirror.log.name()).and_then(|sumdb| sumdb.verify_interval.0);
        let (Some(interval), Some(replica)) = (interval, mirror.log.replica()) else { continue };
        let (name, key) = (mirror.log.name().to_owned(), mirror.log.key().clone());
        let (found, mut findings) = mpsc::channel::<Vec<FsckFinding>>(1);
        let figures = mirror.reverified.clone();
        background.spawn(reverify(name.clone(), replica.reader(), key, interval, figures, found));
        let own = engines.log.clone();
        background.spawn(async move {
            while let Some(findings) = findings.recv().await {
                report_damage(&own, &name, &findings).await;
            }
        });
    }
}
