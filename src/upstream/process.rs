//! A program with all its descendants, which can be killed from another thread at any moment and
//! never later. One may follow another, until they are killed.
//!
//! The program leads a process group of its own. Its number belongs to it until it is reaped, so it
//! is waited for without reaping first, then the rest of the group is killed, then it is reaped,
//! and from then on nothing is killed any more: a stranger that got the same number is never hit.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The handle by which the group is killed. Clones mean the same group.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessGroup(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Who leads the group, from its start until it is reaped.
    leader: Option<Pid>,
    /// Nothing is started any more.
    is_killed: bool,
}

/// Kills the group when it is dropped: a caller that goes away takes its programs along.
#[derive(Debug)]
pub(super) struct KillOnDrop(pub(super) ProcessGroup);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl ProcessGroup {
    /// Kills every process of the group, and keeps others from being started.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.is_killed = true;
        if let Some(leader) = state.leader {
            kill_all(leader);
        }
    }

    /// Runs the program to its end, then kills what it left running. Blocks.
    pub(super) fn run(&self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child;
        let pid;
        {
            let mut state = self.state();
            if state.is_killed {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "killed before it was started"));
            }
            assert!(state.leader.is_none(), "one program at a time");
            child = command.process_group(0).spawn()?;
            pid = Pid::from_child(&child);
            state.leader = Some(pid);
        }
        let ended = loop {
            match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => break Err(io::Error::from(e)),
                Ok(_) => break Ok(()),
            }
        };
        let mut state = self.state();
        kill_all(pid);
        let status = child.wait();
        state.leader = None;
        ended.and(status)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills a group whose leader is not reaped. It fails when nobody is left to kill: just as well.
fn kill_all(leader: Pid) {
    let _ = kill_process_group(leader, Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    /// `sleep` in the background holds the pipe open: the read ends only when it is gone too.
    #[test]
    fn what_the_program_leaves_running_is_killed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 600 & exit 3"]).stdin(Stdio::null()).stdout(writer);
        let status = ProcessGroup::default().run(&mut command).unwrap();
        drop(command);
        assert_eq!(status.code(), Some(3));
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn it_can_be_killed_from_outside_with_its_children() {
        let (mut reader, writer) = io::pipe().unwrap();
        let group = ProcessGroup::default();
        let runner = group.clone();
        let thread = std::thread::spawn(move || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "sleep 600 & echo up; wait"]).stdin(Stdio::null()).stdout(writer);
            runner.run(&mut command)
        });
        let mut up = [0; 3];
        reader.read_exact(&mut up).unwrap();
        group.kill();
        assert_eq!(thread.join().unwrap().unwrap().code(), None);
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
        group.kill();
    }

    #[test]
    fn a_group_that_was_killed_is_not_started() {
        let group = ProcessGroup::default();
        for _ in 0..2 {
            assert!(group.run(&mut Command::new("/bin/true")).unwrap().success(), "one follows another");
        }
        drop(KillOnDrop(group.clone()));
        assert!(group.run(&mut Command::new("/bin/true")).is_err());
    }
}
