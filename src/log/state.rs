//! Whether the log signs, and if not, why and what to do about it.

use crate::store::StoreError;
use crate::tlog::{TreeHead, TreeSize};

/// What the log does at the moment.
#[derive(Clone, Debug)]
pub enum State {
    /// Appends and signs.
    Writing,
    /// Serves what it has and signs nothing.
    ReadOnly(ReadOnly),
}

/// Why a log signs nothing. The text says what to do; it is shown at start, by `/readyz` and to
/// whoever wanted to append.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadOnly {
    /// The log has records and no anchor.
    #[error(
        "the log has {}, but there is no anchor at {path}. This database may be an old \
         backup, and signing could contradict heads that clients have seen, so nothing is signed. \
         Put the newest copy of the anchor back, or set `anchor` to where it is; one from the same \
         backup as this database proves nothing. If it is lost, ask clients, monitors and \
         witnesses which size they have seen: only if this is the newest copy of the log, \
         `tallystick anchor settle --size {size}` makes a new one",
        TreeSize(*.size).records()
    )]
    AnchorMissing {
        /// Where the anchor should be.
        path: String,
        /// Size of the log.
        size: u64,
    },
    /// The anchor's file is damaged, or something else.
    #[error(
        "the anchor at {path} cannot be read: {why}. Nobody knows which head was published last, \
         so nothing is signed. Put the newest copy of the anchor back, or set `anchor` to where it \
         is; one from the same backup as this database proves nothing. If it is lost, ask clients, \
         monitors and witnesses which size they have seen: only if this is the newest copy of the \
         log, `tallystick anchor settle --size RECORDS` makes a new one"
    )]
    AnchorUnreadable {
        /// Where the anchor is.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The anchor's file cannot be opened, or is no anchor.
    #[error(
        "the anchor at {path} cannot be opened: {why}. Nobody knows which head was published last, \
         so nothing is signed. Set `anchor` to the log's own anchor file, and let the user that \
         runs tallystick read and write that file and its directory"
    )]
    AnchorRefused {
        /// Where the anchor should be.
        path: String,
        /// What was said.
        why: String,
    },
    /// The anchor is older than the log.
    #[error(
        "the anchor at {path} is an old copy: it holds a head of {}, and this log has gone \
         on from there to {}. It cannot say what was published since, so nothing is \
         signed. Put the newest copy of the anchor back. If that is lost, ask clients, monitors \
         and witnesses which size they have seen: only if this is the newest copy of the log, \
         `tallystick anchor settle --size {}` makes a new one",
        anchored.size.records(), found.size.records(), found.size
    )]
    AnchorOld {
        /// Where the anchor is.
        path: String,
        /// The head that it holds.
        anchored: TreeHead,
        /// The newest head of the database.
        found: TreeHead,
    },
    /// The anchor is one of another log.
    #[error(
        "the anchor at {path} belongs to another log, {vkey}, so nothing is signed. If `anchor` \
         names the wrong file, set `anchor` to this log's own; if the right file was overwritten, \
         move this one away and put the newest copy of this log's own in its place"
    )]
    AnchorForeign {
        /// Where the anchor is.
        path: String,
        /// Whose it is.
        vkey: String,
    },
    /// The log is older than what was published.
    #[error(
        "this log has {}, but a head of {} was published: the database was rolled \
         back or restored from an old backup, so nothing is signed. Put the newest copy of the \
         database back, which has the whole {}, and leave the anchor as it is: an older one \
         would let this log sign a second head of one size",
        found.size.records(), anchored.size.records(), anchored.size.records()
    )]
    Behind {
        /// The newest head of the database.
        found: TreeHead,
        /// The highest head ever published.
        anchored: TreeHead,
    },
    /// The log contradicts what was published.
    #[error(
        "at size {} the log has the root {found}, but {} was published: this database is a fork of \
         the real log, so nothing is signed. Put the real log's database back, and leave the \
         anchor as it is",
        anchored.size, anchored.root
    )]
    Beside {
        /// The root of the log at that size.
        found: crate::tlog::Hash,
        /// The highest head ever published.
        anchored: TreeHead,
    },
    /// Somebody has shown a head with this log's signature that this log does not have. It stays so
    /// over restarts.
    #[error(
        "{why}. Somebody showed a head of {} with this log's signature at {at:.0} \
         (stop {stop}, kept in {path}). Put the copy of the database back that has that head, and \
         the next start signs. Only if there is none and this copy must go on, which everybody who \
         saw that head takes for a fork, stop the server and run `tallystick incidents resolve \
         {stop}`",
        TreeSize(*.size).records()
    )]
    Contradicted {
        /// The number of the stop.
        stop: u64,
        /// Since when.
        at: jiff::Timestamp,
        /// The size of that head.
        size: u64,
        /// What follows from it.
        why: String,
        /// The file that remembers it.
        path: String,
    },
    /// Whether there is such a head cannot be known.
    #[error(
        "the file of this log's stops cannot be used: {why}. It says which heads contradict this \
         log, so nothing is signed without it: put its newest copy back; if that is lost, \
         `tallystick incidents` shows what is known of them, and `tallystick incidents resolve \
         --lost` answers for the rest"
    )]
    StopsUnreadable {
        /// What is wrong with it.
        why: String,
    },
    /// Stops are lost.
    #[error(
        "the anchor at {anchor} remembers stop {stops} of this log, but {anchor}.stops has {}: it \
         is lost, or an old copy. It says which heads contradict this log, so nothing is signed \
         without it: put its newest copy back; if that is lost, `tallystick incidents` shows what \
         is known of them, and `tallystick incidents resolve --lost` answers for the rest",
        match found { 0 => "none".to_owned(), found => format!("only stops up to {found}") }
    )]
    StopsMissing {
        /// The anchor's file.
        anchor: String,
        /// The newest stop that there was.
        stops: u64,
        /// The newest stop that is there, or 0.
        found: u64,
    },
    /// There is no key to sign with, because nobody wanted to sign.
    #[error("the log was opened without its signing key, only to be read")]
    NoKey,
    /// Something stored is not what was written.
    #[error("{why}. Nothing is signed: `tallystick fsck` names all that is damaged, and what mends it")]
    Damaged {
        /// What is damaged.
        why: String,
    },
    /// The disk has no space. Writing goes on by itself when there is some.
    #[error(
        "the disk that holds {path} is full ({free_bytes} bytes free, {floor_bytes} are kept): \
         free some space, nothing else is needed"
    )]
    DiskFull {
        /// The full disk.
        path: String,
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes below which nothing is written.
        floor_bytes: u64,
    },
    /// The newest head waits for cosignatures. Writing goes on by itself when they come.
    #[error(
        "the newest head, of {}, is not published yet: {why}. Nothing is lost. The log \
         publishes it and goes on when its witnesses answer; `tallystick witnesses status` says \
         which of them do not",
        TreeSize(*.size).records()
    )]
    Unwitnessed {
        /// The size of the head that waits.
        size: u64,
        /// How many cosignatures there are.
        why: String,
    },
    /// The witnesses have not said yet whether they know a newer head. Writing goes on by itself.
    #[error(
        "the log asks its witnesses which of its heads they know, and signs nothing until enough \
         of them have answered or its longest wait is over: {why}. It goes on by itself; \
         `tallystick witnesses status` says which of them do not answer"
    )]
    Unasked {
        /// What is known so far.
        why: String,
    },
    /// Another program has locked the database. Writing goes on by itself when it lets go.
    #[error("{why}")]
    Busy {
        /// Which, who, and what to do.
        why: String,
    },
    /// Another writer has taken over: its epoch or its head is in the database or in the anchor,
    /// and the conflict stayed. What this process has published stays true, so it could go on being
    /// read beside that writer; today the process ends, as after a failed write.
    #[error("writing failed and the process must be started again: {why}")]
    Deposed {
        /// What was expected, and what the other writer has put there.
        why: String,
    },
    /// A write failed, and what is on disk is not certain any more. The process must end.
    #[error("writing failed and the process must be started again: {why}")]
    Stopped {
        /// What failed.
        why: String,
    },
}

impl ReadOnly {
    /// Whether the process must end: it can neither write nor find out what was written.
    pub(crate) fn ends_process(&self) -> bool {
        matches!(self, ReadOnly::Stopped { .. } | ReadOnly::Deposed { .. })
    }

    /// Whether it goes away by itself while the process lives.
    pub fn passes(&self) -> bool {
        matches!(
            self,
            ReadOnly::DiskFull { .. }
                | ReadOnly::Unwitnessed { .. }
                | ReadOnly::Unasked { .. }
                | ReadOnly::Busy { .. }
        )
    }
}

impl From<&StoreError> for ReadOnly {
    /// A conflict that comes here has stayed: whoever may try again has done so.
    fn from(error: &StoreError) -> ReadOnly {
        match error {
            StoreError::Conflict { .. } => ReadOnly::Deposed { why: error.to_string() },
            StoreError::Damaged { .. } => ReadOnly::Damaged { why: error.to_string() },
            _ => ReadOnly::Stopped { why: error.to_string() },
        }
    }
}
