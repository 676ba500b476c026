//! Records in bulk, taken as they are: this side parses and hashes while the sequencer commits.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::event::{Events, Gone, ImportEvent, RecordConflict, RecordsDone, stopping};
use super::parser::{RecordParser, TrustedRecord};
use crate::gosum::ModuleLines;
use crate::log::{AppendOutcome, Candidate, Conflict, Log, Submitted};
use crate::operate::operations::Operations;
use crate::operate::refusal::Refusal;
use crate::store::Evidence;

/// Records in one append. The sequencer makes larger commits of those that wait, so this only
/// bounds how long a look-up stands behind one of them.
const BATCH_RECORDS: usize = 4_096;
/// Appends that are under way while more is parsed: as many as the sequencer commits at once, and
/// as many again.
const BATCHES_UNDER_WAY: usize = 8;

impl Operations {
    /// Imports a record stream, whose pieces come through `stream`, and tells how many records are
    /// durable. The importer's name was [checked](super::check_importer).
    pub(crate) async fn import_records(
        self,
        importer: Arc<str>,
        mut stream: mpsc::Receiver<Bytes>,
        events: mpsc::Sender<ImportEvent>,
    ) {
        let events = Events(events);
        let log = match self.own() {
            Ok((log, _)) => log.clone(),
            Err(refusal) => return drop(events.tell(ImportEvent::Stopped(refusal)).await),
        };
        let evidence = Arc::new(Evidence::Imported { importer: importer.to_string() });
        let mut import = Import { log, events, under_way: VecDeque::new(), done: RecordsDone::default() };
        let last = match import.follow(&self, &mut stream, evidence).await {
            Ok(last) => last,
            Err(Ended::Gone) => return,
            Err(Ended::Refused(refusal)) => ImportEvent::Stopped(refusal),
        };
        let _ = import.events.tell(last).await;
    }
}

struct Import {
    log: Log,
    events: Events,
    under_way: VecDeque<UnderWay>,
    done: RecordsDone,
}

/// A batch on its way into the log.
struct UnderWay {
    append: Submitted,
    /// The first line of each record.
    lines: Vec<u64>,
    /// Bytes of the stream up to its end.
    end: u64,
}

/// Why an import goes no further.
enum Ended {
    Gone,
    Refused(Refusal),
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Ended {
        Ended::Gone
    }
}

impl Import {
    /// Returns how it ended; everything that was parsed before is durable then.
    async fn follow(
        &mut self,
        operations: &Operations,
        stream: &mut mpsc::Receiver<Bytes>,
        evidence: Arc<Evidence>,
    ) -> Result<ImportEvent, Ended> {
        let (mut parser, mut records) = (RecordParser::new(evidence), Vec::new());
        let last = loop {
            let piece = tokio::select! {
                () = operations.stopped() => break stopping(),
                piece = stream.recv() => piece,
            };
            let parsed = match &piece {
                Some(piece) => parser.feed(piece, &mut records),
                None => parser.end(),
            };
            match parsed {
                Err(error) => break ImportEvent::Malformed(error),
                Ok(()) if piece.is_none() => break ImportEvent::Done,
                Ok(()) => {}
            }
            while records.len() >= BATCH_RECORDS {
                let rest = records.split_off(BATCH_RECORDS);
                self.submit(std::mem::replace(&mut records, rest)).await?;
            }
        };
        self.submit(records).await?;
        while self.settle().await? {}
        Ok(last)
    }

    /// Starts an append; waits for the oldest one when too many are under way.
    async fn submit(&mut self, records: Vec<TrustedRecord>) -> Result<(), Ended> {
        let Some(end) = records.last().map(|record| record.end) else { return Ok(()) };
        let (candidates, lines): (Vec<Candidate>, _) =
            records.into_iter().map(|TrustedRecord { candidate, line, .. }| (candidate, line)).unzip();
        // Submitted one after the other: the records enter the log in the stream's order.
        let append = self.log.submit(candidates).await;
        let append = append.map_err(|error| Ended::Refused(Refusal::from(&error)))?;
        self.under_way.push_back(UnderWay { append, lines, end });
        if self.under_way.len() > BATCHES_UNDER_WAY {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the oldest append and tells about it. False when none is under way.
    async fn settle(&mut self) -> Result<bool, Ended> {
        let Some(UnderWay { append, lines, end }) = self.under_way.pop_front() else { return Ok(false) };
        let receipt = append.receipt().await.map_err(|error| Ended::Refused(Refusal::from(&error)))?;
        for (outcome, line) in receipt.outcomes.into_iter().zip(lines) {
            match outcome {
                AppendOutcome::Appended(_) => self.done.new += 1,
                AppendOutcome::Present(_) => self.done.present += 1,
                AppendOutcome::Conflict(conflict) => {
                    self.done.conflicts += 1;
                    self.events.tell(ImportEvent::Conflict(told(line, *conflict))).await?;
                }
            }
        }
        self.done.bytes = end;
        self.events.tell(ImportEvent::Progress(self.done)).await?;
        Ok(true)
    }
}

fn told(line: u64, Conflict { standing, offered }: Conflict) -> RecordConflict {
    let text = |lines: &ModuleLines| lines.to_text().lines().map(str::to_owned).collect();
    RecordConflict {
        line,
        record: standing.id.0,
        standing: text(&standing.lines),
        offered: text(&offered),
        module: offered.module,
    }
}
