//! `tallystick completions`: the shell's own completion script.

use clap::Args;
use clap_complete::Shell;

use super::{Exit, output};

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(tallystick completions bash)
  tallystick completions fish > ~/.config/fish/completions/tallystick.fish")]
pub(super) struct CompletionsCommand {
    /// Which shell
    shell: Shell,
}

impl CompletionsCommand {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "tallystick", &mut script);
        output::print_exact(&String::from_utf8(script)?)?;
        Ok(Exit::Done)
    }
}
