//! The own log as HTTP sees it: reads from its snapshot, misses go to the notary.
//!
//! What was asked lately is kept in memory, by weight. A record never changes, so a kept answer is the record's part,
//! to which the newest head is joined each time; a tile of one width never changes at all.

mod api;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::kept::{self, Recent, RecentOf, with_head};
use super::metrics::{MetricsSource, Sample, SampleValue};
use super::ops::{Health, Readiness};
use super::{BoxFuture, ChecksumDatabase, Client, LatestHead, LookupRefusal, ReadError};
use crate::clock::Clock;
use crate::log::{Log, State};
use crate::module::ModuleVersion;
use crate::notary::{Counter, Notary, NotaryError};
use crate::share::Rates;
use crate::store::{StoreError, StoredRecord};
use crate::tlog::{Tile, TreeSize};

/// A path that no route covers stays so until the operator changes the configuration.
const NO_ROUTE_AGE: Duration = Duration::from_secs(60);
/// A read-only log waits for a person, or for space on its disk.
const READ_ONLY_RETRY: Duration = Duration::from_secs(60);

/// Proofs that a client may ask for in a minute, where many come with one request: a tenth of a millisecond each, so
/// that one client takes a twentieth of a processor at most.
const CLIENT_PROOFS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30_000).expect("it is not zero");
/// Proofs of all clients in a minute: half of a processor.
const PROOFS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(300_000).expect("it is not zero");

/// The own log with what is kept of it in memory.
pub struct OwnLog {
    log: Log,
    notary: Notary,
    clock: Clock,
    proofs: Rates,
    recent: RecentOf,
    latest: ArcSwapOption<(TreeSize, LatestHead)>,
}

impl OwnLog {
    /// A log and the notary that answers what it does not have.
    pub fn new(log: Log, notary: Notary, recent: &Arc<Recent>, clock: Clock) -> OwnLog {
        let (recent, latest) = (recent.of_log(), ArcSwapOption::empty());
        let proofs = Rates::new(CLIENT_PROOFS_PER_MINUTE, PROOFS_PER_MINUTE, &clock);
        OwnLog { log, notary, clock, proofs, recent, latest }
    }

    /// What a failed read means: a damaged row is 500 for itself, and the end of signing.
    fn failed(&self, error: StoreError) -> ReadError {
        if let StoreError::Damaged { .. } = error {
            tracing::error!(%error, "a stored row is damaged");
            self.log.stop_signing(&error);
            return ReadError::Damaged { what: error.to_string() };
        }
        ReadError::Unavailable { why: error.to_string() }
    }
}

fn record_part(record: &StoredRecord) -> Bytes {
    kept::record_part(record.id, &record.lines.to_text())
}

impl ChecksumDatabase for OwnLog {
    fn name(&self) -> &str {
        &self.log.identity().name
    }

    fn latest(&self, _: &Client) -> Result<Option<LatestHead>, ReadError> {
        let snapshot = self.log.snapshot();
        if let Some(kept) = &*self.latest.load()
            && kept.0 == snapshot.size()
        {
            return Ok(Some(kept.1.clone()));
        }
        let latest = LatestHead::new(snapshot.head().note.clone());
        self.latest.store(Some(Arc::new((snapshot.size(), latest.clone()))));
        Ok(Some(latest))
    }

    fn checkpoint(&self, _: &Client) -> Result<Option<LatestHead>, ReadError> {
        Ok(self.log.checkpoint().map(LatestHead::new))
    }

    fn tile(&self, tile: &Tile, _: &Client) -> Result<Option<Bytes>, ReadError> {
        if let Some(body) = self.recent.tile(tile) {
            return Ok(Some(body));
        }
        let body = self.log.snapshot().tile(tile).map_err(|error| self.failed(error))?;
        Ok(body.map(|body| {
            let body = Bytes::from(body);
            self.recent.keep_tile(tile, &body);
            body
        }))
    }

    fn lookup(&self, module: &ModuleVersion, _: &Client) -> Result<Option<Bytes>, ReadError> {
        // The record first, then the head: what was kept from an older head is in every newer one.
        let key = self.recent.key(module);
        let kept = self.recent.lookup(key, module);
        let snapshot = self.log.snapshot();
        if let Some(record) = kept {
            return Ok(Some(with_head(&record, &snapshot.head().note)));
        }
        let Some(record) = snapshot.find(module).map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        let part = record_part(&record);
        self.recent.keep_lookup(key, &part);
        Ok(Some(with_head(&part, &snapshot.head().note)))
    }

    fn fetch_lookup(
        &self,
        module: ModuleVersion,
        client: Client,
    ) -> BoxFuture<'_, Result<Bytes, LookupRefusal>> {
        Box::pin(async move {
            let notarized =
                self.notary.lookup(module, client.claimant()).await.map_err(|error| refusal(&error))?;
            Ok(with_head(&record_part(&notarized.record), &notarized.snapshot.head().note))
        })
    }
}

