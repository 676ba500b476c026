//! What stands behind the doors of `serve`, and how a reload replaces it: the parts that live as long
//! as the server, and the site that is made of them and of one configuration.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;

use super::engines::{Engines, limits};
use super::exit::{Exit, OrExit};
use super::process::operators_door;
use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::gossip::Gossip;
use crate::http::gossip::{self, GossipDoor, GossipFigures};
use crate::http::hooks::Hooks;
use crate::http::incidents::IncidentFigures;
use crate::http::listen::{Door, ListenLimits};
use crate::http::metrics::{Metrics, MetricsSource};
use crate::http::own::{LogFigures, NotaryFigures, OwnLog};
use crate::http::proxies::TrustedProxies;
use crate::http::remote::{MayTell, MirrorFigures, MirrorOptions, MirroredLog};
use crate::http::site::{LiveSite, PublicSite, WaitingRoom};
use crate::http::sumdb::Registry;
use crate::http::tls::{TlsFigures, TlsKeeper};
use crate::http::unusable::UnusableLog;
use crate::http::verified::VerifiedFigures;
use crate::http::witnesses::WitnessesFigures;
use crate::http::{CacheSizes, ChecksumDatabase, Recent, api, tlog_proof};
use crate::mirror::{Mirror, Mirrors};
use crate::operate::ProofMaker;
use crate::share::Rates;

/// The notary answers by its own deadline, with the cause; the site's is there in case it does not.
const ANSWER_MARGIN: std::time::Duration = std::time::Duration::from_secs(3);

/// What lives as long as the server.
pub(super) struct Doors {
    own: Arc<OwnLog>,
    unusable: Vec<Arc<dyn ChecksumDatabase>>,
    /// What is no log's. It does not depend on the configuration.
    rest: Router,
    gossip: Arc<GossipDoor>,
    waiting: Arc<WaitingRoom>,
    metrics: Arc<Metrics>,
    proxies: TrustedProxies,
    clock: Clock,
    tls: Option<Arc<TlsKeeper>>,
}

/// The remote logs as they are served under one configuration.
#[derive(Clone)]
pub(super) struct ServedMirrors {
    logs: Vec<Arc<MirroredLog>>,
    /// What clients make us ask for is counted for all of them together.
    rates: Arc<Rates>,
}

impl Doors {
    /// The parts of a server, and its mirrors as they are served first.
    pub(super) fn new(
        config: &Arc<Config>,
        engines: &Engines,
        tls: Option<Arc<TlsKeeper>>,
        figures: Vec<Box<dyn MetricsSource>>,
    ) -> (Doors, ServedMirrors) {
        let Engines { log, notary, mirrors, witnesses, clock, .. } = engines;
        let sizes =
            CacheSizes { tile_bytes: *config.cache.tile_bytes, lookup_bytes: *config.cache.lookup_bytes };
        let recent = Recent::new(sizes);
        let own = Arc::new(OwnLog::new(log.clone(), notary.clone(), &recent, clock.clone()));
        let gossip = Gossip::new(log.clone(), mirrors.clone(), config.data.value.clone(), clock.clone());
        let gossip = Arc::new(GossipDoor::new(gossip, *config.limits.deadline, clock.clone()));
        let mut sources: Vec<Box<dyn MetricsSource>> = vec![
            Box::new(LogFigures(own.clone())),
            Box::new(NotaryFigures(notary.clone())),
            Box::new(MirrorFigures { mirrors: mirrors.clone(), clock: clock.clone() }),
            Box::new(VerifiedFigures(mirrors.clone())),
            Box::new(GossipFigures(gossip.clone())),
            Box::new(WitnessesFigures(witnesses.clone())),
            Box::new(IncidentFigures::new(log.clone(), mirrors.clone())),
        ];
        sources.extend(figures);
        if let Some(tls) = &tls {
            sources.push(Box::new(TlsFigures(tls.clone())));
        }
        let unusable = mirrors.unusable();
        let unusable = unusable.map(|one| Arc::new(UnusableLog(one.clone())) as Arc<dyn ChecksumDatabase>);
        let doors = Doors {
            unusable: unusable.collect(),
            rest: api::router(own.clone())
                .merge(tlog_proof::router(ProofMaker::new(log.clone(), mirrors.clone())))
                .merge(gossip::router(gossip.clone())),
            own,
            gossip,
            waiting: Arc::new(WaitingRoom::default()),
            metrics: Arc::new(Metrics::new(sources)),
            proxies: TrustedProxies::new(config.trusted_proxies.value.clone()),
            clock: clock.clone(),
            tls,
        };
        (doors, ServedMirrors::new(config, engines, &recent))
    }

