//! One poll of one log.

mod lookups;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Event, EventKind, FoundRecord, Tree};
use super::gosum::Gosum;
use super::state::LogState;
use super::{Log, Monitor, MonitorError};
use crate::config::Followed;
use crate::gosum::ModuleLines;
use crate::mirror::{HeadComparison, Misbehavior, RecordsError, RemoteError, RemoteLog};
use crate::store::remote::SeenHead;
use crate::tlog::{Hash, RecordId, TILE_WIDTH, TreeHead, TreeSize};

/// How long a log may take to answer a question, at all of its URLs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records that one poll reads at most, so that a log from its beginning does not keep the others' figures waiting.
const RECORDS_PER_POLL: u64 = 256 * TILE_WIDTH;

/// What a poll did.
#[derive(Clone, Debug)]
pub struct Polled {
    /// What happened.
    pub events: Vec<Event>,
    /// Why nothing could be verified, if so. It is told when it lasts.
    pub failure: Option<String>,
    /// Records that are still to be read, and go.sum lines to be looked up.
    pub to_come: u64,
}

/// A poll under way.
struct Poll<'a> {
    monitor: &'a Monitor,
    followed: &'a Followed,
    log: &'a RemoteLog,
    views: &'a [RemoteLog],
    state: LogState,
    events: Vec<Event>,
    done: Vec<Event>,
}

impl Monitor {
    /// Polls the log of this number.
    pub async fn poll(&self, number: usize) -> Result<Polled, MonitorError> {
        let Log { followed, remote: log, views } = &self.logs[number];
        let known = self.state.lock().await.logs.get(&*followed.name).cloned();
        let is_new = known.is_none();
        let now = self.clock.now();
        let state = known.unwrap_or_else(|| LogState {
            key: followed.key.to_string(),
            read: 0,
            head: Tree { size: 0, root: Hash::EMPTY_TREE.to_string(), note: String::new() },
            since: now,
            verified_at: now,
            told: Default::default(),
            events: 0,
            gosum: None,
            conflicts: Default::default(),
        });
        let (events, done) = (Vec::new(), Vec::new());
        let mut poll = Poll { monitor: self, followed, log, views, state, events, done };
        let outcome = poll.run(is_new).await;
        let failure = match outcome {
            Ok(()) => None,
            Err(Stop::Failed(why)) => {
                poll.lagging(&why);
                Some(why)
            }
            Err(Stop::Fork(found)) => {
                poll.fork(&found);
                None
            }
            Err(Stop::Own(error)) => return Err(error),
        };
        poll.keep().await?;
        // After a fork, or without records, there is nothing more to be read.
        let told = |kind| poll.state.told.contains(&kind);
        let records =
            if told(EventKind::HeadsOnly) { 0 } else { poll.state.head.size.saturating_sub(poll.state.read) };
        let to_come = if told(EventKind::Fork) { 0 } else { records + poll.state.lookups_to_come() };
        Ok(Polled { events: poll.done, failure, to_come })
    }
}

/// Why a poll ends early.
enum Stop {
    /// Nothing could be verified.
    Failed(String),
    /// The log has signed two trees.
    Fork(Arc<Misbehavior>),
    /// The monitor cannot go on.
    Own(MonitorError),
}

impl From<MonitorError> for Stop {
    fn from(error: MonitorError) -> Stop {
        Stop::Own(error)
    }
}

