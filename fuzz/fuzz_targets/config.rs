//! Configuration files: loading never panics; an error names a line of the file, a cause and a fix; and a
//! configuration that is written out as a file again loads as the same.

#![no_main]
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;

use libfuzzer_sys::fuzz_target;
use tallystick::config::{Config, ConfigError, Environment, Overrides, SettingOrigin};
use tallystick::source::{FallThrough, ModuleSource, SourceList, SourceUrl};
use toml::{Table, Value};

thread_local! {
    // Without a name, so that nothing stays behind however the fuzzer ends; it is opened by its number.
    static FILE: RefCell<File> = RefCell::new(tempfile::tempfile().expect("a temporary file"));
}

fuzz_target!(|text: &str| {
    match load(text) {
        Ok(config) => check_config(&config),
        Err(error) => check_error(&error, text),
    }
});

fn load(text: &str) -> Result<Config, ConfigError> {
    FILE.with_borrow_mut(|file| {
        file.set_len(0).expect("a file can be emptied");
        file.seek(SeekFrom::Start(0)).expect("a file has a start");
        file.write_all(text.as_bytes()).expect("a file can be written");
        let config = Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into());
        Config::load(&Overrides { config, ..Overrides::default() }, &Environment::default())
    })
}

fn check_error(error: &ConfigError, text: &str) {
    assert!(!error.problems.is_empty());
    for problem in &error.problems {
        assert!(!problem.kind.to_string().is_empty() && !problem.kind.fix().is_empty());
        if let SettingOrigin::File { line, .. } = problem.place {
            assert!((1..=text.split('\n').count()).contains(&line), "line {line}: {error}");
        }
    }
}

fn check_config(config: &Config) {
    let text = write(config).to_string();
    let again = load(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let values = |config: &Config| -> Vec<(String, String)> {
        config.entries().into_iter().map(|entry| (entry.key, entry.value.to_string())).collect()
    };
    assert_eq!(values(&again), values(config));
    assert_eq!(again.notices, config.notices);
    // Credentials are hidden in the entries.
    let urls = |config: &Config| config.sumdbs.values().map(|sumdb| sumdb.urls.value.clone()).collect::<Vec<_>>();
    assert!(urls(&again) == urls(config), "{text}");
    for (a, b) in again.routes.iter().zip(&config.routes) {
        assert!(a.route == b.route, "{text}");
    }
}

/// The file that says all of it.
fn write(config: &Config) -> Table {
    let mut file = Table::new();
    for entry in config.entries() {
        if entry.key.starts_with("sumdb.") || entry.key.starts_with("route.") || entry.value.is_null() {
            continue;
        }
        let value = Value::try_from(entry.value).expect("an entry is a text, a number or a list of texts");
        match entry.key.split_once('.') {
            Some((section, key)) => {
                let section = file.entry(section).or_insert_with(|| Table::new().into());
                section.as_table_mut().expect("sections are tables").insert(key.to_owned(), value);
            }
            None => drop(file.insert(entry.key, value)),
        }
    }
    let mut sumdbs = Table::new();
    for (name, sumdb) in &config.sumdbs {
        let mut section = Table::new();
        // What is built in is written only where someone set it, as a URL of one's own may not lead back here.
        if !sumdb.key.is_by_default() {
            section.insert("key".to_owned(), sumdb.key.to_string().into());
        }
        if !sumdb.urls.is_by_default() {
            let urls: Vec<String> = sumdb.urls.iter().map(expose).collect();
            section.insert("urls".to_owned(), urls.into());
        }
        sumdbs.insert(name.clone(), section.into());
    }
    file.insert("sumdb".to_owned(), sumdbs.into());
    let routes = config.routes.iter().map(|route| {
        let mut section = Table::new();
        section.insert("modules".to_owned(), route.patterns.clone().into());
        section.insert("checksum".to_owned(), route.route.checksum.to_string().into());
        if let Some(source) = &route.route.source {
            section.insert("source".to_owned(), vec![expose_list(source)].into());
        }
        section.into()
    });
    file.insert("route".to_owned(), Value::Array(routes.collect()));
    file
}

/// A URL with its credentials, as only a configuration may hold them.
fn expose(url: &SourceUrl) -> String {
    match url {
        SourceUrl::Server(server) => server.expose().to_string(),
        SourceUrl::Local(_) => url.to_string(),
    }
}

fn expose_list(list: &SourceList) -> String {
    let mut text = String::new();
    for entry in list.entries() {
        match &entry.source {
            ModuleSource::Proxy(url @ SourceUrl::Server(_)) => text += &expose(url),
            source => text += &source.to_string(),
        }
        text += match entry.fall_through {
            FallThrough::OnNotFound => ",",
            FallThrough::OnAnyError => "|",
        };
    }
    text
}
