//! `tallystick mirror`: what is kept of remote logs, bringing it up to date, and what to do when
//! one contradicts itself.

mod compare;
mod copy;
mod plot;
mod stats;
mod status;
mod sync;
mod verify;
mod work_bar;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::exit::OrExit;
use super::session::{Session, refused};
use super::{Common, Exit, block_on, output};
use crate::config::{Config, Environment, GoEnvironment};
use crate::operate::{Reason, Refusal, ResumeAnswer};

/// Show, and bring up to date, what is kept of remote checksum databases
#[derive(Debug, Args)]
#[command(after_help = "\
Beside a running server these commands ask it; without one they do the work themselves, under the same lock.

Examples:
  tallystick mirror status
  tallystick mirror sync --once --quiet
  tallystick mirror sync sum.golang.org --watch
  tallystick mirror resume sum.golang.org --incident 1
  tallystick mirror export sum.golang.org /srv/sum.golang.org
  tallystick mirror import sum.golang.org log.tar.zst
  tallystick mirror verify sum.golang.org
  tallystick mirror stats sum.golang.org --svg growth.svg
  tallystick mirror diff --modules 'golang.org/x'")]
pub(super) struct MirrorCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show each mirror: mode, size, what is kept, how the last attempts ended, its URLs, and a
    /// stop if there is one
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring mirrors up to date: their newest head, and in mode "full" every record under it,
    /// verified
    Sync(sync::MirrorSync),
    /// Go on with a log that was stopped for misbehaviour, after a person has looked at the
    /// evidence (which stays)
    Resume {
        /// The log
        #[arg(value_name = "NAME")]
        name: String,
        /// The incident that you have looked at, as `mirror status` shows it
        #[arg(long, value_name = "ID")]
        incident: u64,
    },
    /// Write a full mirror as a static checksum database: a directory or an archive that anybody
    /// can serve and verify
    Export(copy::MirrorExport),
    /// Take a static checksum database into a full mirror, verified
    Import(copy::MirrorImport),
    /// Compute everything in a full mirror again, from its records to the signed root
    Verify(verify::MirrorVerify),
    /// Show how a full mirror grew, and which hosts and module paths have the most records
    Stats(stats::MirrorStats),
    /// Compare the own log with full mirrors: what each has of every module path, and where they
    /// disagree
    Diff(compare::MirrorDiff),
}

impl MirrorCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let mut config = common.load()?;
        if let Action::Diff(options) = self.action {
            return block_on(options.run(&config));
        }
        // The mirrors that routes name are mirrors, too; without any route there is the one that
        // `serve` would take.
        config.discover(&GoEnvironment::read(&Environment::of_process()))?;
        match self.action {
            Action::Status { json } => block_on(status::show(&config, json)),
            Action::Sync(options) => block_on(options.run(&config)),
            Action::Resume { name, incident } => block_on(resume(&config, name, incident)),
            Action::Export(options) => block_on(options.run(&config)),
            Action::Import(options) => block_on(options.run(&config)),
            Action::Verify(options) => block_on(options.run(&config)),
            Action::Stats(options) => block_on(options.run(&config)),
            Action::Diff(options) => block_on(options.run(&config)),
        }
    }
}

async fn resume(config: &Config, log: String, incident: u64) -> anyhow::Result<Exit> {
    let mut session = Session::open_mirrors(config, Some(&log)).await?;
    match session.resume_mirror(&log, incident).await? {
        Ok(ResumeAnswer { log, evidence }) => {
            output::print(&format!("{log}: goes on; the evidence stays in {evidence}\n"))?;
            Ok(Exit::Done)
        }
        Err(Refusal { reason: Reason::Usage, why }) => {
            Err(anyhow!("{why}\n  fix: `tallystick mirror status` shows what is stopped"))
                .or_exit(Exit::Usage)
        }
        Err(refusal) => refused(refusal),
    }
}
