//! The table of exit codes: what each code means, and which of them each command ends with.
//!
//! It is printed by `--help` of every command. `tests/it/commands/exits.rs` reads it there, and
//! drives every command to each of its codes.

use clap::Command;

use super::exit::Exit;
use Exit::{Damage, Done, Failed, Running, Unreachable, Usage};

/// What each code means, for every command.
pub(super) const MEANINGS: [(Exit, &str); 6] = [
    (Done, "done; also when there is nothing new"),
    (Failed, "the answer is no, or it was not done; the message says why"),
    (Usage, "wrong usage or configuration, or a file that is not what it must be"),
    (Unreachable, "not reachable: try again"),
    (Damage, "something differs, is damaged, or contradicts itself: a person must look"),
    (Running, "already running"),
];

type Codes = &'static [(Exit, &'static str)];

const USAGE: (Exit, &str) = (Usage, "wrong usage or configuration");
const IN_USE: (Exit, &str) = (Running, "another process has the log open and does not answer");

/// The codes of each command, by the words that it is called with.
const COMMANDS: &[(&str, Codes)] = &[
    (
        "serve",
        &[
            (Done, "ended by SIGTERM or SIGINT"),
            (Failed, "a port is taken, or a write failed: start it again"),
            USAGE,
            (Damage, "the key or the database is damaged"),
            (Running, "the log is open in another process"),
        ],
    ),
    (
        "reload",
        &[
            (Done, "the server runs by the new configuration; also when nothing has changed"),
            (Failed, "refused: a key has changed that takes effect at a start only"),
            (Usage, "wrong usage; also: the new configuration is wrong, and the one before stays"),
            (Unreachable, "no server is running"),
        ],
    ),
    (
        "env",
        &[
            (Done, "the variables were printed"),
            (Failed, "the server answered, and is no Tallystick server"),
            (
                Usage,
                "wrong usage or configuration; also: there is no key here, or the format cannot hold a value",
            ),
            (Unreachable, "the server does not answer"),
            (Damage, "the key is another one than the expected one or that of the data directory"),
        ],
    ),
    (
        "key new",
        &[
            (Done, "the key and its log were made"),
            (Failed, "there is a key already"),
            (Usage, "wrong usage or configuration; also: there is a log without its key"),
        ],
    ),
    (
        "key show",
        &[
            (Done, "shown"),
            (Usage, "wrong usage or configuration; also: there is no key here"),
            (Damage, "the key files are damaged"),
        ],
    ),
    (
        "check",
        &[
            (Done, "the log vouches for everything that has a hash"),
            (
                Failed,
                "something is not in the log or cannot be checked; with --env: a setting bypasses the log",
            ),
            (Usage, "wrong usage or configuration; also: a file that go does not read"),
            (Unreachable, "the log is not reachable, or shows an older head than before"),
            (Damage, "a hash differs, or what the log shows contradicts itself or does not verify"),
        ],
    ),
    (
        "lookup",
        &[
            (Done, "the log has it"),
            (Failed, "the log does not have it; with --notarize: nor could it be taken in"),
            (Usage, "wrong usage or configuration; also: there is no log here"),
            (Unreachable, "with --notarize: a source is not reachable"),
            (Damage, "a conflict, damage, or a log that signs nothing"),
            IN_USE,
        ],
    ),
    (
        "import",
        &[
            (Done, "everything is in the log"),
            (Failed, "something has no source, or could not be taken in"),
            (Usage, "wrong usage or configuration; also: a file cannot be read, or is not what it must be"),
            (Unreachable, "a source is not reachable, or the server stopped"),
            (Damage, "a line disagrees with the log, or the log signs nothing"),
            IN_USE,
        ],
    ),
    (
        "prove",
        &[
            (Done, "all are proved"),
            (Failed, "the log does not have some of them"),
            (Usage, "wrong usage or configuration; also: a go.sum cannot be read"),
            (Unreachable, "the server is not reachable"),
            (Damage, "a row that the proof needs is damaged"),
            IN_USE,
        ],
    ),
    (
        "verify",
        &[
            (Done, "everything verifies"),
            (Failed, "a go.sum line has no proof"),
            (Usage, "wrong usage; also: a key, policy or go.sum is not what it must be"),
            (Damage, "something does not verify"),
        ],
    ),
    (
        "fsck",
        &[
            (Done, "clean"),
            (Usage, "wrong usage or configuration; also: there is no log here"),
            (Damage, "damage, each with its place; or the log signs nothing"),
            (Running, "with --rebuild-index: a server runs"),
        ],
    ),
    ("mirror status", &[(Done, "shown"), USAGE, (Damage, "a log is stopped, or its mirror cannot be used")]),
    (
        "mirror sync",
        &[
            (Done, "up to date"),
            (Failed, "a source refused, or there is no room"),
            USAGE,
            (Unreachable, "not reachable, or every URL sent something that does not verify"),
            (Damage, "a log contradicts itself, or its mirror is damaged"),
            (Running, "a sync is running already"),
        ],
    ),
    (
        "mirror resume",
        &[
            (Done, "it goes on"),
            (Usage, "wrong usage or configuration; also: it is not stopped for that"),
            IN_USE,
        ],
    ),
    (
        "mirror export",
        &[
            (Done, "written"),
            (Failed, "it cannot be written"),
            (
                Usage,
                "wrong usage or configuration; also: there is no full mirror, or something else lies there",
            ),
            (Damage, "the mirror is damaged"),
            IN_USE,
        ],
    ),
    (
        "mirror import",
        &[
            (Done, "taken in"),
            (Failed, "a file of it is missing, or it is older than what is known"),
            (Usage, "wrong usage or configuration; also: a delta with a gap before it"),
            (Unreachable, "the URL is not reachable"),
            (Damage, "something in it does not verify, or the log contradicts itself"),
            (Running, "a sync or an import is running already"),
        ],
    ),
    (
        "mirror verify",
        &[
            (Done, "clean"),
            (Usage, "wrong usage or configuration; also: there is no full mirror"),
            (Damage, "damage, each with its place"),
            IN_USE,
        ],
    ),
    (
        "mirror stats",
        &[
            (Done, "shown"),
            (Failed, "the picture cannot be written"),
            (Usage, "wrong usage or configuration; also: there is no full mirror"),
            IN_USE,
        ],
    ),
    ("mirror diff", &[(Done, "no disagreement"), USAGE, (Damage, "at least one disagreement"), IN_USE]),
    (
        "audit",
        &[
            (Done, "clean"),
            (Failed, "a file cannot be written, or the server is no Tallystick server"),
            (Usage, "wrong usage; also: a file is not what it must be, or the server gives no data tiles"),
            (Unreachable, "not reachable: it goes on where it ended"),
            (Damage, "a fault was found"),
            (Running, "an audit with this state is running"),
        ],
    ),
    (
        "gossip",
        &[
            (Done, "everything that could be compared agrees"),
            (Failed, "the server refused a head, or is no Tallystick server"),
            (Usage, "wrong usage or configuration; also: the GOPATH or a file is not there"),
            (Unreachable, "the server is not reachable"),
            (Damage, "a fork, or the server's log was rolled back"),
        ],
    ),
    (
        "monitor",
        &[
            (Done, "ended by a signal; with --once: nothing alarming"),
            (Failed, "its port is taken, or its state cannot be written"),
            USAGE,
            (Unreachable, "with --once: a log or the web hook did not answer"),
            (Damage, "with --once: a fork or a conflict; also: the state is damaged"),
            (Running, "a monitor with this state is running"),
        ],
    ),
    (
        "anchor show",
        &[
            (Done, "log and anchor agree"),
            (Usage, "wrong usage or configuration; also: there is no log here"),
            (Damage, "they do not, or the anchor cannot be read"),
        ],
    ),
    (
        "anchor settle",
        &[
            (Done, "there is a new anchor"),
            (Usage, "wrong usage or configuration; also: there is no log here"),
            (Damage, "the anchor is sound, or the log does not have that size"),
            (Running, "a server runs"),
        ],
    ),
    (
        "incidents",
        &[
            (Done, "nothing is open, and the log signs"),
            (Usage, "wrong usage or configuration; also: there is no log here"),
            (Damage, "something is open, or the log signs nothing"),
        ],
    ),
    (
        "incidents withdraw",
        &[
            (Done, "withdrawn"),
            (Failed, "the log signs nothing, so it keeps nothing"),
            (Usage, "wrong usage; also: there is no such incident, or another imported it"),
            IN_USE,
        ],
    ),
    (
        "incidents close",
        &[
            (Done, "closed"),
            (Failed, "the log signs nothing, so it keeps nothing"),
            (Usage, "wrong usage; also: there is no such incident, or it is a stop"),
            IN_USE,
        ],
    ),
    (
        "incidents resolve",
        &[
            (Done, "the stop is over"),
            (Usage, "wrong usage; also: no such stop is open"),
            (Damage, "the file of stops is damaged"),
            (Running, "a server runs"),
        ],
    ),
    (
        "witness",
        &[
            (Done, "ended by SIGTERM or SIGINT"),
            (Failed, "a port is taken, or a write failed: start it again"),
            USAGE,
            (Damage, "the memory is missing or damaged"),
            (Running, "this witness is running"),
        ],
    ),
    ("witness key", &[(Done, "shown"), (Usage, "wrong usage or configuration; also: there is no key here")]),
    (
        "witness status",
        &[(Done, "shown"), (Usage, "wrong usage or configuration; also: there is no witness here")],
    ),
    (
        "witness evidence",
        &[
            (Done, "no log is convicted"),
            (Usage, "wrong usage or configuration; also: there is no witness here"),
            (Damage, "a log signed two trees"),
        ],
    ),
    (
        "witnesses status",
        &[(Done, "shown"), (Usage, "wrong usage or configuration; also: there is no log here")],
    ),
    (
        "witnesses policy",
        &[(Done, "printed"), (Usage, "wrong usage or configuration; also: there is no key here")],
    ),
    ("config check", &[(Done, "nothing is wrong"), (Usage, "something is")]),
    ("config show", &[(Done, "shown"), USAGE]),
    ("completions", &[(Done, "printed"), USAGE]),
];

