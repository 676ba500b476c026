//! `tallystick fsck`: is everything in the log's database what it must be?

use clap::Args;

use super::{Common, Exit, block_on};
use crate::config::Config;

/// Recompute every hash, tile, index entry and signature from the stored records
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 clean, 4 damage found (each fault is named with its place).

Examples:
  tallystick fsck
  tallystick fsck --data /var/lib/tallystick --json")]
pub(super) struct Fsck {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to check.
#[derive(Debug)]
pub(super) struct FsckOptions {
    /// The configuration.
    pub(super) config: Config,
    /// Whether to print JSON.
    pub(super) json: bool,
}

impl Fsck {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        block_on(engine(FsckOptions { config: common.load()?, json: self.json }))
    }
}

/// SEAM: opens the log read-only, checks it, prints what is wrong where; [`Exit::Damage`] if anything is.
async fn engine(options: FsckOptions) -> anyhow::Result<Exit> {
    anyhow::bail!("not wired yet: fsck of {} (json {})", options.config.data.display(), options.json)
}
