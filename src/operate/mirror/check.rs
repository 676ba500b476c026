//! What a full mirror has stored: verified again, and counted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::find::{ended, find, full};
use super::long::{Tell, blocking};
use crate::log::FsckFinding;
use crate::mirror::{Mirror, ReplicaStats, Reverified, reverify, stats, verify};
use crate::operate::operations::Operations;
use crate::operate::refusal::Refusal;

/// Hosts and paths that statistics list.
const TOP: usize = 20;

/// What a mirror holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatsAnswer {
    /// Records under the newest stored head.
    pub(crate) records: u64,
    /// Records that are not the two lines of a module version.
    pub(crate) others: u64,
    /// Stored heads.
    pub(crate) heads: u64,
    /// Records a day between the first and the last stored head.
    pub(crate) per_day: Option<f64>,
    /// Records of the last 24 hours before the newest head.
    pub(crate) last_day: Option<u64>,
    /// When heads of which sizes were seen.
    pub(crate) growth: Vec<(Timestamp, u64)>,
    /// The hosts with the most records.
    pub(crate) hosts: Vec<(String, u64)>,
    /// The module paths with the most versions.
    pub(crate) paths: Vec<(String, u64)>,
}

impl From<ReplicaStats> for StatsAnswer {
    fn from(stats: ReplicaStats) -> StatsAnswer {
        let ReplicaStats { records, others, heads, growth, per_day, last_day, hosts, paths } = stats;
        StatsAnswer { records, others, heads, per_day, last_day, growth, hosts, paths }
    }
}

impl Operations {
    /// Computes everything again that a full mirror has stored. What is wrong becomes incidents of
    /// the own log.
    pub(crate) async fn verify_mirror(&self, log: &str, tell: Tell) -> Result<Reverified, Refusal> {
        let mirror = find(self.mirrors(), log)?;
        let (reader, key) = (full(mirror)?, mirror.log.key().clone());
        self.unless_stopped(async {
            let total = reader.head().map_or(0, |head| head.tree.size.0);
            let verified = blocking(tell, move |step| verify(&reader, &key, &mut |done| step(done, total)));
            let verified = verified.await;
            self.report_damage(log, &verified.findings).await;
            Ok(verified)
        })
        .await
    }

    /// Counts what a full mirror has stored.
    pub(crate) async fn mirror_stats(&self, log: &str, tell: Tell) -> Result<StatsAnswer, Refusal> {
        let reader = full(find(self.mirrors(), log)?)?;
        self.unless_stopped(async {
            let counted = blocking(tell, move |step| stats(&reader, TOP, step)).await;
            let counted = counted.map_err(|error| Refusal::from(&error))?;
            counted.map(StatsAnswer::from).ok_or_else(ended)
        })
        .await
    }

    /// Verifies a full mirror again and again, once in each `interval`, slice by slice. What is
    /// wrong becomes incidents of the own log. Returns at once where the mirror is not full.
    pub(crate) async fn reverify_mirror(self, mirror: Arc<Mirror>, interval: Duration) {
        let Some(replica) = mirror.log.replica() else { return };
        let (name, key) = (mirror.log.name().to_owned(), mirror.log.key().clone());
        let (found, mut findings) = mpsc::channel::<Vec<FsckFinding>>(1);
        let figures = mirror.reverified.clone();
        let report = async {
            while let Some(findings) = findings.recv().await {
                self.report_damage(mirror.log.name(), &findings).await;
            }
        };
        tokio::join!(reverify(name, replica.reader(), key, interval, figures, found), report);
    }
}