/// The command line with the codes in the help of each command, before its examples.
pub(super) fn documented(command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = with_codes(command, &MEANINGS);
    names.into_iter().fold(command, |command, name| command.mut_subcommand(&name, |below| at(below, &name)))
}

/// The same for a command that is called with these words, and for those below it.
fn at(command: Command, words: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let codes = COMMANDS.iter().find(|(of, _)| *of == words).map(|(_, codes)| *codes);
    let command = match codes {
        Some(codes) => with_codes(command, codes),
        None => command,
    };
    names.into_iter().fold(command, |command, name| {
        let words = format!("{words} {name}");
        command.mut_subcommand(name, |below| at(below, &words))
    })
}

fn with_codes(command: Command, codes: &[(Exit, &str)]) -> Command {
    let lines: String =
        codes.iter().map(|(exit, meaning)| format!("\n  {}  {meaning}", *exit as u8)).collect();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (before, examples) = help.find("Examples:").map_or((&*help, ""), |at| help.split_at(at));
    let parts = [before.trim_end(), &format!("Exit codes:{lines}"), examples];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    command.after_help(parts.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// Commands that do something, by their words.
    fn that_run(command: &Command, words: &str) -> Vec<String> {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        let mut all: Vec<String> = Vec::new();
        if !words.is_empty() && !command.is_subcommand_required_set() {
            all.push(words.to_owned());
        }
        all.extend(
            below.flat_map(|below| that_run(below, format!("{words} {}", below.get_name()).trim_start())),
        );
        all
    }

    #[test]
    fn every_command_has_its_codes_once_in_their_order_and_shows_them() {
        let mut command = documented(super::super::Cli::command());
        let mut wanted = that_run(&command, "");
        wanted.sort();
        let mut listed: Vec<String> = COMMANDS.iter().map(|(words, _)| (*words).to_owned()).collect();
        listed.sort();
        assert_eq!(listed, wanted);
        for (words, codes) in COMMANDS {
            let numbers: Vec<u8> = codes.iter().map(|(exit, _)| *exit as u8).collect();
            assert!(numbers.is_sorted_by(|one, next| one < next) && numbers[0] == 0, "{words}: {numbers:?}");
            assert!(numbers.contains(&2), "{words}: every command can be called wrongly");
            let found = words.split(' ').fold(&mut command, |command, word| {
                command.find_subcommand_mut(word).unwrap_or_else(|| panic!("{words}"))
            });
            let help = found.render_help().to_string();
            assert!(help.matches("Exit codes:").count() == 1, "{words}: {help}");
        }
    }

    #[test]
    fn the_meanings_are_those_of_all_codes() {
        let codes: Vec<u8> = MEANINGS.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5]);
    }
}
