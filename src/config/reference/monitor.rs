//! The keys of a monitor.

use super::{Key, listed};

/// The keys, in the order in which a file is best written.
pub(super) static KEYS: &[Key] = &[
    listed("state", "path of a directory", "\"/var/lib/tallystick-monitor\"", "required")
        .means(
            "Holds what the monitor knows of each log. It is private, and no other monitor may use it.",
            "can make the monitor forget the heads that it saw.",
        ),
    listed("feed", "path of a file", "\"/srv/www/sumdb.atom\"", "none")
        .means(
            "An Atom feed of the last events.",
            "can have a file written wherever the monitor may write.",
        ),
    listed("textfile", "path of a file", "\"/var/lib/node_exporter/monitor.prom\"", "none")
        .means(
            "The metrics as a file, for a collector that reads files.",
            "can have a file written wherever the monitor may write.",
        ),
    listed("metrics_listen", "address and port", "\"127.0.0.1:8477\"", "none")
        .means(
            "The address of `/healthz`, `/readyz` and `/metrics`.",
            "can show the figures to more people, or hide them.",
        ),
    listed("webhook.url", "http or https URL", "\"https://alerts.corp.example/sumdb\"", "required in [webhook]")
        .means(
            "Each event is posted there.",
            "can read the events, and keep them from whoever waits for them.",
        ),
    listed("webhook.secret_file", "path of a file", "\"hook.secret\"", "required in [webhook]")
        .means(
            "One line that signs each event; mode 0600.",
            "can forge events.",
        ),
    listed("log.*.name", "name of a log", "\"sum.golang.org\"", "required")
        .means(
            "The log's name, which is that of its key.",
            "can keep the monitor from starting.",
        ),
    listed("log.*.key", "verifier key", "\"sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8\"", "required")
        .means(
            "The key under which the log's heads must verify.",
            "who also answers at `urls` can show the monitor another log.",
        ),
    listed("log.*.urls", "list of http or https URLs, or `file://` directories", "[\"https://sum.golang.org\"]", "required")
        .means(
            "Where the log is reached, asked in this order.",
            "can keep the log's news from the monitor, which `lag` then reports.",
        ),
    listed("log.*.poll", "1s to 24h", "\"5m\"", "`1m`")
        .means(
            "How often the monitor asks for a new head.",
            "can delay what the monitor reports, or burden the log.",
        ),
    listed("log.*.modules", "list of GOPRIVATE patterns", "[\"corp.example/*\", \"github.com/corp\"]", "none")
        .means(
            "The monitor reports new versions of these modules.",
            "can silence those reports.",
        ),
    listed("log.*.gosum", "list of paths of go.sum files", "[\"go.sum\"]", "none")
        .means(
            "The monitor reports records that disagree with these lines.",
            "can silence those reports.",
        ),
    listed("log.*.lookup", "`true` or `false`", "true", "`false`")
        .means(
            "Whether the monitor also looks up each of those lines, for records that were in the log before.",
            "can tell the log which modules are used here, except the private ones.",
        ),
    listed("log.*.private", "list of GOPRIVATE patterns", "[\"corp.example/*\"]", "none")
        .means(
            "Module paths that the monitor never names to this log, in any letter case, nor the path right above a pattern.",
            "can have private names sent to the log.",
        ),
    listed("log.*.compare", "list of names of other logs", "[\"sum.corp.example\"]", "none")
        .means(
            "The monitor compares the records of `modules` with those of these logs.",
            "can silence reports of disagreement.",
        ),
    listed("log.*.silence", "a length of time", "\"24h\"", "none")
        .means(
            "The monitor reports a log that has had no new head for so long.",
            "can hide that a log stopped.",
        ),
    listed("log.*.lag", "a length of time", "\"1h\"", "`1h`")
        .means(
            "The monitor reports a log that it could not verify for so long.",
            "can hide that the monitor is blind.",
        ),
    listed("log.*.from", "record number", "0", "the first record after the first start")
        .means(
            "The first record that the monitor looks at.",
            "can have records skipped.",
        ),
];
