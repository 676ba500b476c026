//! What was named on the command line: which reader it is for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::check::{GatherError, Gathered, downloads, go_sum, is_program, program, project, vendored};
use crate::cli::ProgressMeter;
use crate::cli::go_sum::MAX_GO_SUM_BYTES;
use crate::config::GoEnvironment;
use crate::files;

/// `go mod download -json` says about 1 KB for each module.
const MAX_STREAM_BYTES: u64 = 256 << 20;
/// Enough to tell a program from a text.
const START_BYTES: usize = 8;

/// Reads one INPUT.
pub(super) fn read(input: &Path, vendor: bool) -> Result<Gathered, GatherError> {
    if input == Path::new("-") {
        stream()
    } else if input.is_dir() {
        directory(input, vendor)
    } else {
        file(input)
    }
}

fn stream() -> Result<Gathered, GatherError> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_STREAM_BYTES + 1).read_to_end(&mut bytes);
    let unreadable = |source| GatherError::Read { path: "standard input".to_owned(), source };
    read.map_err(unreadable)?;
    if bytes.len() as u64 > MAX_STREAM_BYTES {
        let why = format!("it is larger than {MAX_STREAM_BYTES} bytes");
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    let is_json = bytes.trim_ascii_start().starts_with(b"{");
    if is_json { downloads("-", &bytes) } else { go_sum("-", &bytes) }
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

fn file(path: &Path) -> Result<Gathered, GatherError> {
    let name = path.display().to_string();
    let unreadable = |source| GatherError::Read { path: name.clone(), source };
    let mut start = [0; START_BYTES];
    if path.metadata().map_err(unreadable)?.is_file() {
        // A file that is shorter is no program.
        let _ = File::open(path).and_then(|mut file| file.read(&mut start)).map_err(unreadable)?;
    }
    if is_program(&start) {
        return program(path);
    }
    go_sum(&name, &files::read_named(path, MAX_GO_SUM_BYTES).map_err(unreadable)?)
}

/// Hashes the module cache that was named, or that of the `go` command.
pub(super) fn module_cache(named: Option<&Path>, go: &GoEnvironment) -> Result<Gathered, GatherError> {
    let of_go = || go.var("GOMODCACHE").map(|setting| PathBuf::from(&setting.value));
    let Some(root) = named.map(Path::to_owned).or_else(of_go) else {
        return Err(GatherError::Malformed {
            path: "GOMODCACHE".to_owned(),
            line: None,
            why: go.failure.clone().unwrap_or_else(|| "go env names no module cache".to_owned()),
            fix: "name the module cache with --modcache=DIR".to_owned(),
        });
    };
    let bar = std::cell::RefCell::new(None);
    let gathered = crate::check::module_cache(&root, |done, total| {
        bar.borrow_mut().get_or_insert_with(|| ProgressMeter::new("downloads", total)).set(done);
    });
    if let Some(bar) = bar.into_inner() {
        bar.finish();
    }
    gathered
}
