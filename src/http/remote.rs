//! A mirror as HTTP sees it: `/sumdb/<name>/…` of a remote log, with the remote's own signatures.
//!
//! A look-up is answered with the record exactly as it was authenticated and a signed head, the newest for which everything is
//! at hand; tiles are those that were verified. What is not kept is asked for and proved while the client waits, within an allowance for
//! each client, and only where the log may be told: a module that is private here is never named to it. Without a network
//! what is kept is answered, and the rest is 503 with a sentence.
//!
//! | mode | `latest` | `lookup` | hash tiles | data tiles | `supported` |
//! |---|---|---|---|---|---|
//! | full | the mirrored head | mirrored, else as on-demand | mirrored, else as on-demand | mirrored, else 503 | 200 |
//! | on-demand | kept, else asked for | kept, else asked for | kept, else asked for | 404, says why | 200 |
//! | heads | kept, else asked for | kept, else 404 | kept, else 404 | 404, says why | 404, says why |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::kept::{self, Recent, RecentOf, with_head};
use super::metrics::{MetricsSource, Sample, SampleValue};
use super::{BoxFuture, ChecksumDatabase, Client, LatestHead, LookupRefusal, ReadError};
use crate::clock::Clock;
use crate::config::Mode;
use crate::mirror::{LogProgress, Mirror, Mirrors, RemoteError, RemoteLog};
use crate::module::ModuleVersion;
use crate::route::Untold;
use crate::share::turns::Line;
use crate::share::{Allowance, Claimant, Exhausted, Rates, Shed, Turns, Waiters};
use crate::store::StoreError;
use crate::tlog::{Tile, TileLevel, TreeSize};

/// When a client should come back whose answer could not be fetched, unless a server said when.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// When a client should come back that has its share of those that wait.
const CROWDED_RETRY_AFTER: Duration = Duration::from_secs(2);
/// Look-ups of clients that are put to the remote log at once, and as many tiles: half of the
/// requests that it may have in flight.
const PLACES: usize = 16;
/// "Not found" of a remote log: a version that was just published must appear soon.
const NOT_FOUND_AGE: Duration = Duration::from_secs(30);
/// What the configuration decides stays so until the operator changes it.
const DECIDED_AGE: Duration = Duration::from_secs(60);

/// Checks whether the remote log may be told a module path.
pub type MayTell = dyn Fn(&str) -> Result<(), Untold> + Send + Sync;

/// How a mirror is served.
pub struct MirrorOptions {
    /// The log.
    pub mirror: Arc<Mirror>,
    /// Which module paths it may be told.
    pub may_tell: Box<MayTell>,
    /// What clients may make us ask, shared by all mirrors.
    pub rates: Arc<Rates>,
    /// The requests that wait, those for the own log included.
    pub waiters: Arc<Waiters>,
    /// How long a client waits at most.
    pub deadline: Duration,
    /// What was asked lately.
    pub recent: Arc<Recent>,
    /// What time it is.
    pub clock: Clock,
}

/// A remote log with what is kept of it in memory.
pub struct MirroredLog {
    options: MirrorOptions,
    recent: RecentOf,
    latest: ArcSwapOption<(TreeSize, LatestHead)>,
    /// Clients take turns here, so that the notary, which asks the same log, is not kept waiting by
    /// others' clients. A tile does not wait for look-ups, for which the log may take minutes.
    lookups: Questions,
    tiles: Questions,
}

/// What clients ask of a remote log, so much at once; each question has a number. Clones share the
/// places.
#[derive(Clone)]
struct Questions {
    turns: Turns<u64, Claimant>,
    line: Line,
    asked: Arc<AtomicU64>,
}

impl Questions {
    fn new() -> Questions {
        let (turns, line) = Turns::with_places(PLACES);
        Questions { turns, line, asked: Arc::default() }
    }

