//! `tallystick mirror diff`: the own log beside full mirrors.

use clap::Args;
use serde_json::json;

use super::work_bar::WorkBar;
use crate::cli::session::{Needs, Session, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::operate::{CompareAnswer, CompareCounts, Disagreeing, PathCounts};

/// Paths that `diff` shows to a person; JSON has all.
const MAX_SHOWN_PATHS: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Every record of the own log is looked up in the mirror. Other lines for the same module version must be impossible: each is \
kept as an incident.

Examples:
  tallystick mirror diff
  tallystick mirror diff sum.golang.org --modules 'golang.org/x,rsc.io/*'
  tallystick mirror diff --json")]
pub(super) struct MirrorDiff {
    /// The log [default: all with a full mirror]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only these paths, a list as in GOPRIVATE; shows those too that only the mirror has
    #[arg(long, value_name = "PATTERN")]
    modules: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl MirrorDiff {
    /// `config` as it was loaded: the own log is opened with it, if no server has it open.
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let mut session = Session::open(config, Needs::Routes).await?;
        let compared = self.compare(&mut session).await;
        session.close().await?;
        compared
    }

    async fn compare(&self, session: &mut Session) -> anyhow::Result<Exit> {
        let names = match &self.name {
            Some(name) => vec![name.clone()],
            None => {
                let all = session.mirror_statuses().await?;
                all.into_iter().filter(|status| status.full.is_some()).map(|status| status.log).collect()
            }
        };
        if names.is_empty() {
            output::note("no full mirror is kept here: set mode = \"full\" in a [sumdb.\"…\"]");
        }
        let (mut exit, mut all) = (Exit::Done, Vec::new());
        for name in names {
            let bar = WorkBar::default();
            let compared = session.compare_mirror(&name, self.modules.clone(), bar.tell()).await?;
            drop(bar);
            let compared = compared.or_else(refused)?;
            let CompareCounts { own, mirror, both, disagree, unlisted } = compared.total;
            if disagree > 0 {
                exit = Exit::Damage;
            }
            if self.json {
                all.push(json!({
                    "log": name, "own": own, "mirror": mirror, "both": both, "disagree": disagree,
                    "unlisted": unlisted,
                    "paths": compared.paths,
                    "disagreements": compared.disagreements,
                }));
            } else {
                print_diff(&name, compared)?;
            }
        }
        if self.json {
            output::print_json(&all)?;
        }
        Ok(exit)
    }
}

fn print_diff(
    name: &str,
    CompareAnswer { total, paths, disagreements }: CompareAnswer,
) -> anyhow::Result<()> {
    let hidden = paths.len().saturating_sub(MAX_SHOWN_PATHS);
    if !paths.is_empty() {
        let rows = paths.into_iter().take(MAX_SHOWN_PATHS).map(|PathCounts { path, own, mirror, both }| {
            [path, own.to_string(), mirror.to_string(), both.to_string()]
        });
        output::print_table(["module path", "own log", name, "the same"], rows)?;
        if hidden > 0 {
            output::print(&format!("and {hidden} more paths: --json shows all\n"))?;
        }
        output::print("\n")?;
    }
    let CompareCounts { own, mirror, both, disagree, .. } = total;
    output::print(&format!(
        "{name}: {} in the own log, {mirror} in the mirror, {both} the same\n",
        output::count(own, "version")
    ))?;
    if disagree == 0 {
        return Ok(());
    }
    for Disagreeing { module, own_record, own, mirror_record, mirror } in disagreements {
        let indent = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
        output::print(&format!(
            "{module}\n  own log, record {own_record}\n{}  {name}, record {mirror_record}\n{}",
            indent(&own),
            indent(&mirror)
        ))?;
    }
    output::error(&format!(
        "{} of which {name} has other lines than the own log: kept as incidents\n  fix: one of the \
         two was deceived; compare both with what others have, and do not build these versions until you know which",
        output::count(disagree, "module version")
    ));
    Ok(())
}
