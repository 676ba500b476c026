//! From a configuration to engines that run: the one place where everything is put together.

mod log;
mod mirrors;
mod notary;
mod outgoing;
mod witnesses;

use std::sync::Arc;

use super::founding;
use crate::clock::Clock;
use crate::config::Config;
use crate::log::{Conditions, Log, PublishGate, State};
use crate::mirror::Mirrors;
use crate::notary::Notary;
use crate::note::SignerKey;
use crate::upstream::{ScratchSpace, remove_leftovers};
use crate::witness::Witnesses;
pub(super) use log::{ClosedLog, open_log, open_reader};
pub(super) use mirrors::{file_name, full_database, open_kept_mirrors, open_mirrors, redirect_mirrors};
pub(super) use notary::{PlannedRoutes, RouteInput, limits, plan_routes, read_git_config};
use notary::{open_notary, open_scratch};
pub(super) use outgoing::{Outgoing, http_client, redirect_rules};
use witnesses::open_witnesses;
pub(super) use witnesses::{cosignatures_database, panel};

/// The log, its notary and the mirrors, ready.
pub(super) struct Engines {
    pub(super) log: Log,
    pub(super) notary: Notary,
    pub(super) mirrors: Mirrors,
    pub(super) witnesses: Witnesses,
    pub(super) clock: Clock,
    pub(super) outgoing: Outgoing,
    /// What the notary's routes are followed with.
    pub(super) routes: Vec<RouteInput>,
    /// The text of the operator's Git configuration, which is never shown.
    pub(super) git_config: Option<String>,
    pub(super) scratch: ScratchSpace,
}

impl Engines {
    /// Opens everything that the configuration names. Nobody is asked for anything.
    pub(super) fn open(config: &Config, signer: SignerKey) -> anyhow::Result<Engines> {
        let clock = Clock::system();
        let outgoing = Outgoing::new(config, &clock)?;
        let client = &outgoing.client;
        let witnesses = open_witnesses(config, &signer, client)?;
        let gate: Arc<dyn PublishGate> = Arc::new(witnesses.clone());
        let conditions = Conditions { gate: Some(gate), hold: witnesses.hold() };
        let log = open_log(config, vec![signer], clock.clone(), conditions)?;
        founding::founded(config)?;
        say_what_is_unknown(config, &log);
        // Whoever appends needs them, also where nothing is served: a gate that nobody asks for
        // stays closed.
        tokio::spawn(witnesses.clone().run(log.clone()));
        let mirrors = open_mirrors(config, config.mirrored().map(|(name, _)| name), client)?;
        for one in mirrors.unusable() {
            let fix = one.remedy();
            tracing::error!(log = one.name, error = %one, fix, "a mirror cannot be used; the others go on");
        }
        // The log is ours alone by now, and nothing is fetched yet.
        remove_leftovers(&config.data.join("scratch"));
        let scratch = open_scratch(config)?;
        let planned = plan_routes(config, &mirrors, &outgoing, &scratch)?;
        let (routes, git_config) = (planned.inputs, planned.git_config);
        let notary = open_notary(log.clone(), planned.routes, planned.limits, &clock)?;
        Ok(Engines { log, notary, mirrors, witnesses, clock, outgoing, routes, git_config, scratch })
    }
}

/// Log and anchor that were put back from one old backup agree, and nothing on this machine can
/// tell.
fn say_what_is_unknown(config: &Config, log: &Log) {
    let size = log.snapshot().size().0;
    if size > 0 && config.witnesses.all.is_empty() && matches!(&*log.state(), State::Writing) {
        tracing::info!(
            tree.size = size,
            "log and anchor agree; if both are old copies of one time, nobody here can know, since no witness is configured"
        );
    }
}