    /// Asks when it is the client's turn, and anew when its place was needed for another client.
    async fn in_turn<F: Future>(&self, client: &Claimant, mut ask: impl FnMut() -> F) -> F::Output {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let _want = self.turns.want(number, *client);
        let asked = self.turns.run(&number, self.line, |_| ask()).await;
        asked.unwrap_or_else(|Shed| unreachable!("a question is put only while its client waits"))
    }
}

impl MirroredLog {
    /// A mirror, ready to be served.
    pub fn new(options: MirrorOptions) -> MirroredLog {
        MirroredLog {
            recent: options.recent.of_log(),
            latest: ArcSwapOption::empty(),
            lookups: Questions::new(),
            tiles: Questions::new(),
            options,
        }
    }

    /// The same mirror under the limits of a reloaded configuration. What is kept of it in memory
    /// was verified, and stays.
    pub fn renewed(&self, may_tell: Box<MayTell>, rates: Arc<Rates>, deadline: Duration) -> MirroredLog {
        let MirrorOptions { mirror, waiters, recent, clock, .. } = &self.options;
        let (mirror, waiters, clock) = (mirror.clone(), waiters.clone(), clock.clone());
        MirroredLog {
            recent: self.recent.clone(),
            latest: ArcSwapOption::empty(),
            lookups: self.lookups.clone(),
            tiles: self.tiles.clone(),
            options: MirrorOptions {
                mirror,
                may_tell,
                rates,
                waiters,
                deadline,
                recent: recent.clone(),
                clock,
            },
        }
    }

    fn log(&self) -> &RemoteLog {
        &self.options.mirror.log
    }

    fn deadline(&self) -> Instant {
        self.options.clock.instant() + self.options.deadline
    }

    fn keeps_records(&self) -> bool {
        self.options.mirror.mode != Mode::Heads
    }

    /// Counts a question that we put for a client.
    fn admit(&self, client: Client) -> Result<(), LookupRefusal> {
        let limited = |Exhausted { allowance, retry_after }| {
            let whose = match allowance {
                Allowance::Client => "this client has",
                Allowance::All => "the clients of this server have",
            };
            let text = format!(
                "{whose} asked for too much that is not kept here\nTry again in {} s.",
                retry_after.as_secs() + 1
            );
            LookupRefusal::TryLater { text, retry_after }
        };
        self.options.rates.admit(client.claimant()).map_err(limited)
    }

    /// Lets a client wait for `work`, if it has not its share of those that wait.
    async fn waiting<T>(
        &self,
        client: Client,
        work: impl Future<Output = Result<T, LookupRefusal>>,
    ) -> Result<T, LookupRefusal> {
        let crowded = || {
            let text = format!(
                "too many requests from your address wait for what is not kept here\nThis server has no room for more, and \
                 other clients have their share of it.\nfix: try again in {} s, with fewer builds at once behind this address.",
                CROWDED_RETRY_AFTER.as_secs()
            );
            LookupRefusal::TryLater { text, retry_after: CROWDED_RETRY_AFTER }
        };
        let claimant = client.claimant();
        let waiter = self.options.waiters.enter(claimant).ok_or_else(crowded)?;
        tokio::select! {
            biased;
            done = work => done,
            () = waiter.evicted() => Err(crowded()),
        }
    }

    fn only_heads(&self) -> LookupRefusal {
        decided(format!(
            "{}: only its tree heads are watched here, its records are not kept\nThe operator of this server can set its mode \
             to \"on-demand\".",
            self.log().name()
        ))
    }

    fn part_with_head(&self, part: &[u8]) -> Option<Bytes> {
        let head = self.log().head_for(kept::record_of(part))?;
        Some(with_head(part, &head.note))
    }

