//! `tallystick mirror stats`: how a full mirror grew, and what is in it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::plot;
use super::work_bar::WorkBar;
use crate::cli::session::{Session, refused};
use crate::cli::{Exit, output};
use crate::config::Config;
use crate::operate::StatsAnswer;

#[derive(Debug, Args)]
#[command(after_help = "\
The growth is that of the heads that are stored, since this mirror began.

Examples:
  tallystick mirror stats sum.golang.org
  tallystick mirror stats sum.golang.org --svg growth.svg
  tallystick mirror stats sum.golang.org --json")]
pub(super) struct MirrorStats {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw the growth into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl MirrorStats {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let mut session = Session::open_mirrors(config, Some(&self.name)).await?;
        let bar = WorkBar::default();
        let stats = session.mirror_stats(&self.name, bar.tell()).await?;
        drop(bar);
        let stats = stats.or_else(refused)?;
        if let Some(file) = &self.svg {
            let drawn = plot::svg(&self.name, &stats.growth);
            std::fs::write(file, drawn).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if self.json {
            output::print_json(&json!({ "log": self.name, "stats": stats }))?;
            return Ok(Exit::Done);
        }
        print_stats(&self.name, &stats)?;
        Ok(Exit::Done)
    }
}

fn print_stats(name: &str, stats: &StatsAnswer) -> anyhow::Result<()> {
    let StatsAnswer { records, others, heads, per_day, last_day, growth, hosts, paths } = stats;
    let mut text = format!("{name}\n  records     {records}");
    if *others > 0 {
        text += &format!(", {others} of them no module versions");
    }
    text += &format!("\n  heads       {heads}\n");
    if let (Some((first, _)), Some((last, _))) = (growth.first(), growth.last()) {
        text += &format!("  from        {}\n  to          {}\n", output::time(*first), output::time(*last));
    }
    let rate = per_day.map(|rate| format!("{rate:.0} records a day"));
    let day = last_day.map(|day| format!("{day} in the last 24 hours"));
    let rates: Vec<String> = rate.into_iter().chain(day).collect();
    if !rates.is_empty() {
        text += &format!("  growth      {}\n", rates.join(", "));
    }
    text += &format!("\n{}", plot::text(growth));
    output::print(&text)?;
    for (what, counts) in [("host", hosts), ("module path", paths)] {
        if counts.is_empty() {
            continue;
        }
        output::print("\n")?;
        let share = |count: u64| format!("{:.1} %", count as f64 * 100.0 / (*records).max(1) as f64);
        let rows = counts.iter().map(|(name, count)| [name.clone(), count.to_string(), share(*count)]);
        output::print_table([what, "records", "share"], rows)?;
    }
    Ok(())
}
