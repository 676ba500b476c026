//! Records in bulk, taken as they are: this side parses and hashes while the sequencer commits.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use http_body_util::BodyExt;

use super::stream::{Gone, drain};
use super::{
    Committed, Control, Event, Events, Malformation, RecordConflict, RecordParser, Refusal, Trusted,
};
use crate::log::{AppendOutcome, Candidate, Submitted};
use crate::store::Evidence;

/// Records in one append. The sequencer makes larger commits of those that wait, so this only bounds how long a look-up
/// stands behind one of them.
const BATCH_RECORDS: usize = 4_096;
/// Appends that are under way while more is parsed: as many as the sequencer commits at once, and as many again.
const BATCHES_UNDER_WAY: usize = 8;

/// Reads records and tells how many are durable.
pub(super) async fn import(control: Control, importer: Arc<str>, mut body: Body, events: Events) {
    let evidence = Arc::new(Evidence::Imported { importer: importer.to_string() });
    let mut import = Import { control, events, under_way: VecDeque::new(), done: Committed::default() };
    let last = match import.follow(&mut body, evidence).await {
        Ok(last) => last,
        Err(Ended::Gone) => return,
        Err(Ended::Refused(refusal)) => Event::Stopped(refusal),
    };
    let _ = import.events.tell(&last).await;
    drain(&mut body).await;
}

struct Import {
    control: Control,
    events: Events,
    under_way: VecDeque<UnderWay>,
    done: Committed,
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
    async fn follow(&mut self, body: &mut Body, evidence: Arc<Evidence>) -> Result<Event, Ended> {
        let (mut parser, mut records) = (RecordParser::new(evidence), Vec::new());
        let last = loop {
            let frame = tokio::select! {
                () = self.control.stopped() => break Event::Stopped(super::modules::stopping()),
                frame = body.frame() => frame,
            };
            let parsed = match frame {
                Some(Ok(frame)) => parser.feed(&frame.into_data().unwrap_or_default(), &mut records),
                // The command went away: nobody listens, and what it sent last may be half of something.
                Some(Err(_)) => return Err(Ended::Gone),
                None => match parser.end() {
                    Ok(()) => break Event::Done,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = parsed {
                break Event::Malformed(Malformation { line: error.line, why: error.why });
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
    async fn submit(&mut self, records: Vec<Trusted>) -> Result<(), Ended> {
        let Some(end) = records.last().map(|record| record.end) else { return Ok(()) };
        let (candidates, lines): (Vec<Candidate>, _) =
            records.into_iter().map(|Trusted { candidate, line, .. }| (candidate, line)).unzip();
        // Submitted one after the other: the records enter the log in the stream's order.
        let append = self.control.log().submit(candidates).await;
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
                    let text = |lines: crate::gosum::ModuleLines| {
                        lines.to_text().lines().map(str::to_owned).collect::<Vec<_>>()
                    };
                    let event = Event::Conflict(RecordConflict {
                        line,
                        module: conflict.offered.module.clone(),
                        record: conflict.standing.id.0,
                        standing: text(conflict.standing.lines),
                        offered: text(conflict.offered),
                    });
                    self.events.tell(&event).await?;
                }
            }
        }
        self.done.bytes = end;
        self.events.tell(&Event::Progress(self.done)).await?;
        Ok(true)
    }
}
