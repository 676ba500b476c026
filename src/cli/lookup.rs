//! `tallystick lookup`: what the log says about one module version, and why.

use clap::Args;

use super::{Common, Exit, block_on};
use crate::config::{Config, Environment, GoEnvironment};
use crate::module::ModuleVersion;

/// Show the log's lines for a module version, with their evidence
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 the log has it, 1 it has not.

Examples:
  tallystick lookup rsc.io/quote@v1.5.2
  tallystick lookup corp.example/billing@v0.4.0 --json
  tallystick lookup corp.example/billing@v0.5.0 --notarize")]
pub(super) struct Lookup {
    /// Module path and version, as in go.mod: rsc.io/quote@v1.5.2
    #[arg(value_name = "MODULE@VERSION")]
    module: ModuleVersion,
    /// Append it to the log if it is unknown, by the routes of the configuration
    #[arg(long)]
    notarize: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to look up.
#[derive(Debug)]
pub(super) struct LookupOptions {
    /// The configuration, with its routes filled in if `notarize` is set.
    pub(super) config: Config,
    /// The module version.
    pub(super) module: ModuleVersion,
    /// Whether an unknown one is appended.
    pub(super) notarize: bool,
    /// Whether to print JSON.
    pub(super) json: bool,
}

impl Lookup {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let mut config = common.load()?;
        if self.notarize {
            config.discover(&GoEnvironment::read(&Environment::of_process()))?;
        }
        let Lookup { module, notarize, json } = self;
        block_on(engine(LookupOptions { config, module, notarize, json }))
    }
}

/// SEAM: asks the running server through the control socket, or opens the log read-only; appends only with `notarize`.
async fn engine(options: LookupOptions) -> anyhow::Result<Exit> {
    let LookupOptions { config, module, notarize, json } = options;
    anyhow::bail!(
        "not wired yet: lookup {module} in {} (notarize {notarize}, json {json})",
        config.data.display()
    )
}