/// What the notary's refusal is over HTTP.
fn refusal(error: &NotaryError) -> LookupRefusal {
    let text = error.to_client_text();
    // The notary has logged it, where it was more than a limit or a remembered answer.
    tracing::debug!(%error, "look-up refused");
    match error {
        NotaryError::NoRoute { .. } => LookupRefusal::NotFound { text, max_age: NO_ROUTE_AGE },
        NotaryError::NotFound { max_age, .. } => LookupRefusal::NotFound { text, max_age: *max_age },
        NotaryError::Unfetchable { why, .. } if why.stops_all() => LookupRefusal::Internal { text },
        NotaryError::Forbidden { .. } | NotaryError::Withheld { .. } | NotaryError::Unfetchable { .. } => {
            LookupRefusal::Forbidden { text }
        }
        NotaryError::TryLater { retry_after, .. } => {
            LookupRefusal::TryLater { text, retry_after: *retry_after }
        }
        NotaryError::ReadOnly { .. } => LookupRefusal::TryLater { text, retry_after: READ_ONLY_RETRY },
        NotaryError::Conflict(_) | NotaryError::Refused { .. } => LookupRefusal::Conflict { text },
        NotaryError::Misbehavior { .. } | NotaryError::Internal { .. } => LookupRefusal::Internal { text },
    }
}

impl Health for OwnLog {
    fn readiness(&self) -> Readiness {
        match &*self.log.state() {
            State::Writing => match self.log.cautioned() {
                Some(why) => Readiness::Cautioned { why: why.to_string() },
                None => Readiness::Ready,
            },
            State::ReadOnly(reason) if reason.ends_process() => {
                Readiness::NotReady { why: reason.to_string() }
            }
            State::ReadOnly(reason) => Readiness::ReadOnly { why: reason.to_string() },
        }
    }
}

impl fmt::Debug for OwnLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnLog").field("name", &self.log.identity().name).finish_non_exhaustive()
    }
}

/// The log's figures for the metrics page.
#[derive(Debug)]
pub struct LogFigures(pub Arc<OwnLog>);

impl MetricsSource for LogFigures {
    fn samples(&self) -> Vec<Sample> {
        let OwnLog { log, clock, recent, .. } = &*self.0;
        let (tiles, lookups) = recent.all_bytes();
        let head = log.snapshot().head().clone();
        let gauge = |name, help, value| Sample::new(name, help, SampleValue::Gauge(value));
        let age = clock.now().duration_since(head.signed_at).as_secs_f64();
        let writing = matches!(*log.state(), State::Writing);
        vec![
            gauge("tree_size", "Records in the newest published head", head.tree.size.0 as f64),
            gauge("head_age_seconds", "Seconds since the newest head was signed", age),
            gauge(
                "clock_behind_seconds",
                "Seconds that the clock of this machine is behind the time of the newest head, 0 when it is not",
                (-age).max(0.0),
            ),
            gauge("read_only", "1 when the log signs nothing, 0 when it does", f64::from(u8::from(!writing))),
            gauge("tile_cache_bytes", "Bytes of the tiles kept in memory", tiles as f64),
            gauge("lookup_cache_bytes", "Bytes of the look-ups kept in memory", lookups as f64),
        ]
    }
}

/// The notary's figures for the metrics page.
pub struct NotaryFigures(pub Notary);

impl fmt::Debug for NotaryFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotaryFigures")
    }
}

impl MetricsSource for NotaryFigures {
    fn samples(&self) -> Vec<Sample> {
        let (flights, waited_for) = self.0.in_flight();
        let gauge = |name, help, value: usize| Sample::new(name, help, SampleValue::Gauge(value as f64));
        let mut samples = vec![
            gauge("misses_in_flight", "Unknown module versions that are being notarised", flights),
            gauge("misses_waited_for", "Those of them that a client waits for", waited_for),
        ];
        let c = self.0.counters();
        let counters = [
            ("notary_appended", "New records that clients asked for", &c.appended),
            ("notary_present", "Misses whose record another had appended meanwhile", &c.present),
            ("notary_not_found", "Misses whose source has no such module version", &c.not_found),
            ("notary_forbidden", "Misses whose source refused access", &c.forbidden),
            ("notary_unavailable", "Misses whose source was not available or too slow", &c.unavailable),
            ("notary_unproven", "Misses whose checksum database sent what does not verify", &c.unproven),
            ("notary_refused", "Misses whose files cannot be taken in", &c.refused),
            ("notary_conflicts", "Misses that contradicted the log", &c.conflict),
            ("notary_misbehaviour", "Misses whose checksum database contradicted itself", &c.misbehavior),
            ("notary_read_only", "Misses while the log signed nothing", &c.read_only),
            ("notary_internal_errors", "Misses that failed by our own fault", &c.internal),
            (
                "notary_limited",
                "Misses refused for an allowance, or a share of those that wait, that was used up",
                &c.limited,
            ),
            ("notary_joined", "Misses that found the work under way", &c.joined),
            ("notary_negative_hits", "Misses answered from a remembered failure", &c.negative_hits),
            ("notary_late", "Misses told to try again while the work went on", &c.late),
            ("notary_rerouted", "Flights dropped because a reload changed their route", &c.rerouted),
            ("notary_batches", "Appends to the log", &c.batches),
            ("notary_ahead_appended", "Modules notarised before a client asked", &c.ahead_appended),
            ("notary_ahead_failed", "Modules tried ahead in vain", &c.ahead_failed),
            ("notary_ahead_limited", "Modules that a limit kept from being tried ahead", &c.ahead_limited),
        ];
        let counter = |(name, help, counter): (_, _, &Counter)| {
            Sample::new(name, help, SampleValue::Counter(counter.value()))
        };
        samples.extend(counters.map(counter));
        samples
    }
}
