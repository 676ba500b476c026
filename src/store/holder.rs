//! Who holds a lock on a file, as far as the kernel tells it in `/proc/locks`.
//!
//! ```text
//! 1: FLOCK  ADVISORY  WRITE 5186 fe:00:1048601 0 EOF
//! 2: POSIX  ADVISORY  READ 6021 fe:00:1048577 123 127
//! ```
//!
//! It is only for people: the process that is named may have ended meanwhile, and one in another
//! container is not seen.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its program's name, as far as it is plain text.
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.program)
    }
}

impl Holder {
    /// Another process that holds a lock on one of these files.
    pub(super) fn of(paths: &[&Path]) -> Option<Holder> {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let files = paths.iter().filter_map(|path| std::fs::metadata(path).ok());
        let files: Vec<String> = files.map(|found| place(found.dev(), found.ino())).collect();
        let pid = holder(&locks, &files, std::process::id())?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let program: String = name.chars().filter(char::is_ascii_graphic).take(16).collect();
        Some(Holder { pid, program: if program.is_empty() { "unknown".to_owned() } else { program } })
    }

    /// Whether it is this program.
    pub(super) fn is_ours(&self) -> bool {
        self.program == env!("CARGO_PKG_NAME")
    }
}

/// A file as `/proc/locks` names it.
fn place(device: u64, inode: u64) -> String {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    format!("{major:02x}:{minor:02x}:{inode}")
}

fn holder(locks: &str, files: &[String], own: u32) -> Option<u32> {
    locks.lines().find_map(|line| {
        // A waiter has `->` as its second word, and holds nothing.
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, _, _, _, pid, file, ..] = words[..] else { return None };
        let pid = pid.parse().ok().filter(|pid| *pid != own)?;
        files.iter().any(|one| one == file).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as proc(5) shows them.
    const LOCKS: &str = "1: POSIX  ADVISORY  READ  5433 08:01:7864448 128 128\n\
                         2: FLOCK  ADVISORY  WRITE 2001 08:01:7864554 0 EOF\n\
                         2: -> FLOCK  ADVISORY  WRITE 2002 08:01:7864554 0 EOF\n\
                         3: OFDLCK ADVISORY  READ  -1 08:01:8713209 128 191\n";

    #[test]
    fn the_holder_is_found_and_a_waiter_is_none() {
        let of = |file: &str, own| holder(LOCKS, &[file.to_owned()], own);
        assert_eq!(of("08:01:7864448", 1), Some(5433));
        assert_eq!(of("08:01:7864554", 1), Some(2001));
        assert_eq!(of("08:01:7864554", 2001), None, "this process is not in its own way");
        assert_eq!(of("08:01:8713209", 1), None, "a lock of an open file has no process");
        assert_eq!(of("08:01:1", 1), None);
        assert_eq!(place(0x0801, 7864448), "08:01:7864448");
    }
}
