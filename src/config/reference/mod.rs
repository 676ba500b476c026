//! Every key of every configuration file, as data. The loader, `config show`, the errors, the README
//! and the tests read these tables, so they cannot disagree.

mod monitor;
mod server;
mod witness;

/// One key. `*` in `path` stands for a name (`sumdb.*.key`) or a number (`route.*.modules`).
#[derive(Debug)]
pub struct Key {
    /// The key with its section, dots between.
    pub path: &'static str,
    /// The flag that overrides it, where there is one.
    pub flag: Option<&'static str>,
    /// Whether an environment variable overrides it; [`Key::variable`] names it.
    pub environment: bool,
    /// The shape of a value, for people.
    pub shape: &'static str,
    /// A valid value as TOML.
    pub example: &'static str,
    /// What is in force when nobody says anything, for people.
    pub default: &'static str,
    /// What it does, and what follows from changing it.
    pub consequence: &'static str,
    /// What someone who controls this value could do.
    pub attacker: &'static str,
}

/// The configuration file of one program.
#[derive(Debug)]
pub struct Reference {
    /// The program, as people call it.
    pub program: &'static str,
    /// Every key, in the order in which a file is best written.
    pub keys: &'static [Key],
    /// The largest file that is read; a larger one was named by mistake.
    pub(super) max_file_bytes: u64,
    /// The advice for a key that resembles none of these.
    pub(super) listing: &'static str,
}

/// The server's configuration.
pub static SERVER: Reference = Reference {
    program: "server",
    keys: server::KEYS,
    max_file_bytes: 1 << 20,
    listing: "`tallystick config show` lists every key",
};

/// A witness's configuration: ten thousand logs with their keys fit.
pub static WITNESS: Reference = Reference {
    program: "witness",
    keys: witness::KEYS,
    max_file_bytes: 8 << 20,
    listing: "the keys are name, data, listen, metrics_listen, prefix, tls_cert, tls_key, log_format, \
              and [[log]] with origin and key",
};

/// A monitor's configuration: a hundred logs with all their keys and patterns fit.
pub static MONITOR: Reference = Reference {
    program: "monitor",
    keys: monitor::KEYS,
    max_file_bytes: 4 << 20,
    listing: "the keys are state, feed, textfile, metrics_listen, [webhook] with url and \
              secret_file, and [[log]] with name, key, urls, poll, modules, gosum, lookup, \
              private, compare, silence, lag and from",
};

impl Reference {
    /// Returns the key at `path`, numbers and names already replaced by `*`.
    pub fn key(&self, path: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    /// Formats all keys as Markdown, one item each, for the README.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for key in self.keys {
            let mut ways = Vec::new();
            ways.extend(key.flag.map(|flag| format!("`{flag}`")));
            ways.extend(key.variable().map(|name| format!("`{name}`")));
            let ways = if ways.is_empty() { String::new() } else { format!(" Also {}.", ways.join(", ")) };
            text += &format!(
                "- **`{}`** = `{}` ({}; default: {}).{ways}\n  {}\n  *An attacker who controls it* {}\n",
                key.path, key.example, key.shape, key.default, key.consequence, key.attacker
            );
        }
        text
    }
}

impl Key {
    /// `TALLYSTICK_LIMITS_DEADLINE_SECONDS` for `limits.deadline_seconds`; none for keys of lists.
    pub fn variable(&self) -> Option<String> {
        self.environment.then(|| variable(self.path))
    }

    const fn flag(self, flag: &'static str) -> Key {
        Key { flag: Some(flag), ..self }
    }

    const fn means(self, consequence: &'static str, attacker: &'static str) -> Key {
        Key { consequence, attacker, ..self }
    }
}

/// The environment variable of a key's path.
pub(super) fn variable(path: &str) -> String {
    format!("TALLYSTICK_{}", path.to_ascii_uppercase().replace('.', "_"))
}

/// A key that an environment variable can override.
const fn scalar(
    path: &'static str,
    shape: &'static str,
    example: &'static str,
    default: &'static str,
) -> Key {
    Key { path, flag: None, environment: true, shape, example, default, consequence: "", attacker: "" }
}

/// A key that only the file has, and a flag where one is named.
const fn listed(
    path: &'static str,
    shape: &'static str,
    example: &'static str,
    default: &'static str,
) -> Key {
    Key { environment: false, ..scalar(path, shape, example, default) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_is_documented_once() {
        for reference in [&SERVER, &WITNESS, &MONITOR] {
            let mut seen = BTreeSet::new();
            for key in reference.keys {
                assert!(seen.insert(key.path), "{} twice", key.path);
                for text in [key.shape, key.example, key.default, key.consequence, key.attacker] {
                    assert!(!text.is_empty(), "{} has an empty column", key.path);
                }
                assert!(key.consequence.ends_with('.') && key.attacker.ends_with('.'), "{}", key.path);
                assert!(reference.markdown().contains(&format!("**`{}`**", key.path)));
            }
        }
        let server = |path| SERVER.key(path).unwrap().variable();
        assert_eq!(server("limits.deadline_seconds").unwrap(), "TALLYSTICK_LIMITS_DEADLINE_SECONDS");
        assert_eq!(server("route.*.source"), None);
    }

    /// The listing is advice that people follow: it names every key.
    #[test]
    fn the_listing_of_a_small_file_names_every_key() {
        for reference in [&WITNESS, &MONITOR] {
            for key in reference.keys {
                let name = key.path.rsplit('.').next().unwrap();
                assert!(reference.listing.contains(name), "{}: {name}", reference.program);
            }
        }
    }
}
