//! The keys of the server: `serve`, and every command beside it.

use super::{Key, listed, scalar};

/// The keys, in the order in which a file is best written.
pub(super) static KEYS: &[Key] = &[
    scalar("name", "text without spaces and `+`", "\"sum.corp.example\"", "that of the key; a new key gets `tallystick.local/<8 hex>`")
        .flag("--name")
        .means(
            "The log's name, part of its verifier key and of every client's GOSUMDB. It is fixed when the key is made; a name that differs from the key's is refused at start.",
            "can keep the server from starting, not sign under another name: the key decides.",
        ),
    scalar("url", "http or https URL", "\"https://sum.corp.example\"", "made from `listen` and `[tls]`")
        .means(
            "The address that clients use, where a load balancer or proxy stands in front. Only printed (by `serve` and `env`), never listened on.",
            "can send clients to another server, which cannot forge this log's signature but can refuse to answer.",
        ),
    scalar("data", "path of a directory", "\"/var/lib/tallystick\"", "`tallystick-data`")
        .flag("--data")
        .means(
            "Holds the log database, the keys, the control socket and `scratch`. All of it is private, files 0600 in directories 0700; what is looser is tightened at a start. Not on a network file system.",
            "can point the server at a log and key of their own; clients refuse it, because the verifier key differs.",
        ),
    scalar("anchor", "path of a file", "\"/mnt/other-disk/tallystick.anchor\"", "`anchor.db` in `data`")
        .means(
            "Remembers the highest tree head ever published, so that a restored backup cannot fork the log. Put it on another disk: a copy made together with the data protects against nothing.",
            "who also restores old data can make the log sign a second history; auditors and clients that saw the first one will find out.",
        ),
    scalar("listen", "address and port", "\"127.0.0.1:8470\"", "`127.0.0.1:8470`")
        .flag("--listen")
        .means(
            "The public door. The default answers this machine only; without `[tls]` put a TLS proxy in front before you open it wider. `:8470` is every address of the machine, IPv4 and IPv6; a name stands for all of its addresses, and the log says which were bound.",
            "can expose the names of private modules to whoever reaches the address.",
        ),
    scalar("metrics_listen", "address and port", "\"127.0.0.1:8471\"", "`127.0.0.1:8471`")
        .flag("--metrics-listen")
        .means(
            "Health and metrics, read-only, for load balancers and Prometheus. It has no TLS and no access control: keep it on an internal address. Written as `listen` is.",
            "can expose counts and states, no module names.",
        ),
    scalar("freshness", "10s to 24h", "\"5m\"", "5m")
        .means(
            "How old the newest cosignatures on `/tlog/checkpoint` become while the log is idle: then its own key and its witnesses date the same head again. Who reads an older one knows that it is not fresh.",
            "can let an old view of the log pass for a fresh one for longer.",
        ),
    scalar("tls.cert", "path of a PEM file", "\"tls/cert.pem\"", "no TLS")
        .means(
            "Certificate chain of the public door, leaf first; read again when it changes. Needs `tls.key`. Clients send credentials over https only.",
            "who also has its key can read and answer what clients ask, not forge the log.",
        ),
    scalar("tls.key", "path of a PEM file", "\"tls/key.pem\"", "no TLS")
        .means("The private key of `tls.cert`: mode 0600, or 0640 where root owns it. Refused if others can read or write it.", "can impersonate the server's host, not the log."),
    scalar("trusted_proxies", "list of addresses or networks", "[\"10.0.0.9\"]", "none")
        .means(
            "Peers whose X-Forwarded-For is believed when requests are counted per client, and whose connections have no share of their own. Without your load balancer in it, all clients count as one. Name each proxy by its own address: every machine inside a network that is listed can write any client address.",
            "can write any client address and so evade the limit of misses per client.",
        ),
    scalar("roots", "path of a PEM file", "\"corp-ca.pem\"", "the system's certificates")
        .means(
            "Root certificates that outgoing connections trust, in place of the system's; those of the go and git commands that `direct` starts too. Without it `SSL_CERT_FILE` and `SSL_CERT_DIR` of the environment say the same.",
            "can read and answer outgoing requests; lines of a sumdb stay safe (they are signed), computed lines do not.",
        ),
    scalar("git_config", "path of a file", "\"gitconfig\"", "none: no credentials, no rewrites")
        .means(
            "The Git configuration that `direct` sources use (credential helpers, insteadOf, core.sshCommand), with full paths in it. It beats our own settings, `roots` and the proxies of the environment. Git sees nothing else of the server's home. Refused if others can write it.",
            "can run commands as the server's user: Git configuration may name programs.",
        ),
    scalar("contact", "mailto: or https:// address", "\"mailto:ops@corp.example\"", "none")
        .means(
            "How the operators of other servers reach you: sent with every request of ours, in the User-Agent. Whoever runs a checksum database or proxy that you ask a lot will rather write than shut you out.",
            "can have the blame for your requests sent to somebody else.",
        ),
    scalar("redirects.hosts", "list of `host`, `host:port` or `*.domain`", "[\"storage.example\"]", "none")
        .means(
            "Hosts, beside its own, that a module source may redirect to: the storage behind a module proxy. Credentials never go along, nor does https become http.",
            "who also controls a source can make the server fetch from those hosts.",
        ),
    scalar("redirects.private_sources", "list of `host`, `host:port` or `*.domain`", "[\"goproxy.corp.example\"]", "none")
        .means(
            "Sources whose redirects to `redirects.hosts` may lead to private addresses: where the storage is inside the company too.",
            "who also controls such a source can reach the listed names inside the network, with GET and without credentials.",
        ),
    scalar("log_format", "`text` or `json`", "\"json\"", "`text`")
        .means("The form of the log lines on stderr.", "can make a log collector misread the lines."),
    scalar("log_filter", "tracing directives", "\"info,tallystick::log=debug\"", "`info` for serve, `warn` for the other commands")
        .means("Which log lines are written. Secrets are in none of them.", "can hide the traces of what they do."),
    listed("sumdb.*.key", "verifier key", "\"sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8\"", "built in for sum.golang.org")
        .means(
            "The key under which the tree heads of that checksum database must verify. Its name must be the section's name.",
            "who also answers at `urls` can have forged lines enter the log as public ones.",
        ),
    listed("sumdb.*.urls", "list of http, https or file URLs", "[\"https://sum.golang.org\"]", "built in for sum.golang.org, after the proxies of its routes")
        .means(
            "Where that database is asked, in this order: itself, the passthrough of a module proxy (`<proxy>/sumdb/<name>`), or a directory of its files (`file:///srv/sum`). Answers are verified, so any of them will do. By default the proxies in the `source` of the route for `\"*\"` are asked first, where their `supported` says that they pass it on; what such a proxy does not have or withholds is then not asked elsewhere.",
            "can see which public modules are asked for, and refuse to answer. Forged answers are refused.",
        ),
    listed("sumdb.*.mode", "`full`, `on-demand` or `heads`", "\"on-demand\"", "`on-demand`")
        .means(
            "What is kept of that database: `full` replicates every record, so that look-ups and tiles need no network; `on-demand` keeps what was asked for, verified, and answers it for ever; `heads` only watches its tree heads for a fork. All are served under `/sumdb/<name>/`, as far as they go. A mode can be raised later, and loses nothing that was verified.",
            "can take the mirror away from its clients; what it answers stays verified.",
        ),
    listed("sumdb.*.poll", "1s to 24h", "\"30s\"", "30s for heads, 5m for the others")
        .means(
            "How often `serve` asks for that database's newest head: up to a quarter earlier by chance, later after failures.",
            "can make the server a nuisance to that database, or let it notice a fork late.",
        ),
    listed("sumdb.*.schedule", "five fields of cron, in UTC", "\"*/5 * * * *\"", "none: every `poll`")
        .means(
            "When `serve` asks for that database's newest head, in place of every `poll`: minute, hour, day of the month, month, day of the week.",
            "can make the server a nuisance to that database, or let it notice a fork late.",
        ),
    listed("sumdb.*.jobs", "1 to 1024", "32", "32")
        .means(
            "How many requests of one kind to that database may be in flight at once: look-ups, hash tiles, and data tiles of a full mirror. Clients take turns with look-ups. Fewer are kinder, more are faster where the line is long.",
            "can make the server a nuisance to that database, or slow it down.",
        ),
    listed("sumdb.*.requests_per_second", "1 to 1000000", "50", "no limit")
        .means(
            "How many requests a second that database gets from us, look-ups, tiles and heads together; a second's worth may come at once. A look-up that is not kept costs about a dozen.",
            "can make the server a nuisance to that database, or too slow to answer.",
        ),
    listed("sumdb.*.bytes_per_second", "1024 to 1099511627776", "1048576", "no limit")
        .means(
            "How many bytes a second are taken from that database, all answers together, counted as they come. The 13 GB of sum.golang.org take four hours at a megabyte.",
            "can fill the line, or make the server too slow to answer.",
        ),
    listed("sumdb.*.hook_secret_file", "path of a file", "\"hook.secret\"", "none: no hook")
        .means(
            "A file with one line, mode 0600 (0640 where root owns it): the secret that signs `POST /hooks/mirror/<name>` as GitHub, GitLab, Gitea and Forgejo sign their web hooks. A signed request has the newest head asked for at once.",
            "can have the newest head asked for, at most once a second, and nothing else.",
        ),
    listed("sumdb.*.verify_interval", "1s to 744h, or `off`", "\"24h\"", "24h")
        .flag("--verify-interval")
        .means(
            "In which time `serve` computes a full mirror again, from its records to the signed root, a slice at a time at equal pauses. What it finds is a log line, a metric and an incident, and is not answered any more. The flag is for all mirrors.",
            "can wear the disk, or let damage lie unseen until somebody asks for what is damaged; that is refused then all the same.",
        ),
    listed("route.*.modules", "list of patterns as in GOPRIVATE", "[\"corp.example/*\", \"git.corp.example\"]", "required")
        .means(
            "Which module paths this route is for. Routes are tried in order and the first match wins, so private routes come before `\"*\"`. A path that no route matches is answered 404. Matching is case-sensitive, as in GOPRIVATE: a path that a computed route misses only by upper and lower case, or that is right above its `/*`, is refused (403) and named to nobody, unless a route names it.",
            "can move private modules to a public route, which tells their names to the public database.",
        ),
    listed("route.*.source", "GOPROXY list", "[\"https://goproxy.corp.example\", \"direct\"]", "none; required with checksum = \"compute\"")
        .means(
            "Where the modules are fetched: http, https, file, or `direct` (version control through the `go` command, only where every pattern's host is literal). A comma or a new element asks the next one after 404 and 410, a `|` after any error.",
            "decides what a private module's first, and for ever only, hash is.",
        ),
    listed("route.*.netrc", "path of a file", "\"gitlab.netrc\"", "none: no logins")
        .means(
            "Logins for the hosts that `direct` asks, where go-import pages or repositories stand behind one: lines `machine git.corp.example login USER password PASSWORD`, mode 0600 (0640 where root owns it). Git and the `go` command use them, over https, for the hosts that it names; `default` is refused. No message or log line shows them.",
            "can have another account's view of these modules recorded.",
        ),
    listed("route.*.checksum", "`compute` or the name of a sumdb", "\"sum.golang.org\"", "required")
        .means(
            "Where the lines come from: hash what the source serves, or take them, verified, from that checksum database (no zip is downloaded then).",
            "can replace lines that the public log vouches for by lines that the source makes up.",
        ),
    listed("witness.*.name", "one word", "\"w1\"", "required")
        .means(
            "What this configuration, the metrics and the exported policy call a witness of this log.",
            "can confuse whoever reads the figures.",
        ),
    listed("witness.*.url", "http or https URL", "\"https://witness.example/w1\"", "required")
        .means(
            "The witness's submission prefix (C2SP tlog-witness): every published head is posted to `<url>/add-checkpoint`, and what it has cosigned is read from below it.",
            "can see how fast the log grows, and refuse to answer: that delays the first signature of each start by 10 s, and with `witnesses.required` it stops the log. Nobody else's cosignature passes for the witness's.",
        ),
    listed("witness.*.key", "verifier key of the type 0x04", "\"witness.example/w1+eb762cc2+BNdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea\"", "required")
        .means(
            "The key under which its cosignatures must verify, as the witness's operator gives it (`tallystick witness key`).",
            "who also answers at `url` can be a witness that saw nothing.",
        ),
    scalar("witnesses.quorum", "0 to the number of witnesses", "1", "0 without witnesses, else more than half of them")
        .means(
            "How many of the witnesses are enough: for the exported policy, for `tallystick_witness_quorum`, and for `required`.",
            "can make one witness, or none, enough.",
        ),
    scalar("witnesses.required", "`true` or `false`", "false", "`false`")
        .means(
            "Whether a head is published only after `witnesses.quorum` witnesses have cosigned it. A head that waits is committed and anchored already: nothing is lost or built beside it, look-ups of new modules are answered 503 meanwhile, and what was published before is served.",
            "can have heads published that no witness saw, or let unreachable witnesses stop the log.",
        ),
    scalar("witnesses.timeout_seconds", "1 to 60", "5", "5")
        .means(
            "How long a head waits for enough cosignatures before those who wait for it are told to try again. Keep it below `limits.deadline_seconds`.",
            "can make look-ups of new modules slow, or fail where witnesses are far away.",
        ),
    scalar("limits.connections", "2 to 1000000", "8192", "8192")
        .means(
            "How many connections to the public door are served at the same time, each with some 10 KiB of memory; half as many more may wait for their turn. One client may take all of them as long as nobody else comes. When all are taken, a client that holds fewer than others gets one at once from the client (address, or /64 of IPv6) that holds most. Connections of `trusted_proxies` have no such share. Every connection needs two descriptors of the process's limit.",
            "can shut clients out, or exhaust memory and descriptors.",
        ),
    scalar("limits.deadline_seconds", "1 to 600", "50", "50")
        .means(
            "How long a look-up of an unknown module may take before the client gets 503 and is told to retry. Keep it below the load balancer's time-out (often 60), which says nothing useful.",
            "can make every look-up of a new module fail, or let slow upstreams hold connections.",
        ),
    scalar("limits.concurrency", "1 to 10000", "64", "64")
        .means(
            "How many unknown modules are fetched or looked up upstream at the same time: three quarters of them from one server or by one route, so that one that hangs does not stop the others. More wait within the deadline, and clients take turns: a client that is alone has every place, and a newcomer has its share within a second, for which the youngest work of another client is stopped and done again later.",
            "can exhaust memory, descriptors or the upstream's patience.",
        ),
    scalar("limits.zip_bytes", "1 to 524288000", "524288000", "524288000 (500 MiB, the go command's own limit)")
        .means("The largest module zip that is hashed.", "can refuse large modules, or fill the scratch disk."),
    scalar("limits.client_misses_per_minute", "1 to 1000000", "3000", "3000")
        .means(
            "How many look-ups of unknown modules one client address may cause. Every miss can make the log grow for ever. A cold build of a large project causes a few hundred.",
            "can grow the log faster, or lock clients out.",
        ),
    scalar("limits.misses_per_minute", "1 to 10000000", "30000", "30000")
        .means("The same for all clients together.", "can grow the log faster, or lock clients out."),
    scalar("limits.negative_cache_seconds", "0 to 60", "30", "30")
        .means(
            "How long a `not found` is remembered before the source is asked again. 0 asks every time; above 60 a freshly published version would be missing for too long.",
            "can delay a new version by a minute.",
        ),
    scalar("cache.tile_bytes", "0 to 1099511627776", "16777216", "16777216 (16 MiB)")
        .means("Memory for tiles that were asked for lately, of all logs together.", "can exhaust memory or slow the server down."),
    scalar("cache.lookup_bytes", "0 to 1099511627776", "25165824", "25165824 (24 MiB)")
        .means("Memory for answers to look-ups, of all logs together.", "can exhaust memory or slow the server down."),
    scalar("cache.database_bytes", "0 to 1099511627776", "16777216", "16777216 (16 MiB)")
        .means("Memory for pages of the databases, of the own log and of full mirrors, in equal parts. Beside it, up to 50 MiB of each index are in memory: all of one with twelve million records, the newest part of a larger one.", "can exhaust memory or slow the server down."),
];