    /// The public door, whose site can be replaced, and the operators' door.
    pub(super) fn open(
        &self,
        site: Arc<LiveSite>,
        limits: ListenLimits,
    ) -> (Door<LiveSite>, Door<axum::Router>) {
        let (tls, proxies) = (self.tls.clone(), self.proxies.clone());
        let public = Door { site, tls, limits, proxies, traffic: self.metrics.traffic.clone() };
        (public, operators_door(self.own.clone(), self.metrics.clone()))
    }

    /// The public site of a configuration.
    pub(super) fn site(&self, config: &Config, mirrors: &ServedMirrors, hooks: Hooks) -> PublicSite {
        let others = mirrors.logs.iter().map(|log| log.clone() as Arc<dyn ChecksumDatabase>);
        let others = others.chain(self.unusable.iter().cloned()).collect();
        PublicSite {
            registry: Registry::new(self.own.clone(), others),
            rest: self.rest.clone(),
            hooks,
            proxies: self.proxies.clone(),
            waiting: self.waiting.clone(),
            lookup_deadline: *config.limits.deadline + ANSWER_MARGIN,
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Brings what is not part of a site into line with a reloaded configuration.
    pub(super) fn adopt(&self, config: &Config) {
        self.proxies.replace(config.trusted_proxies.value.clone());
        self.gossip.set_deadline(*config.limits.deadline);
    }
}

impl ServedMirrors {
    fn new(config: &Arc<Config>, engines: &Engines, recent: &Arc<Recent>) -> ServedMirrors {
        let rates = Arc::new(rates(config, &engines.clock));
        let serve = |mirror: &Arc<Mirror>| {
            Arc::new(MirroredLog::new(MirrorOptions {
                mirror: mirror.clone(),
                rates: rates.clone(),
                waiters: engines.notary.waiters(),
                deadline: *config.limits.deadline,
                recent: recent.clone(),
                clock: engines.clock.clone(),
                may_tell: may_tell(config, mirror.log.name()),
            }))
        };
        ServedMirrors { logs: engines.mirrors.iter().map(serve).collect(), rates }
    }

    /// The same logs under a reloaded configuration. What clients have used of an allowance that
    /// stays the same stays used.
    pub(super) fn renewed(&self, before: &Config, after: &Arc<Config>, clock: &Clock) -> ServedMirrors {
        let of = |config: &Config| {
            let limits = limits(config);
            (limits.client_misses_per_minute, limits.misses_per_minute)
        };
        let rates = if of(before) == of(after) { self.rates.clone() } else { Arc::new(rates(after, clock)) };
        let renew = |log: &Arc<MirroredLog>| {
            let may_tell = may_tell(after, log.name());
            Arc::new(log.renewed(may_tell, rates.clone(), *after.limits.deadline))
        };
        ServedMirrors { logs: self.logs.iter().map(renew).collect(), rates }
    }
}

fn rates(config: &Config, clock: &Clock) -> Rates {
    let limits = limits(config);
    Rates::new(limits.client_misses_per_minute, limits.misses_per_minute, clock)
}

fn may_tell(config: &Arc<Config>, name: &str) -> Box<MayTell> {
    let (config, name) = (config.clone(), name.to_owned());
    Box::new(move |path| config.may_tell(&name, path))
}

/// The hooks of the mirrors, with the secrets that their files hold.
pub(super) fn hooks(config: &Config, mirrors: &Mirrors, clock: &Clock) -> anyhow::Result<Hooks> {
    let mut hooks = Vec::new();
    for mirror in mirrors.iter() {
        let name = mirror.log.name();
        if let Some(path) = config.sumdbs.get(name).and_then(|sumdb| sumdb.hook_secret_file.as_ref()) {
            let key = || format!("sumdb.{name}.hook_secret_file");
            hooks.push((Secret::read(path).with_context(key).or_exit(Exit::Usage)?, mirror.clone()));
        }
    }
    Ok(Hooks::new(hooks, clock))
}
