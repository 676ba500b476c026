//! `tallystick import`: many lines at once.

use std::path::PathBuf;

use clap::Args;

use super::{Common, Exit, block_on};
use crate::config::{Config, Environment, GoEnvironment};

/// Enter the lines of go.sum files, each by its route
#[derive(Debug, Args)]
#[command(after_help = "\
Each line follows its route: the log gets what the route's source says, and a line that disagrees is an incident \
(exit code 4). With --trust the files are plain record streams that enter as they are, with the importer's name \
as their only evidence.

Examples:
  tallystick import go.sum
  tallystick import a/go.sum b/go.sum --json
  tallystick import records.txt --trust --importer build-7")]
pub(super) struct Import {
    /// go.sum files; with --trust, record streams
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Enter plain records as they are, without asking any source
    #[arg(long, requires = "importer")]
    trust: bool,
    /// Who vouches for trusted records
    #[arg(long, value_name = "NAME", requires = "trust")]
    importer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to import.
#[derive(Debug)]
pub(super) struct ImportOptions {
    /// The configuration with its routes filled in, unless the records are trusted.
    pub(super) config: Config,
    /// The files.
    pub(super) files: Vec<PathBuf>,
    /// Who vouches for the records; none: go.sum files by their routes.
    pub(super) trusted_importer: Option<String>,
    /// Whether to print JSON.
    pub(super) json: bool,
}

impl Import {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let mut config = common.load()?;
        if !self.trust {
            config.discover(&GoEnvironment::read(&Environment::of_process()))?;
        }
        let Import { files, importer, json, .. } = self;
        block_on(engine(ImportOptions { config, files, trusted_importer: importer, json }))
    }
}

/// SEAM: parses the files, shows [`super::Progress`], writes through the control socket or into the log itself.
async fn engine(options: ImportOptions) -> anyhow::Result<Exit> {
    let ImportOptions { config, files, trusted_importer, json } = options;
    anyhow::bail!(
        "not wired yet: import of {} files into {} (importer {trusted_importer:?}, json {json})",
        files.len(),
        config.data.display()
    )
}
