//! go.sum files against a log: its new records as they are read, and, where that is wanted, its old ones by look-ups.
//!
//! A go.sum that people have is mostly about records that were there before the monitor began. With `lookup = true` each of its module
//! versions is looked up once, proved by the mirror's engine as any look-up is. That tells the log their names: `private` ones are left
//! out, also in another case and with the path right above them, and are compared only as far as records are read (`from = 0`
//! reads all).
//!
//! ```text
//! the lines, sorted → [agrees | conflict: an event, once | the log has none: counted | not proved: counted, tried again]
//! ```
//!
//! How far that is, and for which lines, is in the state ([`Pass`]), in the same write as the events. Other lines begin a new pass, in
//! which what was proved before is answered by the monitor's own database. A module version that the log does not have is no event:
//! many go.sum files name some that nobody ever looked up there. It is asked for again after a day.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::{Poll, Stop, tree_of};
use crate::gosum::ModuleLines;
use crate::mirror::{ProvenRecord, RemoteError};
use crate::module::ModuleVersion;
use crate::monitor::event::{EventKind, FoundRecord};
use crate::monitor::gosum::Gosum;
use crate::monitor::state::{LogState, Pass};
use crate::tlog::{Hash, RecordId};

/// Look-ups in flight: each is about a dozen small requests while nothing is cached, and the log's operators should not notice.
const IN_FLIGHT: usize = 8;
/// Look-ups after which the state is written: as many are done again after a kill, most of them without the network.
const STEP: usize = 64;
/// Look-ups of one poll, so that new records and the other logs are not kept waiting.
const LOOKUPS_PER_POLL: u64 = 1024;
/// What the log did not have is asked for again after this long,
const MISSING_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// and what could not be proved after this long.
const FAILED_PAUSE: Duration = Duration::from_secs(3600);

impl LogState {
    /// The pass over these lines that is under way or done; a new one where there is none, or it is due again.
    fn pass(&mut self, gosum: &Gosum, now: Timestamp) -> Pass {
        let stands = |pass: &Pass| pass.digest == gosum.digest && pass.again_at.is_none_or(|at| now < at);
        if let Some(pass) = self.gosum.clone().filter(stands) {
            return pass;
        }
        // What the files do not say any more is news if they ever say it again.
        let said: BTreeSet<String> = gosum.lines.keys().map(|(module, _)| gosum.known(module)).collect();
        self.conflicts.retain(|lines| said.contains(lines));
        Pass { digest: gosum.digest.clone(), total: gosum.asked.len() as u64, ..Pass::default() }
    }

    /// Module versions that are still to be asked for.
    pub(super) fn lookups_to_come(&self) -> u64 {
        self.gosum.as_ref().map_or(0, |pass| pass.total - pass.next)
    }
}

impl Poll<'_> {
    /// Looks up lines whose records were there before, as many as one poll may.
    pub(super) async fn look_up(&mut self, gosum: &Gosum) -> Result<(), Stop> {
        if !*self.followed.lookup {
            self.state.gosum = None;
            return Ok(());
        }
        let now = self.monitor.clock.now();
        let mut pass = self.state.pass(gosum, now);
        let end = pass.total.min(pass.next + LOOKUPS_PER_POLL);
        while pass.next < end {
            let step = &gosum.asked[pass.next as usize..(pass.next as usize + STEP).min(end as usize)];
            let mut failures = Vec::new();
            for (module, answer) in self.ask(step).await {
                match answer {
                    Ok(proven) => {
                        self.hold_to_lines(&proven, gosum).await?;
                        pass.checked += 1;
                    }
                    Err(RemoteError::NotFound { .. }) => pass.missing += 1,
                    Err(error @ (RemoteError::Misbehavior(_) | RemoteError::Store(_))) => {
                        return Err(self.stop(error));
                    }
                    Err(error) => failures.push((module, error)),
                }
            }
            // One that cannot be proved must not keep the others from it. A log that answers none is asked again from here.
            if failures.len() == step.len()
                && let Some((_, error)) = failures.pop()
            {
                return Err(self.stop(error));
            }
            for (module, error) in failures {
                tracing::warn!(log = *self.followed.name, %module, %error, "a go.sum line cannot be compared now");
            }
            pass.next += step.len() as u64;
            self.state.gosum = Some(pass.clone());
            self.keep().await?;
        }
        if pass.next == pass.total && pass.again_at.is_none() {
            let pause = match pass.total - pass.checked - pass.missing {
                0 => (pass.missing > 0).then_some(MISSING_PAUSE),
                _ => Some(FAILED_PAUSE),
            };
            pass.again_at = pause.map(|pause| now.saturating_add(pause).expect("a day is a span of time"));
        }
        self.state.gosum = Some(pass);
        Ok(())
    }

    /// Looks up these module versions, some at a time. Answers come in their order.
    async fn ask(
        &self,
        modules: &[ModuleVersion],
    ) -> Vec<(ModuleVersion, Result<ProvenRecord, RemoteError>)> {
        let (mut tasks, mut left) = (JoinSet::new(), modules.iter().cloned().enumerate());
        let mut answers = Vec::with_capacity(modules.len());
        loop {
            while tasks.len() < IN_FLIGHT
                && let Some((at, module)) = left.next()
            {
                let (log, deadline) = (self.log.clone(), self.deadline());
                tasks.spawn(async move {
                    let answer = log.lookup(&module, deadline).await;
                    (at, module, answer)
                });
            }
            let Some(answer) = tasks.join_next().await else { break };
            answers.push(answer.expect("a look-up does not panic"));
        }
        answers.sort_by_key(|(at, ..)| *at);
        answers.into_iter().map(|(_, module, answer)| (module, answer)).collect()
    }

    async fn hold_to_lines(&mut self, proven: &ProvenRecord, gosum: &Gosum) -> Result<(), Stop> {
        if gosum.differs(&proven.lines) {
            let found = self.found(proven.record, &proven.text, &proven.lines).await?;
            self.conflict(&proven.lines, &found, gosum);
        }
        Ok(())
    }

    /// A record, and what proves it under the newest head.
    pub(super) async fn found(
        &self,
        id: RecordId,
        text: &str,
        lines: &ModuleLines,
    ) -> Result<FoundRecord, Stop> {
        let head = self.log.head_for(id).expect("a record was proved under a head that is known");
        let leaf = Hash::of_record(text.as_bytes());
        let proof = self.log.prove_under(id, &leaf, &head.tree).await.map_err(|error| self.stop(error))?;
        Ok(FoundRecord {
            module: lines.module.to_string(),
            record: id.0,
            lines: text.lines().map(str::to_owned).collect(),
            tree: tree_of(&head),
            hashes: proof.0.iter().map(Hash::to_string).collect(),
        })
    }

    /// Tells of a record that disagrees with the files, once for these lines of theirs.
    pub(super) fn conflict(&mut self, lines: &ModuleLines, found: &FoundRecord, gosum: &Gosum) {
        let known = gosum.known(&lines.module);
        if self.state.conflicts.insert(known.clone()) {
            let (name, record) = (&self.followed.name, found.record);
            let text = format!("record {record} of {name} has other hashes for {} than go.sum", lines.module);
            self.event(EventKind::GosumConflict, text, Some(found.clone()), Some(known));
        }
    }
}
