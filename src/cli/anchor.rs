//! `tallystick anchor`: what the anchor knows, and what to do when it is lost.

use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::engines::open_reader;
use super::exit::{OrExit, OrStoreExit};
use super::{Common, Exit, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::log::{LogOpenError, SettleError, Settled, settle_anchor, why_read_only};
use crate::store::anchor::{Anchor as _, FileAnchor};
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::{DATABASE_FILE, SqliteReader};
use crate::store::{LogObserver as _, LogReader};
use crate::tlog::{TreeHead, TreeSize};

/// Page cache for one pass over the right edge.
const SETTLE_CACHE_KIB: u32 = 2048;

/// Show what the anchor knows, or make a new one when it is lost
#[derive(Debug, Args)]
#[command(after_help = "\
The anchor remembers the highest head ever published, so that a restored or cloned database signs nothing. \
Keep it on another disk than the log (`anchor = PATH`).

A log without its anchor, or with an old copy of it, is read-only. If the newest anchor cannot be put back, and you are sure \
that this is the newest copy of the log (compare its size with what clients, monitors and witnesses have seen), `anchor settle` \
makes a new one. Never do that on an old copy of the log: it would fork the log for every client.

Examples:
  tallystick anchor show
  tallystick anchor show --json
  tallystick anchor settle --size 48210")]
pub(super) struct AnchorCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the highest head ever published, beside the newest one of the log
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that this is the newest copy of the log, whose anchor is lost; the server must be stopped
    Settle {
        /// Number of records that the newest published head has, to show that you looked
        #[arg(long, value_name = "RECORDS")]
        size: u64,
    },
}

impl AnchorCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        match self.action {
            Action::Show { json } => show(&config, json),
            Action::Settle { size } => settle(&config, TreeSize(size)),
        }
    }
}

fn show(config: &Config, as_json: bool) -> anyhow::Result<Exit> {
    // Before the log: a running server moves its anchor after its head.
    let anchor = FileAnchor::at(&*config.anchor);
    let anchored = match anchor.read() {
        Ok(found) => found,
        Err(error) => {
            let exit = Exit::of_store(&error);
            return Err(error).with_context(|| config.anchor.display().to_string()).or_exit(exit);
        }
    };
    let reader = Arc::new(open_reader(config)?);
    let newest = reader.heads(TreeSize(u64::MAX), 1).or_store_exit()?;
    let newest = newest.into_iter().next().map(|head| head.tree);
    let reason = why_read_only(&reader, &anchor).or_store_exit()?;
    if as_json {
        let head = |tree: &TreeHead| json!({ "size": tree.size.0, "root": tree.root.to_string() });
        output::print_json(&json!({
            "file": *config.anchor,
            "epoch": anchored.as_ref().map(|anchored| anchored.epoch),
            "stops": anchored.as_ref().map(|anchored| anchored.stops),
            "anchored": anchored.as_ref().map(|anchored| head(&anchored.tree)),
            "log": reader.identity().name,
            "vkey": reader.identity().vkey,
            "head": newest.as_ref().map(head),
            "agrees": reason.is_none(),
            "read_only": reason.as_ref().map(ToString::to_string),
        }))?;
    } else {
        let head = |tree: Option<&TreeHead>| match tree {
            Some(tree) => format!("{}, root {}", output::count(tree.size.0, "record"), tree.root),
            None => "none".to_owned(),
        };
        let anchored = head(anchored.as_ref().map(|anchored| &anchored.tree));
        output::print(&format!(
            "file       {}\nanchored   {anchored}\nlog        {}\n",
            config.anchor.display(),
            head(newest.as_ref())
        ))?;
        if let Some(reason) = &reason {
            output::error(&reason.to_string());
        }
    }
    Ok(if reason.is_none() { Exit::Done } else { Exit::Damage })
}

fn settle(config: &Config, size: TreeSize) -> anyhow::Result<Exit> {
    open_reader(config)?;
    let settled = settle_stopped(config, size).or_else(|error| {
        let exit = match &error {
            SettleError::Open(LogOpenError::Store(error)) => Exit::of_store(error),
            SettleError::Open(LogOpenError::WrongKey { .. }) => Exit::Usage,
            SettleError::OtherSize { .. }
            | SettleError::Readable { .. }
            | SettleError::Contradicted { .. }
            | SettleError::Stops(_) => Exit::Damage,
        };
        Err(error).or_exit(exit)
    })?;
    if let Some(aside) = settled.set_aside {
        output::print(&format!("set aside  {}\n", aside.display()))?;
    }
    output::print(&format!(
        "anchored   {}, root {}\nfile       {}\n",
        output::count(settled.tree.size.0, "record"),
        settled.tree.root,
        config.anchor.display()
    ))?;
    Ok(Exit::Done)
}

/// Settles the anchor with nobody else at the log.
fn settle_stopped(config: &Config, size: TreeSize) -> Result<Settled, SettleError> {
    let lock = DirectoryLock::acquire(&config.data)?;
    let reader = Arc::new(SqliteReader::open(&config.data.join(DATABASE_FILE), SETTLE_CACHE_KIB)?);
    settle_anchor(&lock, &reader, &FileAnchor::at(&*config.anchor), size, &Clock::system())
}
