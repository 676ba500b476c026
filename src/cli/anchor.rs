//! `tallystick anchor`: what the anchor knows, and what to do when it is lost.

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::engines::{exit_of_store, open_reader};
use super::exit::OrExit;
use super::{Common, Exit, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::log::{OpenError, SettleError, settle_anchor};
use crate::store::LogReader;
use crate::store::sqlite::anchor::{Anchor, Anchored};
use crate::tlog::{TreeHead, TreeSize};

/// Show what the anchor knows, or make a new one when it is lost
#[derive(Debug, Args)]
#[command(after_help = "\
The anchor remembers the highest head ever published, so that a restored or cloned database signs nothing. \
Keep it on another disk than the log (`anchor = PATH`).

A log without its anchor is read-only. If the file cannot be put back, and you are sure that this is the newest copy of \
the log (compare its size with what clients, monitors and backups have seen), `anchor settle` makes a new one. On an old copy \
that would fork the log for every client.

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
    let anchored = match Anchor::open(&config.anchor) {
        Ok(found) => found.map(|(_, anchored)| anchored),
        Err(error) => {
            let exit = exit_of_store(&error);
            return Err(error).with_context(|| config.anchor.display().to_string()).or_exit(exit);
        }
    };
    let reader = open_reader(config)?;
    let newest = reader.heads(TreeSize(u64::MAX), 1).or_else(|error| {
        let exit = exit_of_store(&error);
        Err(error).or_exit(exit)
    })?;
    let newest = newest.into_iter().next().map(|head| head.tree);
    let verdict = verdict(anchored.as_ref(), newest.as_ref(), &reader.identity().vkey);
    if as_json {
        let head = |tree: &TreeHead| json!({ "size": tree.size.0, "root": tree.root.to_string() });
        output::print_json(&json!({
            "file": config.anchor,
            "epoch": anchored.as_ref().map(|anchored| anchored.epoch),
            "anchored": anchored.as_ref().map(|anchored| head(&anchored.tree)),
            "log": newest.as_ref().map(head),
            "agrees": verdict.is_ok(),
        }))?;
    } else {
        let head = |tree: Option<&TreeHead>| match tree {
            Some(tree) => format!("{} records, root {}", tree.size, tree.root),
            None => "none".to_owned(),
        };
        let anchored = head(anchored.as_ref().map(|anchored| &anchored.tree));
        output::print(&format!(
            "file       {}\nanchored   {anchored}\nlog        {}\n",
            config.anchor.display(),
            head(newest.as_ref())
        ))?;
        if let Err(why) = verdict {
            output::error(why);
        }
    }
    Ok(if verdict.is_ok() { Exit::Done } else { Exit::Damage })
}

/// Whether the log may sign, as far as its newest head says. Roots are compared where the sizes are equal; `fsck` and `serve`
/// compare the tree of the anchor's size.
fn verdict(anchored: Option<&Anchored>, newest: Option<&TreeHead>, vkey: &str) -> Result<(), &'static str> {
    let size = newest.map_or(TreeSize(0), |tree| tree.size);
    match anchored {
        None if size == TreeSize(0) => Ok(()),
        None => Err(
            "the log has records and no anchor\n  fix: put its file back; if it is lost, see `tallystick anchor --help`",
        ),
        Some(anchored) if anchored.vkey != vkey => {
            Err("the anchor is another log's\n  fix: set `anchor` to this log's own")
        }
        Some(anchored) if anchored.tree.size > size => Err(
            "the log is behind its anchor: it was rolled back or restored from an old backup\n  fix: restore a copy that has all \
             anchored records",
        ),
        Some(anchored) if anchored.tree.size == size && newest.is_some_and(|tree| *tree != anchored.tree) => {
            Err(
                "the log contradicts its anchor: this database is a fork of the real log\n  fix: restore the real one",
            )
        }
        Some(_) => Ok(()),
    }
}

fn settle(config: &Config, size: TreeSize) -> anyhow::Result<Exit> {
    open_reader(config)?;
    let settled = settle_anchor(&config.data, &config.anchor, size, &Clock::system()).or_else(|error| {
        let exit = match &error {
            SettleError::Open(OpenError::Store(error)) => exit_of_store(error),
            SettleError::Open(OpenError::WrongKey { .. }) => Exit::Usage,
            SettleError::OtherSize { .. } | SettleError::Readable { .. } => Exit::Damage,
        };
        Err(error).or_exit(exit)
    })?;
    if let Some(aside) = settled.set_aside {
        output::print(&format!("set aside  {}\n", aside.display()))?;
    }
    output::print(&format!(
        "anchored   {} records, root {}\nfile       {}\n",
        settled.tree.size,
        settled.tree.root,
        config.anchor.display()
    ))?;
    Ok(Exit::Done)
}
