//! The key, the log and the anchor belong together: what a command makes of them when some are
//! missing.
//!
//! | key | log | anchor | what happens |
//! |---|---|---|---|
//! | no | no | no | a command that may make a log makes all three |
//! | no | no | yes | refused: key and log of this anchor are missing |
//! | no | yes | | refused: only its own key can sign this log |
//! | yes | no | of this key, with records; or stops | refused: this key has signed a log that is missing |
//! | yes | no | of another key | refused: it is another log's |
//! | yes | no | no, or without records | refused until `--new-log`; made after all where a first start was interrupted |
//! | yes | yes | | opened; [`Log::open`](crate::log::Log::open) compares them |
//!
//! A first start puts the verifier key of the log that it makes into `<data>/log.new` before the key
//! gets its place, and removes that file when the log is there. So a first start that was killed
//! goes on by itself, and a directory of keys that was put back from a backup does not look like
//! one.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;

use super::exit::{Exit, OrExit};
use crate::config::{Config, keys};
use crate::log;
use crate::note::{SignerKey, VerifierKey};
use crate::store::anchor::{Anchor as _, Anchored, FileAnchor};
use crate::store::durable::{sync_name, write_durably};
use crate::store::sqlite::holds_log;

/// Lets a command make a log for a key that exists.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct NewLog {
    /// Make an empty log for the key that is there. Only for a key that never signed anything: clients refuse a second log
    #[arg(long)]
    pub(super) new_log: bool,
}

/// What a command does in a data directory that has neither a key nor a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// Make both.
    Make,
    /// Refuse.
    Refuse,
}

/// The log's key, where key, log and anchor may go together. True with it when it was made just now.
pub(super) fn signing_key(
    config: &Config,
    new_log: NewLog,
    no_key: NoKey,
) -> anyhow::Result<(SignerKey, bool)> {
    match check(config, new_log)? {
        Some(key) => {
            if holds_log(&config.data) {
                founded(config)?;
            }
            Ok((key, false))
        }
        None if no_key == NoKey::Refuse => {
            Err(keys::KeyFileError::Missing { directory: keys::directory(&config.data) }.into())
        }
        None => {
            check_nothing(config).or_exit(Exit::Usage)?;
            // Another first start may be faster: then this one finds its key, and waits for nothing.
            Ok(keys::load_or_create(&config.data, config.name.as_deref(), marks(config))?)
        }
    }
}

/// Refuses where key, log and anchor may not go together. Returns the key, if there is one.
pub(super) fn check(config: &Config, NewLog { new_log }: NewLog) -> anyhow::Result<Option<SignerKey>> {
    let key = keys::load(&config.data, config.name.as_deref())?;
    match (&key, holds_log(&config.data)) {
        // A new key could not sign for this log, and would be in the way of the right one.
        (None, true) => {
            return Err(anyhow!(
                "there is no key in {}, but a log in {}, which only its own key can sign\n  fix: put \
                 its key files back from your backup, or choose another --data for a new log",
                keys::directory(&config.data).display(),
                config.data.display()
            ))
            .or_exit(Exit::Usage);
        }
        (Some(key), false) => check_alone(config, &key.verifier(), new_log).or_exit(Exit::Usage)?,
        (Some(_), true) | (None, false) => {}
    }
    Ok(key)
}

/// Refuses a first start where an anchor tells of another log.
pub(super) fn check_first_start(config: &Config) -> anyhow::Result<()> {
    check_nothing(config).or_exit(Exit::Usage)
}

/// Makes the log's key where there is neither key nor log nor anchor.
pub(super) fn make_key(config: &Config) -> anyhow::Result<SignerKey> {
    check_nothing(config).or_exit(Exit::Usage)?;
    Ok(keys::create(&config.data, config.name.as_deref(), marks(config))?)
}

/// Writes down that a first start makes the log of this key.
fn marks(config: &Config) -> impl FnOnce(&VerifierKey) -> io::Result<()> {
    let path = mark(config);
    move |key| write_durably(&path, format!("{key}\n").as_bytes())
}

