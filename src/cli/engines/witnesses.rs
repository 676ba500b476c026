//! The witnesses of the own log, which are its gate where cosignatures are demanded.

use std::path::PathBuf;

use anyhow::Context;

use crate::cli::exit::{Exit, OrExit};
use crate::config::{self, Config};
use crate::note::{CosignatureSigner, SignerKey};
use crate::source::SourceUrl;
use crate::store::cosignatures::CosignatureStore;
use crate::upstream::HttpClient;
use crate::witness::{AskedWitness, HEARING, WitnessPanel, Witnesses, WitnessesOptions};

/// The database of the witnesses' cosignatures.
pub(in crate::cli) fn cosignatures_database(config: &Config) -> PathBuf {
    config.data.join("cosignatures.db")
}

/// The witnesses of the log, which are there before it: where cosignatures are demanded they are
/// its gate.
pub(super) fn open_witnesses(
    config: &Config,
    signer: &SignerKey,
    client: &HttpClient,
) -> anyhow::Result<Witnesses> {
    let path = cosignatures_database(config);
    let store = match CosignatureStore::open(&path) {
        // Only what is demanded may keep a log from being served. Why a disk takes nothing, the
        // log's own database says better.
        Err(error) if !*config.witnesses.required => {
            tracing::warn!(%error, path = %path.display(), "cosignatures are kept in memory only");
            CosignatureStore::in_memory()
        }
        opened => opened,
    };
    let store = store.with_context(|| {
        format!(
            "the cosignatures in {} cannot be used\n  fix: move that file away; the witnesses are \
             asked again, and the newest head waits until they have answered",
            path.display()
        )
    });
    let store = store.or_exit(Exit::Failed)?;
    let WitnessPanel { peers, quorum, patience, freshness, client } = panel(config, client);
    Ok(Witnesses::new(WitnessesOptions {
        log: signer.verifier(),
        own: CosignatureSigner::from(signer),
        peers,
        quorum,
        required: *config.witnesses.required,
        patience,
        hearing: HEARING,
        freshness,
        store,
        client,
    }))
}

/// Whom the log asks.
pub(in crate::cli) fn panel(config: &Config, client: &HttpClient) -> WitnessPanel {
    let config::LogWitnesses { all, quorum, timeout, .. } = &config.witnesses;
    let peer = |witness: &config::LogWitness| AskedWitness {
        name: witness.name.clone(),
        url: SourceUrl::Server(witness.url.clone()),
        key: witness.key.clone(),
    };
    WitnessPanel {
        peers: all.iter().map(peer).collect(),
        quorum: if all.is_empty() { 0 } else { **quorum },
        patience: **timeout,
        freshness: config.freshness.0,
        client: client.clone(),
    }
}
