//! The background re-verification of `serve`: which mirrors, and how often.

use tokio::task::JoinSet;

use crate::config::{Config, Said, SettingOrigin, VerifyInterval};
use crate::operate::Operations;

/// `--verify-interval`, for all mirrors.
pub(super) fn set_interval(config: &mut Config, interval: VerifyInterval) {
    for sumdb in config.sumdbs.values_mut() {
        let origin = SettingOrigin::Flag("--verify-interval");
        sumdb.verify_interval = Said { value: interval, origin };
    }
}

/// Starts one task for each full mirror. What is found becomes an incident of the own log.
pub(super) fn start(config: &Config, operations: &Operations, background: &mut JoinSet<()>) {
    for mirror in operations.mirrors().iter() {
        let interval = config.sumdbs.get(mirror.log.name()).and_then(|sumdb| sumdb.verify_interval.0);
        if let Some(interval) = interval {
            background.spawn(operations.clone().reverify_mirror(mirror.clone(), interval));
        }
    }
}
