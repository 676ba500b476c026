//! `tallystick mirror verify`: is everything in a full mirror what it must be?

use clap::Args;
use serde_json::{Value, json};

use super::work_bar::WorkBar;
use crate::cli::engines::full_database;
use crate::cli::exit::{OrExit as _, OrStoreExit};
use crate::cli::session::{Session, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::log::FsckFinding;
use crate::mirror::Reverified;
use crate::store::lock::DirectoryLock;
use crate::store::replica::drop_index;

#[derive(Debug, Args)]
#[command(after_help = "\
Reads every record, hashes it up to the signed root of the newest head, looks it up by its name, and compares every \
stored head. A server does the same in the background, once in `verify_interval`.

Examples:
  tallystick mirror verify sum.golang.org
  tallystick mirror verify sum.golang.org --json
  tallystick mirror verify sum.golang.org --rebuild-index")]
pub(super) struct MirrorVerify {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// First make the index again from the records; only while no server runs
    #[arg(long)]
    rebuild_index: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl MirrorVerify {
    /// Throws the index away, with nobody else at the mirrors; who opens the mirror next makes it
    /// again.
    fn drop_index(&self, config: &Config) -> anyhow::Result<()> {
        let path = full_database(config, &self.name);
        if !path.exists() {
            let why =
                anyhow::anyhow!("there is no full mirror of {} in {}", self.name, config.data.display());
            return Err(why).or_exit(Exit::Usage);
        }
        DirectoryLock::acquire(&config.data).and_then(|_lock| drop_index(&path)).or_store_exit()
    }

    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        if self.rebuild_index {
            self.drop_index(config)?;
        }
        let mut session = Session::open_mirrors(config, Some(&self.name)).await?;
        let bar = WorkBar::default();
        let verified = session.verify_mirror(&self.name, bar.tell()).await?;
        drop(bar);
        let Reverified { records, heads, findings, unlisted } = verified.or_else(refused)?;
        let (name, clean) = (&self.name, findings.is_empty());
        let exit = if clean { Exit::Done } else { Exit::Damage };
        if self.json {
            let finding = |FsckFinding { place, why }: &FsckFinding| json!({ "place": place, "why": why });
            let findings: Vec<Value> = findings.iter().map(finding).collect();
            output::print_json(&json!({
                "log": name, "clean": clean, "records": records, "heads": heads, "findings": findings,
                "unlisted": unlisted,
            }))?;
            return Ok(exit);
        }
        if clean {
            let (records, heads) = (output::count(records, "record"), output::count(heads, "head"));
            output::print(&format!("{name}: clean; {records}, {heads}\n"))?;
            return Ok(exit);
        }
        let rows = findings.iter().map(|FsckFinding { place, why }| [place.clone(), why.clone()]);
        output::print_table(["place", "what is wrong"], rows)?;
        if unlisted > 0 {
            output::print(&format!("and {unlisted} more\n"))?;
        }
        let remedy = if unlisted == 0 && findings.iter().all(|found| found.place.starts_with("index")) {
            format!(
                "stop the server and make the index again from the records: `tallystick mirror verify {name} --rebuild-index`"
            )
        } else {
            "stop the server, move the mirror's `.full.*` files away and let it be replicated or imported again"
                .to_owned()
        };
        let count = findings.len() as u64 + unlisted;
        output::error(&format!(
            "{} in the mirror of {name}, which has {}\n  fix: look at the disk first; then {remedy}",
            output::count(count, "finding"),
            output::count(records, "record")
        ));
        Ok(exit)
    }
}