    async fn ask_for_lookup(&self, module: ModuleVersion, client: Client) -> Result<Bytes, LookupRefusal> {
        let name = self.log().name();
        if !self.keeps_records() {
            return Err(self.only_heads());
        }
        let path = module.path.as_str();
        (self.options.may_tell)(path).map_err(|why| {
            let remedy = match &why {
                Untold::Private => {
                    "Set GOSUMDB to the log of this server; `tallystick env` prints how.".to_owned()
                }
                Untold::Withheld(why) => why.remedy(path),
            };
            decided(format!("{module} is not asked for at {name}: {why}\n{remedy}"))
        })?;
        if let Some(max_age) = self.log().is_missing(&module) {
            return Err(missing(name, &module.to_string(), max_age));
        }
        self.admit(client)?;
        let client = client.claimant();
        let ask = || self.log().lookup_for(&module, Some(client), self.deadline());
        let refused = |error| refusal(name, &module.to_string(), &error);
        let proven = self.lookups.in_turn(&client, ask).await.map_err(refused)?;
        let part = kept::record_part(proven.record, &proven.text);
        Ok(self.part_with_head(&part).expect("a log with a record has a head"))
    }

    async fn ask_for_tile(&self, tile: Tile, client: Client) -> Result<Bytes, LookupRefusal> {
        let name = self.log().name();
        if tile.level == TileLevel::Data && self.options.mirror.mode == Mode::Full {
            self.admit(client)?;
            return Err(self.not_mirrored_yet(&tile));
        }
        if tile.level == TileLevel::Data {
            return Err(decided(format!(
                "data tiles of {name} are not kept here: this mirror is in mode \"{}\"\nIt answers {}. Whoever reads the whole \
                 log must ask another server.",
                self.options.mirror.mode,
                if self.keeps_records() { "look-ups, hash tiles and tree heads" } else { "tree heads only" }
            )));
        }
        if !self.keeps_records() {
            return Err(self.only_heads());
        }
        self.admit(client)?;
        let what = tile.path();
        let client = client.claimant();
        match self.tiles.in_turn(&client, || self.log().tile(&tile, self.deadline())).await {
            Ok(Some(body)) => {
                self.recent.keep_tile(&tile, &body);
                Ok(body)
            }
            Ok(None) => {
                let size = self.log().newest().map_or(TreeSize(0), |newest| newest.tree.size);
                // Not 404: a client whose head is newer than ours asks for what will be there, and would give up.
                let text = format!(
                    "{what} of {name} is beyond the newest tree head that is known here, of {}\nTry again in a few \
                     seconds.",
                    size.records()
                );
                Err(LookupRefusal::TryLater { text, retry_after: RETRY_AFTER })
            }
            Err(error) => Err(refusal(name, &what, &error)),
        }
    }

    /// Of a data tile that the mirror does not have: it is on its way, or it is beyond the log's end.
    fn not_mirrored_yet(&self, tile: &Tile) -> LookupRefusal {
        let log = self.log();
        let size = log.replica().map_or(TreeSize(0), |replica| replica.reader().size());
        // A mirror that fails is not made to try again by whoever asks for what it lacks.
        if log.progress().failures_in_a_row == 0 {
            self.options.mirror.want();
        }
        let text = format!(
            "{} of {} is not mirrored here yet: there {}\nTry again in a few seconds.",
            tile.path(),
            log.name(),
            if size.0 == 1 { "is 1 record".to_owned() } else { format!("are {size} records") }
        );
        LookupRefusal::TryLater { text, retry_after: RETRY_AFTER }
    }

    async fn ask_for_latest(&self, client: Client) -> Result<LatestHead, LookupRefusal> {
        self.admit(client)?;
        let refused = |error| refusal(self.log().name(), "its newest tree head", &error);
        let head = self.log().advance(self.deadline()).await.map_err(refused)?;
        Ok(LatestHead::new(head.note.clone()))
    }
}

impl ChecksumDatabase for MirroredLog {
    fn name(&self) -> &str {
        self.log().name()
    }

    fn supported(&self, _: &Client) -> Result<(), LookupRefusal> {
        if self.keeps_records() { Ok(()) } else { Err(self.only_heads()) }
    }