/// Refuses to make a log where an anchor or its stops tell of another one.
fn check_nothing(config: &Config) -> anyhow::Result<()> {
    if let Some(anchored) = anchored(config)? {
        return Err(anyhow!(
            "there is neither a key nor a log in {}, but {}\n  fix: put the data directory back \
             that belongs to this anchor, database and keys, and leave the anchor as it is; for a \
             new log choose another `anchor`",
            config.data.display(),
            remembers(config, &anchored)
        ));
    }
    if log::stops(&config.anchor).map_or(true, |stops| !stops.is_empty()) {
        return Err(anyhow!(
            "there is neither a key nor a log in {}, but {}.stops keeps what a log was stopped \
             for\n  fix: put the data directory back that belongs to it, database and keys, and \
             leave that file as it is; for a new log choose another `anchor`",
            config.data.display(),
            config.anchor.display()
        ));
    }
    Ok(())
}

/// The log is there: a start is no first start any more.
pub(super) fn founded(config: &Config) -> anyhow::Result<()> {
    let path = mark(config);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed
            .and_then(|()| sync_name(&path))
            .with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Whether a log may be made for a key that is there without one.
fn check_alone(config: &Config, key: &VerifierKey, new_log: bool) -> anyhow::Result<()> {
    let (keys, data) = (keys::directory(&config.data), config.data.display());
    let alone = format!("there is a key in {}, but no log in {data}", keys.display());
    // Never the anchor of the same backup: it would agree with an old database, and let that sign.
    let restore = "put the newest copy of the database back, and leave keys, anchor and stops as \
                   they are: the next start says whether this copy may sign. If there is none, \
                   that log has ended: start another one with a new key, another --data and \
                   another `anchor`";
    if let Some(anchored) = anchored(config)? {
        let what = remembers(config, &anchored);
        if anchored.vkey != key.to_string() {
            return Err(anyhow!(
                "{alone}, and {what}, which is another log's\n  fix: set `anchor` to this log's \
                 own file; the next start says how to go on"
            ));
        }
        if anchored.tree.size.0 > 0 || anchored.stops > 0 {
            return Err(anyhow!(
                "{alone}, and {what}: this key has signed a log that is missing\n  fix: {restore}"
            ));
        }
    }
    match log::stops(&config.anchor) {
        Ok(stops) if stops.is_empty() => {}
        Ok(stops) => {
            return Err(anyhow!(
                "{alone}, and {}.stops holds {} heads that were signed\n  fix: {restore}",
                config.anchor.display(),
                stops.len()
            ));
        }
        Err(error) => {
            return Err(anyhow!(
                "{alone}, and the stops of its log cannot be read: {error}\n  fix: {restore}"
            ));
        }
    }
    let is_first_start =
        fs::read_to_string(mark(config)).is_ok_and(|text| text.trim_end() == key.to_string());
    if new_log || is_first_start {
        return Ok(());
    }
    Err(anyhow!(
        "{alone}: a second log under a key that has signed one is refused by every client that \
         knows the first\n  fix: {restore}. Only if this key never signed anything: `tallystick \
         serve --new-log` makes its log"
    ))
}

/// Reads the anchor, if there is one.
fn anchored(config: &Config) -> anyhow::Result<Option<Anchored>> {
    FileAnchor::at(&*config.anchor).read().with_context(|| {
        format!(
            "there is no log in {}, and its anchor at {} cannot be read\n  fix: put the newest \
             copies of database and keys back, and leave the anchor as it is: the next start says \
             how to go on with it. For a new log choose another --data and another `anchor`",
            config.data.display(),
            config.anchor.display()
        )
    })
}

fn remembers(config: &Config, anchored: &Anchored) -> String {
    format!(
        "the anchor at {} remembers a head of {} records (root {}) of the log {}",
        config.anchor.display(),
        anchored.tree.size,
        anchored.tree.root,
        anchored.vkey
    )
}

/// The file that marks a first start.
fn mark(config: &Config) -> PathBuf {
    config.data.join("log.new")
}
