//! `tallystick gossip`: tells a server which heads this machine was shown.
//!
//! Every `go` command keeps the newest head that it ever verified, in `$GOPATH/pkg/sumdb/<name>/latest`; a module cache that is
//! thrown away does not take it along. Each is posted to `<server>/api/v1/gossip`, which compares it with what it knows itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::address;
use super::exit::OrExit;
use super::remote::Server;
use super::{Common, Exit, block_on, output, verify};
use crate::config::{Config, Environment, GoEnvironment};
use crate::gossip::NOTE_BYTES_MAX;
use crate::source::ServerUrl;
use crate::upstream::HttpAnswer;

/// Evidence holds two notes and a proof; a note may have 64 KiB.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// A server may have to ask the log itself first.
const DEADLINE: Duration = Duration::from_secs(60);
/// Directories below each other in `pkg/sumdb`: a log's name has slashes, and few of them.
const DEPTH_MAX: usize = 8;
/// Heads of one machine: it has seen a handful of logs.
const HEADS_MAX: usize = 1000;

/// Tell a server which tree heads this machine was shown, and find a split view
#[derive(Debug, Args)]
#[command(after_help = "\
Without URL the server is that of GOSUMDB (environment, then go env), or else that of the configuration. A log that the server \
does not know is passed over; nothing but the signed heads is sent.

Examples:
  tallystick gossip
  tallystick gossip https://sum.corp.example --json
  tallystick gossip https://sum.corp.example --head saved-note.txt")]
pub(super) struct GossipCommand {
    /// The server that compares
    #[arg(value_name = "URL")]
    server: Option<ServerUrl>,
    /// The GOPATH whose pkg/sumdb is read [default: the first of go env GOPATH]
    #[arg(long, value_name = "DIR", conflicts_with = "head")]
    gopath: Option<PathBuf>,
    /// A file with a signed head, in place of the go command's; may be given several times
    #[arg(long, value_name = "FILE")]
    head: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A head, and what the server says of it.
#[derive(Debug, Serialize)]
struct PostedHead {
    file: PathBuf,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Compared(Compared),
    Refused { verdict: &'static str, status: u16, detail: String },
}

#[derive(Debug, Deserialize, Serialize)]
struct Compared {
    log: String,
    is_own: bool,
    verdict: String,
    posted: Tree,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Tree>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Tree {
    size: u64,
    root: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl GossipCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let go = GoEnvironment::read(&Environment::of_process());
        let server = match &self.server {
            Some(server) => server.clone(),
            None => default_server(&config, &go)?,
        };
        let files = if self.head.is_empty() { kept_heads(self.gopath.as_deref(), &go)? } else { self.head };
        let mut told = Vec::new();
        if !files.is_empty() {
            told = block_on(tell(&config, &server, files))?;
        }
        if self.json {
            output::print_json(&told)?;
        } else if told.is_empty() {
            output::note("no go command of this user has seen a head yet");
        } else {
            output::print_table(
                ["log", "size", "verdict", "what it means"],
                told.iter().map(PostedHead::row),
            )?;
            for evidence in told.iter().filter_map(PostedHead::evidence) {
                output::print(&format!("\n{evidence}"))?;
            }
        }
        Ok(told.iter().map(PostedHead::exit).fold(Exit::Done, Exit::or_worse))
    }
}

/// The address of the checksum database that the `go` command asks, which may be behind a proxy's `/sumdb/` path.
fn default_server(config: &Config, go: &GoEnvironment) -> anyhow::Result<ServerUrl> {
    let named = go.var("GOSUMDB").and_then(|setting| setting.value.split_whitespace().nth(1));
    let text = match named {
        Some(named) => named.to_owned(),
        None => block_on(async { Ok(address::of_log(config).await.url) })?,
    };
    let root = text.split("/sumdb/").next().unwrap_or(&text);
    root.parse().with_context(|| format!("{root} is no address of a server: name one")).or_exit(Exit::Usage)
}

/// The `latest` files of the `go` command.
fn kept_heads(gopath: Option<&Path>, go: &GoEnvironment) -> anyhow::Result<Vec<PathBuf>> {
    let is_named = gopath.is_some();
    let first = |list: &str| std::env::split_paths(list).next();
    let gopath = gopath.map(Path::to_owned).or_else(|| go.var("GOPATH").and_then(|list| first(&list.value)));
    let gopath = gopath.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join("go")));
    let Some(gopath) = gopath else {
        return Err(anyhow!("GOPATH is not known here\n  fix: name it with --gopath")).or_exit(Exit::Usage);
    };
    if is_named && !gopath.is_dir() {
        let why = anyhow!(
            "there is no directory {}\n  fix: name the GOPATH whose pkg/sumdb is meant",
            gopath.display()
        );
        return Err(why).or_exit(Exit::Usage);
    }
    let mut files = Vec::new();
    let directory = gopath.join("pkg/sumdb");
    walk(&directory, DEPTH_MAX, &mut files)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    files.sort();
    Ok(files)
}

fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            walk(&entry.path(), depth - 1, files)?;
        } else if kind.is_file() && entry.file_name() == "latest" && files.len() < HEADS_MAX {
            // The go command makes it empty before it has seen a head.
            let length = entry.metadata()?.len();
            if length > 0 {
                files.push(entry.path());
            }
        }
    }
    Ok(())
}

async fn tell(config: &Config, server: &ServerUrl, files: Vec<PathBuf>) -> anyhow::Result<Vec<PostedHead>> {
    let server = Server::new(config, server)?;
    let mut told = Vec::new();
    for file in files {
        let note = verify::read(&file, NOTE_BYTES_MAX as u64).or_exit(Exit::Usage)?;
        told.push(PostedHead { answer: post(&server, note).await?, file });
    }
    Ok(told)
}

async fn post(server: &Server, note: Vec<u8>) -> anyhow::Result<Answer> {
    let HttpAnswer { status, body, .. } =
        server.post("api/v1/gossip", note, ANSWER_BYTES_MAX, DEADLINE).await?;
    if (200..300).contains(&status) {
        let compared = serde_json::from_slice(&body);
        return compared.map(Answer::Compared).with_context(|| {
            format!("{server} is no Tallystick server: /api/v1/gossip is not the JSON that one answers")
        });
    }
    let Ok(Problem { detail }) = serde_json::from_slice(&body) else {
        bail!("{server} is no Tallystick server: it answered {status} for /api/v1/gossip");
    };
    let verdict = match status {
        404 => "unknown",
        429 | 500..=599 => "not compared",
        _ => "refused",
    };
    Ok(Answer::Refused { verdict, status, detail })
}

impl PostedHead {
    fn row(&self) -> [String; 4] {
        match &self.answer {
            Answer::Compared(Compared { log, is_own, verdict, posted, known, .. }) => {
                let newest = known
                    .as_ref()
                    .map_or("no head yet".to_owned(), |known| output::count(known.size, "record"));
                let meaning = match (verdict.as_str(), is_own) {
                    ("consistent", _) => format!("one log with the server's head of {newest}"),
                    ("ahead", true) => format!("ALARM: the server has {newest}: its log was rolled back"),
                    ("ahead", false) => format!("the server knows {newest} and will look again"),
                    ("fork", _) => "ALARM: the log has signed two trees; the evidence is below".to_owned(),
                    _ => "an answer that this program does not know".to_owned(),
                };
                [log.clone(), posted.size.to_string(), verdict.clone(), meaning]
            }
            Answer::Refused { verdict, detail, .. } => {
                let log = self.file.parent().and_then(Path::file_name).unwrap_or(self.file.as_os_str());
                [log.to_string_lossy().into_owned(), "-".to_owned(), (*verdict).to_owned(), detail.clone()]
            }
        }
    }

    fn evidence(&self) -> Option<&str> {
        match &self.answer {
            Answer::Compared(compared) => compared.evidence.as_deref(),
            Answer::Refused { .. } => None,
        }
    }

    fn exit(&self) -> Exit {
        match &self.answer {
            Answer::Compared(Compared { verdict, is_own, .. }) => match (verdict.as_str(), is_own) {
                ("consistent", _) | ("ahead", false) => Exit::Done,
                ("fork", _) | ("ahead", true) => Exit::Damage,
                _ => Exit::Failed,
            },
            Answer::Refused { status: 404, .. } => Exit::Done,
            Answer::Refused { status: 429 | 500..=599, .. } => Exit::Unreachable,
            Answer::Refused { .. } => Exit::Failed,
        }
    }
}
