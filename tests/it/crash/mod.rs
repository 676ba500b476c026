//! The real server, killed, starved, copied and lied to: what it acknowledged must be there afterwards, byte for byte.
//!
//! Every test here starts the binary on a private `compute` route whose source is a module proxy in this process
//! ([`source`]), asks it over HTTP ([`wire`]), and writes down what it was told ([`history`]). After whatever happened
//! to the server, the history is held against what the server says then ([`history::History::verify_all`]).
//!
//! | file | what happens to the server |
//! |---|---|
//! | [`kills`] | SIGKILL and SIGSTOP at random moments under load |
//! | [`faults`] | EIO, ENOSPC and SIGKILL at each system call of a commit and of a start, by strace |
//! | [`full_disk`] | no space: for the log, the anchor, the scratch directory, the first start, its own messages |
//! | [`copies`] | a second process, clones of a live directory, old backups |
//! | [`clocks`] | a clock that is years off, or stands still |
//! | [`starts`] | directories, databases and keys that it must refuse |
//! | [`pages`] | random damage in the pages of the database, and in each file beside it |
//!
//! Each test has a short form here and a long one, which `reliability/run` asks for through the environment
//! ([`campaign`]).

pub(crate) mod campaign;
pub(crate) mod clocks;
mod copies;
mod faults;
pub(crate) mod full_disk;
pub(crate) mod history;
mod kills;
mod pages;
pub(crate) mod server;
pub(crate) mod source;
mod starts;
pub(crate) mod strace;
pub(crate) mod wire;