    fn latest(&self, _: &Client) -> Result<Option<LatestHead>, ReadError> {
        let Some(newest) = self.log().served() else { return Ok(None) };
        if let Some(kept) = &*self.latest.load()
            && kept.0 == newest.tree.size
        {
            return Ok(Some(kept.1.clone()));
        }
        let latest = LatestHead::new(newest.note.clone());
        self.latest.store(Some(Arc::new((newest.tree.size, latest.clone()))));
        Ok(Some(latest))
    }

    fn fetch_latest(&self, client: Client) -> Option<BoxFuture<'_, Result<LatestHead, LookupRefusal>>> {
        Some(Box::pin(self.waiting(client, self.ask_for_latest(client))))
    }

    fn tile(&self, tile: &Tile, _: &Client) -> Result<Option<Bytes>, ReadError> {
        if let Some(body) = self.recent.tile(tile) {
            return Ok(Some(body));
        }
        let body = self.log().stored_tile(tile).map_err(failed)?;
        Ok(body.inspect(|body| self.recent.keep_tile(tile, body)))
    }

    fn fetch_tile(&self, tile: Tile, client: Client) -> Option<BoxFuture<'_, Result<Bytes, LookupRefusal>>> {
        Some(Box::pin(self.waiting(client, self.ask_for_tile(tile, client))))
    }

    fn lookup(&self, module: &ModuleVersion, _: &Client) -> Result<Option<Bytes>, ReadError> {
        // The record first, then the head: what proves a kept record under that head is kept, too.
        let key = self.recent.key(module);
        if let Some(part) = self.recent.lookup(key, module) {
            return Ok(self.part_with_head(&part));
        }
        let Some(record) = self.log().stored_record(module).map_err(failed)? else { return Ok(None) };
        let part = kept::record_part(record.id, &record.text);
        self.recent.keep_lookup(key, &part);
        Ok(self.part_with_head(&part))
    }

    fn fetch_lookup(
        &self,
        module: ModuleVersion,
        client: Client,
    ) -> BoxFuture<'_, Result<Bytes, LookupRefusal>> {
        Box::pin(self.waiting(client, self.ask_for_lookup(module, client)))
    }
}

/// A damaged row is 500 for itself; the rest of the mirror can still be read, and all of it fetched again.
fn failed(error: RemoteError) -> ReadError {
    match error {
        RemoteError::Store(error) if matches!(*error, StoreError::Damaged { .. }) => {
            ReadError::Damaged { what: error.to_string() }
        }
        error => ReadError::Unavailable { why: error.to_string() },
    }
}

fn decided(text: String) -> LookupRefusal {
    LookupRefusal::NotFound { text, max_age: DECIDED_AGE }
}

fn missing(log: &str, what: &str, max_age: Duration) -> LookupRefusal {
    LookupRefusal::NotFound { text: format!("not found: {log} does not have {what}"), max_age }
}

/// What a client reads when something that is not kept cannot be fetched. The cause, with its addresses, is for our log.
fn refusal(log: &str, what: &str, error: &RemoteError) -> LookupRefusal {
    match error {
        // Said by the log, or logged when it was found.
        RemoteError::NotFound { .. } | RemoteError::Misbehavior(_) => {}
        error => tracing::info!(log, what, %error, "not fetched for a client"),
    }
    let later = |text, retry_after| LookupRefusal::TryLater { text, retry_after };
    match error {
        RemoteError::NotFound { .. } => missing(log, what, NOT_FOUND_AGE),
        RemoteError::Forbidden { .. } => LookupRefusal::Forbidden {
            text: format!(
                "{log} refuses to tell this server {what}\nThe operator of this server finds in its log what each URL of {log} \
                 said, and gives it other credentials or another URL."
            ),
        },
        RemoteError::Unavailable { retry_after, .. } => {
            let text = format!(
                "{what} is not kept here, and {log} cannot be reached from here at the moment\nWhat was asked for before is \
                 answered. Try again later."
            );
            later(text, retry_after.unwrap_or(RETRY_AFTER))
        }
        RemoteError::Unproven(_) => {
            let text = format!(
                "{what} is not kept here, and what the servers of {log} send for it does not verify\nIt is refused. If that \
                 does not pass, tell the operator of this server."
            );
            later(text, RETRY_AFTER)
        }
        RemoteError::Misbehavior(_) => LookupRefusal::Internal {
            text: format!(
                "{log} contradicts what it signed before, so nothing new is taken from it\nThis may be an attack. What was \
                 proved before is answered until the operator of this server has looked."
            ),
        },
        RemoteError::Store(_) => LookupRefusal::Internal {
            text: "internal error: the mirror cannot be read or written\nTell the operator of this server."
                .to_owned(),
        },
    }
}

