//! `tallystick import`: many lines at once.

mod modules;
mod records;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::exit::OrExit as _;
use super::founding::NewLog;
use super::session::{Needs, Session};
use super::{Common, Exit, block_on};
use crate::config::Config;
use crate::operate::check_importer;

/// Parts of an import that may wait.
const QUEUE_PARTS: usize = 4;

/// Enter the lines of go.sum files, each by its route
#[derive(Debug, Args)]
#[command(after_help = "\
Each line follows its route: the log gets what the route's source says, a lone /go.mod line is completed, and a line \
that disagrees with the log is kept as an incident (exit code 4). The other lines are imported all the same.

With --trust the files are plain record streams that enter as they are, with the importer's name as their only \
evidence. A record is the two go.sum lines of a module version, the zip's first; blank lines may stand between \
records, not within one. That is what the data tiles of a log hold:

  rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
  rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=

A stream that ends early, or has something else in it, can be repaired and imported again: what is in the log \
already is counted as present.

A running server does the work through its control socket; without one the log is opened here.

Lines that the go command itself never uses, such as those with an h2: hash, are named and left out.

Examples:
  tallystick import go.sum
  tallystick import a/go.sum b/go.sum --json
  tallystick import records.txt --trust --importer build-7
  zstdcat records.zst | tallystick import - --trust --importer build-7")]
pub(super) struct ImportCommand {
    /// go.sum files; with --trust, record streams; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Enter plain records as they are, without asking any source
    #[arg(long, requires = "importer")]
    trust: bool,
    /// Who imports: the evidence of trusted records, and named in incidents [default: your user name]
    #[arg(long, value_name = "NAME", value_parser = importer)]
    importer: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    new_log: NewLog,
}

fn importer(name: &str) -> Result<String, String> {
    check_importer(name)?;
    Ok(name.to_owned())
}

/// What to import.
struct Options {
    config: Config,
    files: Vec<Input>,
    importer: String,
    json: bool,
    new_log: NewLog,
}

impl ImportCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        let files = self.files.iter().map(|path| Input::open(path)).collect::<Result<_, _>>();
        let files = files.or_exit(Exit::Usage)?;
        let importer = self.importer.unwrap_or_else(user_name);
        let options = Options { config, files, importer, json: self.json, new_log: self.new_log };
        block_on(async {
            if self.trust { records::import(options).await } else { modules::import(options).await }
        })
    }
}

/// For incidents only, so that a name which is not known or cannot stand there is no reason to stop.
pub(super) fn user_name() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| check_importer(name).is_ok()).unwrap_or_else(|| "unknown".to_owned())
}

/// A file to read, open before anything is written.
struct Input {
    name: String,
    /// Its length; not known of pipes.
    bytes: Option<u64>,
    reader: Box<dyn Read + Send>,
}

impl Input {
    fn open(path: &Path) -> anyhow::Result<Input> {
        let name = path.display().to_string();
        if name == "-" {
            return Ok(Input { name, bytes: None, reader: Box::new(io::stdin()) });
        }
        let cannot = || format!("cannot read {name}");
        let file = File::open(path).with_context(cannot).or_exit(Exit::Usage)?;
        let about = file.metadata().with_context(cannot).or_exit(Exit::Usage)?;
        if about.is_dir() {
            return Err(anyhow::anyhow!("cannot read {name}: it is a directory")).or_exit(Exit::Usage);
        }
        let bytes = about.is_file().then_some(about.len());
        Ok(Input { name, bytes, reader: Box::new(file) })
    }
}

/// Runs an import in a session, which is closed however it ends.
async fn in_session<T>(
    config: &Config,
    needs: Needs,
    new_log: NewLog,
    import: impl AsyncFnOnce(&mut Session) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut session = Session::open_or_found(config, needs, new_log).await?;
    let result = import(&mut session).await;
    let closed = session.close().await;
    let result = result?;
    closed?;
    Ok(result)
}