impl Poll<'_> {
    fn stop(&self, error: RemoteError) -> Stop {
        match error {
            RemoteError::Misbehavior(found) => Stop::Fork(found),
            RemoteError::Store(source) => {
                Stop::Own(MonitorError::Store { log: self.followed.name.value.clone(), source })
            }
            error => Stop::Failed(error.to_string()),
        }
    }

    fn deadline(&self) -> Instant {
        self.monitor.clock.instant() + PATIENCE
    }

    async fn run(&mut self, is_new: bool) -> Result<(), Stop> {
        let head = self.newest().await?;
        self.hold_to_state(&head).await?;
        let now = self.monitor.clock.now();
        self.state.verified_at = now;
        self.recovered(EventKind::Lagging, "the log is verified again");
        if head.tree.size.0 > self.state.head.size || self.state.head.note.is_empty() {
            self.state.head = tree_of(&head);
            self.state.since = now;
            self.recovered(EventKind::Silent, "there is a new head");
        } else if let Some(silence) = *self.followed.silence
            && since(self.state.since, now) >= silence.0
            && self.state.told.insert(EventKind::Silent)
        {
            let text = format!(
                "no new head since {:.0}: {} for longer than {silence}",
                self.state.since,
                head.tree.size.records()
            );
            self.event(EventKind::Silent, text, None, None);
        }
        if is_new {
            self.state.read = self.followed.from.unwrap_or(head.tree.size.0).min(head.tree.size.0);
        }
        self.keep().await?;
        let gosum = Gosum::read(self.followed)?;
        self.read(&head, &gosum).await?;
        self.look_up(&gosum).await
    }

    /// The newest head, after every URL was asked for its own: two that show different trees are found out here. One that does not
    /// answer, or is behind, is no news while another one can be verified.
    async fn newest(&self) -> Result<Arc<SeenHead>, Stop> {
        let mut failures = Vec::new();
        for view in self.views {
            match view.advance(self.deadline()).await {
                Ok(_) => {}
                Err(error @ (RemoteError::Misbehavior(_) | RemoteError::Store(_))) => {
                    return Err(self.stop(error));
                }
                Err(error) => {
                    failures.push(error.to_string());
                    self.compare_view(view).await?;
                }
            }
        }
        match self.log.newest().filter(|_| failures.len() < self.views.len()) {
            Some(newest) => Ok(newest),
            None => Err(Stop::Failed(failures.join("; "))),
        }
    }

    /// A URL that shows another tree, and a smaller one, has no tiles that could be verified: those of the other URLs convict it.
    async fn compare_view(&self, view: &RemoteLog) -> Result<(), Stop> {
        let Ok(shown) = view.fetch_head(self.deadline()).await else { return Ok(()) };
        match self.log.compare_head(&shown.tree, &shown.note, self.deadline()).await {
            Err(error @ (RemoteError::Misbehavior(_) | RemoteError::Store(_))) => Err(self.stop(error)),
            // It was said why this URL cannot be followed.
            _ => Ok(()),
        }
    }

    /// The head in the state is one of this log, also when the database of its heads was lost.
    async fn hold_to_state(&self, newest: &SeenHead) -> Result<(), Stop> {
        let kept = &self.state.head;
        let Ok(root) = kept.root.parse() else { return Ok(()) };
        let tree = TreeHead { size: TreeSize(kept.size), root };
        if kept.note.is_empty() || newest.tree == tree {
            return Ok(());
        }
        let seen = self.log.head(tree.size).map_err(|error| self.stop(error))?;
        if seen.is_some_and(|seen| seen.tree == tree) {
            return Ok(());
        }
        let heard = self.log.compare_head(&tree, &kept.note, self.deadline()).await;
        match heard.map_err(|error| self.stop(error))? {
            HeadComparison::Consistent { .. } => Ok(()),
            HeadComparison::Ahead { .. } => Err(Stop::Failed(format!(
                "the log shows {}, after {}",
                newest.tree.size.records(),
                tree.size
            ))),
        }
    }

    /// Looks at new records, a tile at a time; each is looked at once.
    async fn read(&mut self, head: &SeenHead, gosum: &Gosum) -> Result<(), Stop> {
        let wants = !self.followed.modules.is_empty() || !self.followed.gosum.is_empty();
        if !wants {
            self.state.read = head.tree.size.0;
            return Ok(());
        }
        let end = head.tree.size.0.min(self.state.read.saturating_add(RECORDS_PER_POLL));
        while self.state.read < end {
            let number = self.state.read / TILE_WIDTH;
            let texts = match self.log.read_records(number, &head.tree).await {
                Ok(texts) => texts,
                Err(RecordsError::NoDataTiles { said, .. }) => {
                    if self.state.told.insert(EventKind::HeadsOnly) {
                        let said = said.replace("\n  ", "; ");
                        let text =
                            format!("only its heads are followed, since no URL gives its records: {said}");
                        self.event(EventKind::HeadsOnly, text, None, None);
                    }
                    return Ok(());
                }
                Err(RecordsError::Remote(error)) => return Err(self.stop(error)),
                Err(RecordsError::Store(error)) => {
                    let (log, source) = (self.followed.name.value.clone(), Arc::new(error));
                    return Err(MonitorError::Store { log, source }.into());
                }
            };
            self.recovered(EventKind::HeadsOnly, "its records can be read again");
            let (first, from) = (number * TILE_WIDTH, self.state.read);
            for (id, text) in (first..).zip(&texts).filter(|(id, _)| *id >= from) {
                self.look(RecordId(id), text, gosum).await?;
            }
            self.state.read = first + texts.len() as u64;
            self.keep().await?;
        }
        Ok(())
    }

    /// Looks at one record.
    async fn look(&mut self, id: RecordId, text: &str, gosum: &Gosum) -> Result<(), Stop> {
        // The path alone first: nearly no record is of interest.
        let path = text.split(' ').next().unwrap_or_default();
        let is_watched = self.followed.modules.matches(path);
        if !is_watched && gosum.is_empty() {
            return Ok(());
        }
        let Ok(lines) = ModuleLines::parse(text) else { return Ok(()) };
        let differs = gosum.differs(&lines);
        if !is_watched && !differs {
            return Ok(());
        }
        let found = self.found(id, text, &lines).await?;
        if differs {
            self.conflict(&lines, &found, gosum);
        }
        if is_watched {
            let text = format!("{} was published: record {id} of {}", lines.module, self.followed.name);
            self.event(EventKind::Module, text, Some(found.clone()), None);
            self.compare(&lines, &found).await?;
        }
        Ok(())
    }

    /// Whether the other logs have the same lines. One that cannot be asked now says nothing about this log, nor does one that
    /// must not be told the path.
    async fn compare(&mut self, lines: &ModuleLines, found: &FoundRecord) -> Result<(), Stop> {
        for name in &*self.followed.compare {
            let other = self.monitor.logs.iter().find(|log| *log.followed.name == *name);
            let other = other.expect("the configuration names logs that there are");
            if !other.followed.may_be_told(lines.module.path.as_str()) {
                continue;
            }
            match other.remote.lookup(&lines.module, self.deadline()).await {
                Ok(proven) if proven.lines == *lines => {}
                Ok(proven) => {
                    let text = format!(
                        "record {} of {} and record {} of {name} have other hashes for {}",
                        found.record, self.followed.name, proven.record, lines.module
                    );
                    self.event(
                        EventKind::LogConflict,
                        text,
                        Some(found.clone()),
                        Some(proven.lines.to_text()),
                    );
                }
                Err(RemoteError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(log = name, module = %lines.module, %error, "a module version cannot be compared");
                }
            }
        }
        Ok(())
    }

    fn lagging(&mut self, why: &str) {
        let now = self.monitor.clock.now();
        if since(self.state.verified_at, now) >= self.followed.lag.0
            && self.state.told.insert(EventKind::Lagging)
        {
            let text = format!("nothing could be verified since {:.0}: {why}", self.state.verified_at);
            self.event(EventKind::Lagging, text, None, None);
        }
    }

    fn fork(&mut self, found: &Misbehavior) {
        if self.state.told.insert(EventKind::Fork) {
            let text = "the log has signed two trees that contradict each other".to_owned();
            self.event(EventKind::Fork, text, None, Some(found.to_text()));
        }
    }

    fn recovered(&mut self, from: EventKind, text: &str) {
        if self.state.told.remove(&from) {
            self.event(EventKind::Recovered, text.to_owned(), None, None);
        }
    }

    fn event(&mut self, kind: EventKind, text: String, found: Option<FoundRecord>, evidence: Option<String>) {
        let (at, log) = (self.monitor.clock.now(), self.followed.name.value.clone());
        self.events.push(Event { id: 0, at, log, kind, text, found, evidence });
    }

    /// Makes what is known so far durable, with the events that came of it.
    async fn keep(&mut self) -> Result<(), MonitorError> {
        let (name, state) = (self.followed.name.value.clone(), self.state.clone());
        let events = std::mem::take(&mut self.events);
        let numbered = self.monitor.change(events, |logs| drop(logs.insert(name, state))).await?;
        self.state.events += numbered.len() as u64;
        self.done.extend(numbered);
        Ok(())
    }
}

fn tree_of(head: &SeenHead) -> Tree {
    Tree { size: head.tree.size.0, root: head.tree.root.to_string(), note: head.note.clone() }
}

/// How long ago; a clock that was set back gives zero.
fn since(then: jiff::Timestamp, now: jiff::Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}
