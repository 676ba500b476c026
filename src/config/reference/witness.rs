//! The keys of a witness.

use super::{Key, listed, scalar};

/// The keys, in the order in which a file is best written.
pub(super) static KEYS: &[Key] = &[
    listed("name", "text without spaces and `+`", "\"witness.corp.example/w1\"", "`tallystick.local/<8 hex>`")
        .flag("--name")
        .means(
            "The witness's name, part of its verifier key. It is fixed when the key is made.",
            "can keep the witness from starting, not cosign under another name: the key decides.",
        ),
    listed("data", "path of a directory", "\"/var/lib/tallystick-witness\"", "`tallystick-witness`")
        .flag("--data")
        .means(
            "Holds the witness's key and its memory. All of it is private.",
            "can point the witness at a key and a memory of their own; logs refuse its cosignatures, because the verifier key differs.",
        ),
    listed("listen", "address and port", "\"127.0.0.1:8475\"", "`127.0.0.1:8475`")
        .flag("--listen")
        .means(
            "The address at which logs submit checkpoints.",
            "can take the witness off the network, or open it to more clients.",
        ),
    listed("metrics_listen", "address and port", "\"127.0.0.1:8476\"", "none")
        .flag("--metrics-listen")
        .means(
            "The address of health and metrics.",
            "can show the figures to more people, or hide them.",
        ),
    listed("prefix", "path that starts with a slash and ends without one", "\"/w1\"", "empty")
        .means(
            "The path before those of the protocol, where several witnesses share a host.",
            "can make logs miss the witness.",
        ),
    listed("tls_cert", "path of a PEM file", "\"/etc/ssl/witness.pem\"", "none: plain HTTP")
        .means(
            "The certificate chain, leaf first. Set it together with `tls_key`.",
            "can present another certificate, or none.",
        ),
    listed("tls_key", "path of a PEM file", "\"/etc/ssl/private/witness.key\"", "none")
        .means(
            "The certificate's private key.",
            "can present another certificate, or none.",
        ),
    scalar("log_format", "`text` or `json`", "\"json\"", "`text`")
        .means(
            "The form of the log lines on stderr.",
            "can make log lines unreadable for whoever collects them.",
        ),
    listed("log.*.origin", "one line of text", "\"example.com/log42\"", "the name of `key`")
        .means(
            "The first line of the log's checkpoints.",
            "can have the witness cosign for a log that nobody chose.",
        ),
    listed("log.*.key", "verifier key", "\"sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8\"", "required")
        .flag("--log")
        .means(
            "A key that the log signs with, as the log's operator gives it. A log that signs with several has a section for each.",
            "can have the witness cosign a history of their own under this origin.",
        ),
];
