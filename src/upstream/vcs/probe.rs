//! Why a repository answers to no protocol: git is asked once more, since go throws its words away.
//!
//! For a path with `.git` in it, go pings `https://`, then `ssh://`, and says only that it found
//! "no secure protocol". The same questions, asked by us to the same host with the same
//! configuration, bring the reason.

use super::VcsOptions;
use super::environment;
use super::error::VcsFault;
use super::words::{Blame, Words};
use crate::upstream::process::ProcessGroup;
use crate::upstream::scratch::Scratch;

/// Asks git for the references of the module's repository: whose matter it is that it gives none,
/// and the line that says so, one for each protocol. Nothing where git has no complaint.
pub(super) fn ask_git(
    options: &VcsOptions,
    scratch: &Scratch,
    group: &ProcessGroup,
    module_path: &str,
) -> Option<(Blame, String)> {
    let repository = repository(module_path)?;
    let (blame, line) = ask(options, scratch, group, "https", repository)?;
    // Only where https leads nowhere can ssh be what the operator means to use.
    let may_mean_ssh = matches!(blame, Blame::Network | Blame::Unknown | Blame::Setup(VcsFault::Access));
    if !may_mean_ssh {
        return Some((blame, line));
    }
    let Some((ssh_blame, ssh_line)) = ask(options, scratch, group, "ssh", repository) else {
        return Some((blame, line));
    };
    let both = format!("{line}\n{ssh_line}");
    Some(match (blame, ssh_blame) {
        (Blame::Network | Blame::Unknown, ssh_blame) => (ssh_blame, both),
        (blame, Blame::Network | Blame::Unknown) => (blame, line),
        (blame, _) => (blame, both),
    })
}

fn ask(
    options: &VcsOptions,
    scratch: &Scratch,
    group: &ProcessGroup,
    scheme: &str,
    repository: &str,
) -> Option<(Blame, String)> {
    let outputs = [format!("{scheme}-stdout"), format!("{scheme}-stderr")];
    let mut command = environment::command("git", options, scratch, [&outputs[0], &outputs[1]]).ok()?;
    command.args(["ls-remote", "-q", "--end-of-options"]).arg(format!("{scheme}://{repository}"));
    match group.run(&mut command) {
        Ok(status) if status.success() => None,
        Ok(_) => Some(Words::of_git(&scratch.output(&outputs[1]).ok()?).judge()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some((Blame::Setup(VcsFault::NoGit), error.to_string()))
        }
        Err(_) => None,
    }
}

/// `corp.example/a/b` for `corp.example/a/b.git/sub`, as go cuts it.
fn repository(module_path: &str) -> Option<&str> {
    let ends = |at: &usize| matches!(module_path.as_bytes().get(at + ".git".len()), None | Some(b'/'));
    let at = module_path.match_indices(".git").map(|(at, _)| at).find(ends)?;
    Some(&module_path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_ends_before_its_suffix() {
        for (path, want) in [
            ("corp.example/a/b.git", Some("corp.example/a/b")),
            ("corp.example/a.gitx/b.git/v2", Some("corp.example/a.gitx/b")),
            ("corp.example/a", None),
        ] {
            assert_eq!(repository(path), want);
        }
    }
}
