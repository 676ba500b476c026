//! What was named on the command line: which reader it is for.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::check::{GatherError, Gathered, downloads, go_sum, is_program, program, project, vendored};
use crate::cli::exit::OrExit;
use crate::cli::go_sum::MAX_GO_SUM_BYTES;
use crate::cli::{Exit, ProgressMeter, verify};
use crate::config::GoEnvironment;

/// `go mod download -json` says about 1 KB for each module.
const MAX_STREAM_BYTES: u64 = 256 << 20;
/// Enough to tell a program from a text.
const START_BYTES: usize = 8;

/// Reads one INPUT.
pub(super) fn read(input: &Path, vendor: bool) -> anyhow::Result<Gathered> {
    let gathered = if input == Path::new("-") {
        return stream();
    } else if input.is_dir() {
        directory(input, vendor)
    } else {
        file(input)?
    };
    gathered.or_exit(Exit::Usage)
}

fn stream() -> anyhow::Result<Gathered> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_STREAM_BYTES + 1).read_to_end(&mut bytes);
    read.context("cannot read standard input")?;
    if bytes.len() as u64 > MAX_STREAM_BYTES {
        return Err(anyhow!("standard input has more than {MAX_STREAM_BYTES} bytes")).or_exit(Exit::Usage);
    }
    let is_json = bytes.trim_ascii_start().starts_with(b"{");
    let gathered = if is_json { downloads("-", &bytes) } else { go_sum("-", &bytes) };
    gathered.or_exit(Exit::Usage)
}

fn directory(directory: &Path, vendor: bool) -> Result<Gathered, GatherError> {
    let mut gathered = project(directory)?;
    if vendor {
        let bar = std::cell::RefCell::new(None);
        let compared = vendored(directory, |done, total| {
            bar.borrow_mut().get_or_insert_with(|| ProgressMeter::new("vendored modules", total)).set(done);
        });
        if let Some(bar) = bar.into_inner() {
            bar.finish();
        }
        gathered.append(compared?);
    }
    Ok(gathered)
}

fn file(path: &Path) -> anyhow::Result<Result<Gathered, GatherError>> {
    let name = path.display().to_string();
    let is_regular = path.metadata().is_ok_and(|about| about.is_file());
    let mut start = [0; START_BYTES];
    if is_regular {
        let mut file = std::fs::File::open(path).with_context(|| format!("cannot read {name}")).or_exit(Exit::Usage)?;
        // A shorter file is no program.
        let _ = file.read(&mut start).with_context(|| format!("cannot read {name}"))?;
    }
    if is_program(&start) {
        return Ok(program(path));
    }
    Ok(go_sum(&name, &verify::read(path, MAX_GO_SUM_BYTES).or_exit(Exit::Usage)?))
}

/// Hashes the module cache that was named, or that of the `go` command.
pub(super) fn module_cache(named: Option<&Path>, go: &GoEnvironment) -> anyhow::Result<Gathered> {
    let of_go = || go.var("GOMODCACHE").map(|setting| PathBuf::from(&setting.value));
    let Some(root) = named.map(Path::to_owned).or_else(of_go) else {
        let why = go.failure.clone().unwrap_or_else(|| "go env names none".to_owned());
        return Err(anyhow!("the module cache is not known: {why}\n  fix: name it with --modcache=DIR")).or_exit(Exit::Usage);
    };
    let bar = std::cell::RefCell::new(None);
    let gathered = crate::check::module_cache(&root, |done, total| {
        bar.borrow_mut().get_or_insert_with(|| ProgressMeter::new("downloads", total)).set(done);
    });
    if let Some(bar) = bar.into_inner() {
        bar.finish();
    }
    gathered.or_exit(Exit::Usage)
}
