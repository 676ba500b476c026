//! Record streams: read in pieces, sent as they are, counted when they are durable.

use std::io::{self, Read};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{Input, Needs, Options, QUEUE_PARTS, in_session};
use crate::cli::exit::{OrExit as _, text_of};
use crate::cli::session::{Session, refused};
use crate::cli::{Exit, ProgressMeter, output};
use crate::operate::{ImportEvent, MalformedLine, RecordConflict, RecordsDone};

/// What is read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Conflicts that are listed; the others are counted, and all are kept as incidents.
const MAX_LISTED: usize = 1_000;

/// Imports record streams, one after the other, up to the first that is malformed.
pub(super) async fn import(options: Options) -> anyhow::Result<Exit> {
    let Options { config, files, importer, json, new_log } = options;
    let mut report = RecordsOutput::default();
    let (result, report) = in_session(&config, Needs::Log, new_log, async |session| {
        let mut result = Ok(());
        for file in files {
            result = import_file(session, &importer, file, &mut report).await;
            if result.is_err() {
                break;
            }
        }
        Ok((result, report))
    })
    .await?;
    if json {
        output::print_json(&report)?;
    } else {
        report.print()?;
    }
    let exit = match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            let total = report.new + report.present + report.conflict;
            let (records, are) = (output::count(total, "record"), if total == 1 { "is" } else { "are" });
            let stay = if total == 1 { "stays" } else { "stay" };
            let why = text_of(&error);
            output::error(&format!("{why}\n  {records} before it {are} in the log and {stay} there"));
            Exit::of(&error)
        }
    };
    Ok(if report.conflict > 0 { Exit::Damage } else { exit })
}

/// The result of an import.
#[derive(Debug, Default, Serialize)]
struct RecordsOutput {
    /// Records that are new.
    new: u64,
    /// Records that were there already.
    present: u64,
    /// Records that disagree with what stands.
    conflict: u64,
    /// The same for each file.
    files: Vec<ImportedFile>,
    /// The first conflicts.
    conflicts: Vec<FileConflict>,
}

#[derive(Debug, Serialize)]
struct ImportedFile {
    file: String,
    #[serde(flatten)]
    committed: RecordsDone,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<MalformedLine>,
}

#[derive(Debug, Serialize)]
struct FileConflict {
    file: String,
    #[serde(flatten)]
    conflict: RecordConflict,
}

async fn import_file(
    session: &mut Session,
    importer: &str,
    input: Input,
    report: &mut RecordsOutput,
) -> anyhow::Result<()> {
    let Input { name, bytes, reader } = input;
    let (sender, stream) = mpsc::channel(QUEUE_PARTS);
    let reading = read(reader, sender);
    let mut importing = session.import_records(importer, stream).await?;
    let mut progress = ProgressMeter::bytes("records", bytes);
    let mut committed = RecordsDone::default();
    let last = loop {
        match importing.next().await {
            Ok(ImportEvent::Progress(now)) => {
                committed = now;
                progress.set(now.bytes);
                progress.say(output::count(now.records(), "record"));
            }
            Ok(ImportEvent::Conflict(conflict)) => {
                if report.conflicts.len() < MAX_LISTED {
                    report.conflicts.push(FileConflict { file: name.clone(), conflict });
                }
            }
            last => break last,
        }
    };
    progress.finish();
    report.new += committed.new;
    report.present += committed.present;
    report.conflict += committed.conflicts;
    let mut file = ImportedFile { file: name.clone(), committed, malformed: None };
    let result = match last {
        Ok(ImportEvent::Done) => finish(reading, &name).await,
        Ok(ImportEvent::Malformed(malformed)) => {
            let MalformedLine { line, why } = &malformed;
            let error = anyhow!("{name}:{line}: {why}");
            file.malformed = Some(malformed);
            Err(error).or_exit(Exit::Usage)
        }
        Ok(ImportEvent::Stopped(refusal)) => refused(refusal),
        Ok(other) => Err(anyhow!("the server answered {other:?}")),
        Err(error) => Err(error),
    };
    report.files.push(file);
    result
}

/// Reads on a thread of its own, as fast as it is taken. The thread is never waited for: nobody knows when standard
/// input gives something again.
fn read(reader: Box<dyn Read + Send>, parts: mpsc::Sender<Bytes>) -> oneshot::Receiver<io::Result<()>> {
    let (sender, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let read = read_pieces(reader, &parts);
        // The stream ends when its sender goes: by then it is known why.
        let _ = sender.send(read);
        drop(parts);
    });
    ended
}

fn read_pieces(mut reader: Box<dyn Read + Send>, parts: &mpsc::Sender<Bytes>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let length = match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        piece.truncate(length);
        // An import that takes no more says why.
        if parts.blocking_send(piece.into()).is_err() {
            return Ok(());
        }
    }
}

/// A stream that was taken whole was also read whole, or the file could not be read to its end.
async fn finish(reading: oneshot::Receiver<io::Result<()>>, name: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {name} to its end");
    reading.await.with_context(cannot)?.with_context(cannot)
}

impl RecordsOutput {
    fn print(&self) -> anyhow::Result<()> {
        if !self.conflicts.is_empty() {
            let rows = self.conflicts.iter().map(|FileConflict { file, conflict }| {
                let RecordConflict { line, module, record, standing, offered } = conflict;
                let differs = offered.iter().zip(standing).find(|(offered, standing)| offered != standing);
                let hash = |line: &str| line.rsplit(' ').next().unwrap_or_default().to_owned();
                let why = differs.map_or_else(String::new, |(offered, standing)| {
                    format!("{} was offered, {} stands (record {record})", hash(offered), hash(standing))
                });
                [format!("{file}:{line}"), module.to_string(), why]
            });
            output::print_table(["conflict", "module", "why"], rows)?;
            let unlisted = self.conflict - self.conflicts.len() as u64;
            if unlisted > 0 {
                output::print(&format!("and {unlisted} more\n"))?;
            }
            output::print("\n")?;
        }
        let counts = [self.new, self.present, self.conflict];
        output::print_table(["new", "present", "conflict"], [counts.map(|count| count.to_string())])?;
        if self.conflict > 0 {
            output::error(
                "records disagree with the log; they were refused and are kept as incidents\n  fix: find out which side is \
                 wrong. A version keeps its hashes: there is no override",
            );
        }
        Ok(())
    }
}