/// The mirrors' figures for the metrics page.
pub struct MirrorFigures {
    /// The logs.
    pub mirrors: Mirrors,
    /// What time it is.
    pub clock: Clock,
}

impl fmt::Debug for MirrorFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MirrorFigures")
    }
}

impl MetricsSource for MirrorFigures {
    fn samples(&self) -> Vec<Sample> {
        let all: Vec<(&RemoteLog, LogProgress)> =
            self.mirrors.iter().map(|mirror| (&mirror.log, mirror.log.progress())).collect();
        let mut samples = Vec::new();
        let mut add = |name, help, value: &dyn Fn(&RemoteLog, &LogProgress) -> SampleValue| {
            samples.extend(
                all.iter()
                    .map(|(log, progress)| Sample::new(name, help, value(log, progress)).of(log.name())),
            );
        };
        let gauge = |value: f64| SampleValue::Gauge(value);
        let size = |progress: &LogProgress| progress.size.unwrap_or_default().0;
        add("mirror_size", "Records in the newest head kept of a remote log", &|_, progress| {
            gauge(size(progress) as f64)
        });
        add(
            "mirror_lag_records",
            "Records in the largest head shown that are not here: beyond the newest head kept, or not replicated in full mode",
            &|log, progress| {
                let here = log.replicated().map_or(size(progress), |size| size.0);
                gauge(progress.shown_size.0.saturating_sub(here) as f64)
            },
        );
        add(
            "mirror_lag_seconds",
            "Seconds since the newest head was reached, +Inf for never",
            &|_, progress| {
                let age = |at| self.clock.now().duration_since(at).as_secs_f64().max(0.0);
                // An alert on a lag that is too long must see one that never ends.
                gauge(progress.succeeded_at.map_or(f64::INFINITY, age))
            },
        );
        add(
            "mirror_last_success_timestamp_seconds",
            "When the newest head was reached, 0 for never",
            &|_, p| gauge(p.succeeded_at.map_or(0.0, |at| at.as_millisecond() as f64 / 1000.0)),
        );
        add("mirror_replicated_records", "Records of a remote log in its full mirror", &|log, _| {
            gauge(log.replica().map_or(0.0, |replica| replica.reader().size().0 as f64))
        });
        add("mirror_failures", "Failures to reach the newest head", &|_, progress| {
            SampleValue::Counter(progress.failures)
        });
        add("mirror_stopped", "1 when a remote log is stopped for misbehaviour, 0 when not", &|log, _| {
            gauge(f64::from(u8::from(log.incident().is_some())))
        });
        let usable = self.mirrors.iter().map(|mirror| (mirror.log.name(), 0.0));
        let unusable = self.mirrors.unusable().map(|unusable| (unusable.name.as_str(), 1.0));
        samples.extend(usable.chain(unusable).map(|(name, value)| {
            let help = "1 when the database of a mirror cannot be used, 0 when it can";
            Sample::new("mirror_unusable", help, gauge(value)).of(name)
        }));
        samples
    }
}
