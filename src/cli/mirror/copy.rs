//! `tallystick mirror export|import`: a full mirror as static files.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::work_bar::WorkBar;
use crate::cli::session::{Session, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::operate::{ExportAnswer, ImportAnswer, SyncAnswer};

#[derive(Debug, Args)]
#[command(after_help = "\
The files are `latest` and `tile/8/…`, with every record and every hash: any web server can serve them to mirrors and \
auditors, and everything in them follows from the signed head. Into the directory of an earlier export only what is new \
is written. With --from only what is new since that size, and a file `delta` with the proof that the one tree goes on \
from the other: for whoever has a copy of that size or larger. An export that is ended before it is done leaves nothing \
that looks whole.

Examples:
  tallystick mirror export sum.golang.org /srv/sum.golang.org
  tallystick mirror export sum.golang.org /media/usb/log.tar.zst
  tallystick mirror export sum.golang.org delta.tar.zst --from 71000000")]
pub(super) struct MirrorExport {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// A directory, or an archive to be made
    #[arg(value_name = "DIR|FILE.tar.zst")]
    to: PathBuf,
    /// Only what is new since this size
    #[arg(long, value_name = "SIZE")]
    from: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Takes in what `mirror export` wrote, or any static checksum database with `latest` and `tile/8/…`. Its head must be signed \
by the log's key and belong to one log with every head known here, and nothing is stored that does not follow from it. What \
is verified before an import ends stays; another import or a sync goes on there. Needs mode = \"full\".

Examples:
  tallystick mirror import sum.golang.org /media/usb/log.tar.zst
  tallystick mirror import sum.golang.org /srv/sum.golang.org
  tallystick mirror import sum.golang.org https://mirror.corp.example/sum.golang.org")]
pub(super) struct MirrorImport {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// A directory, an archive, or an URL below which both are served
    #[arg(value_name = "DIR|FILE.tar.zst|URL")]
    source: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl MirrorExport {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let MirrorExport { name, to, from, json } = self;
        let to = std::path::absolute(&to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut session = Session::open_mirrors(config, Some(&name)).await?;
        let bar = WorkBar::default();
        let exported = session.export_mirror(&name, &to, from, bar.tell()).await?;
        drop(bar);
        let ExportAnswer { from, size, root, files, bytes } = exported.or_else(refused)?;
        if json {
            output::print_json(&json!({
                "log": name, "to": to, "from": from, "size": size, "root": root, "files": files, "bytes": bytes,
            }))?;
            return Ok(Exit::Done);
        }
        let to = to.display();
        let (records, files) = (output::count(size, "record"), output::count(files, "file"));
        output::print(&match from {
            0 => format!("{name}: {records} in {files}, {} in {to}\n", HumanBytes(bytes)),
            from if from == size => format!("{name}: nothing new, {records} in {to}\n"),
            from => {
                format!("{name}: from {from} to {records}, {files}, {} in {to}\n", HumanBytes(bytes))
            }
        })?;
        Ok(Exit::Done)
    }
}

impl MirrorImport {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let MirrorImport { name, source, json } = self;
        let source = if source.contains("://") {
            source
        } else {
            let path = std::path::absolute(&source).with_context(|| format!("cannot read {source}"))?;
            path.into_os_string()
                .into_string()
                .map_err(|_| anyhow::anyhow!("{source}: its path is not UTF-8"))?
        };
        let mut session = Session::open_mirrors(config, Some(&name)).await?;
        let bar = WorkBar::default();
        let imported = session.import_mirror(&name, &source, bar.tell()).await?;
        drop(bar);
        let ImportAnswer { from, to } = imported.or_else(refused)?;
        if json {
            output::print_json(&SyncAnswer { log: name, from, to })?;
            return Ok(Exit::Done);
        }
        output::print(&super::sync::summary(&SyncAnswer { log: name, from, to }))?;
        Ok(Exit::Done)
    }
}
