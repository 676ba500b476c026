"""A full mirror of a log that x/mod wrote: replicated over HTTP and from a directory, then served."""

import json
import os
import random
from pathlib import Path
from statistics import median

from .. import data
from ..context import Context
from ..process import Failed, Finished, Server, body_of, run as run_command
from ..result import Row, Target, alternate
from ..servers import Servers
from ..wrk import load

TALLYSTICK, FSCK, REHASH, COPY = "tallystick", "Tessera's fsck, stores nothing", "x/mod re-hash, stores nothing", "cp -r"
NGINX, BARE = "nginx", "bare axum"
LOG = "peer.example"
# The public log in 2026, and the bytes of one of its records in a data tile.
PUBLIC, WIRE_BYTES = 72_000_000, 181

CONFIGURATION = """\
name = "{own}"
data = {data}
log_filter = "warn"

[sumdb."{log}"]
key = "{key}"
urls = [{url}]
mode = "full"
"""


def run(context: Context) -> None:
    """With --large at ten million records, else at one block."""
    settings = context.settings
    size = settings.block * 10 if settings.large else settings.block
    files = data.static_log(context.tools, size)
    (key,) = [line for line in (data.DATA / "static.key").read_text().split() if line.startswith(f"{LOG}+")]
    with Servers(context.tools) as servers:
        nginx = servers.nginx(files, "/latest")
        replicate(context, size, key, f"http://127.0.0.1:{nginx.port}", files, "http")
        replicate(context, size, key, files.as_uri(), files, "directory")
    serve(context, size, key, files)
    if size > settings.served:
        data.remove(data.OUT / "scratch" / "mirror")


def replicate(context: Context, size: int, key: str, url: str, files: Path, how: str) -> None:
    tools, settings = context.tools, context.settings
    least = 600_000 if how == "http" else 1_000_000
    row = context.row(Row(f"mirror-{how}", f"mirror, {size:,} records " + ("over loopback HTTP from nginx" if how == "http" else "from a local directory"), [
        Target(f"≥ {least:,} records/s", TALLYSTICK, "per_s", least),
        Target("RSS ≤ 512 MiB" + ("" if size >= 10_000_000 else f" (target is for 10M; here {size:,})"), TALLYSTICK, "rss_mib", 512, at_least=False),
        Target("≤ 100 B a record on disk" + ("" if size >= 10_000_000 else f" (target is for 10M; here {size:,})"), TALLYSTICK, "bytes_each", 100,
               at_least=False),
    ]))
    row.notes["how"] = ("Tallystick: `mirror sync --once`, from the start of the process to its end: fetched, verified, stored, indexed, the index merged,"
                        " the write-ahead log emptied. CPU is without nginx's.")
    row.notes["peers"] = ("The peers verify and store nothing. Tessera's fsck: its engine with 2 workers on the paths of a checksum database, since its command"
                          " reads the layout of tlog-tiles only. x/mod re-hash: one thread, one tile after the other, the tree in memory.")
    row.missing["sumdb-audit"] = "not measured: performance.md has 25,000 records/s for it"
    subjects = [TALLYSTICK, FSCK, REHASH] + ([COPY] if how == "directory" else [])
    for _, subject in alternate(settings.repetitions, subjects):
        # What the one before has written is not written at this one's expense.
        os.sync()
        sample = {TALLYSTICK: synced, COPY: copied}.get(subject, audited)(context, size, key, url, files, subject)
        row.add(subject, sample)
    row.notes["paper"] = on_paper(row, size)


def on_paper(row: Row, size: int) -> str:
    """What the public log would take at the median of these figures. Its records are as long as these, so only the line is another."""
    middle = {metric: median(sample[metric] for sample in row.samples[TALLYSTICK]) for metric in ("per_s", "cpu_us", "bytes_each", "rss_mib")}
    data_tiles = PUBLIC // 256
    requests = data_tiles + data_tiles // 256 + data_tiles // 65_536 + 3
    return (f"On paper, {PUBLIC // 1_000_000} million records (sum.golang.org) at these {size:,}'s rate: {PUBLIC / middle['per_s']:.0f} s,"
            f" {PUBLIC * middle['cpu_us'] / 6e7:.1f} minutes of CPU, {PUBLIC * middle['bytes_each'] / 1e9:.1f} GB on disk, {middle['rss_mib']:.0f} MiB of memory,"
            f" {requests:,} requests. Over a line with 100 ms of delay, 32 requests at a time"
            f" take {requests * 0.1 / 32 / 60:.0f} minutes, and {PUBLIC * WIRE_BYTES / 1e9:.0f} GB take {PUBLIC * WIRE_BYTES * 8 / 1e8 / 60:.0f} minutes at 100 Mbit/s.")


def rates(done: Finished, size: int) -> dict[str, float]:
    return {"per_s": size / done.seconds, "cpu_us": done.cpu_seconds / size * 1e6, "rss_mib": done.rss_mib}


def synced(context: Context, size: int, key: str, url: str, *_) -> dict[str, float]:
    directory = data.scratch("mirror")
    configuration = configured(directory, key, url)
    done = run_command([context.tools.tallystick, "mirror", "--config", configuration, "sync", LOG, "--once", "--quiet"], 900, watch=True)
    database = directory / "data" / "mirror" / f"{LOG}.full.db"
    if not database.exists():
        raise Failed(f"no {database.name} after a sync")
    return {**rates(done, size), "bytes_each": data.log_bytes(database.parent) / size}


def configured(directory: Path, key: str, url: str) -> Path:
    configuration = directory / "tallystick.toml"
    configuration.write_text(CONFIGURATION.format(own=data.NAME, data=json.dumps(str(directory / "data")), log=LOG, key=key, url=json.dumps(url)))
    return configuration


def audited(context: Context, size: int, key: str, url: str, _: Path, subject: str) -> dict[str, float]:
    by = "fsck" if subject == FSCK else "rehash"
    done = run_command([context.tools.peers / "audit", "-by", by, "-url", url, "-vkey", key], 900, watch=True)
    found = json.loads(done.stdout)["records"]
    if found != size:
        raise Failed(f"{subject} found {found} records, not {size}")
    return rates(done, size)


def copied(_context: Context, size: int, _key: str, _url: str, files: Path, _: str) -> dict[str, float]:
    directory = data.scratch("copy")
    done = run_command(["cp", "-r", files, directory / "log"], 900, watch=True)
    sample = {**rates(done, size), "bytes_each": data.log_bytes(directory) / size}
    data.remove(directory)
    return sample


def serve(context: Context, size: int, key: str, files: Path) -> None:
    """What the last sync has left, served beside nginx with the same files."""
    prefix, directory = f"/sumdb/{LOG}", data.OUT / "scratch" / "mirror"
    root = data.scratch("mirror-root")
    (root / "sumdb").mkdir()
    (root / "sumdb" / LOG).symlink_to(files)
    with Servers(context.tools) as servers:
        own = servers.mirror(configured(directory, key, files.as_uri()), f"{prefix}/latest")
        subjects = {TALLYSTICK: own, NGINX: servers.nginx(root, f"{prefix}/latest")}
        for kind, bound in (("hash", 0.3), ("data", 0.5)):
            paths = [prefix + path for path in data.tile_paths(size, kind)]
            check(subjects, paths)
            row = Row(f"mirror-{kind}-tile", f"mirror: {kind} tile, random, {size:,} records", [
                Target(f"≥ {bound} × nginx", TALLYSTICK, "per_s", bound, against=NGINX),
            ])
            measure(context, row, subjects, paths[len(paths) // 3], data.shuffled(paths, f"mirror-{kind}"))
        lookups = data.lookup_paths(context.tools, size, 200_000).read_text().split()
        body = body_of(own.port, prefix + lookups[0])
        if lookups[0].rpartition("@")[2].encode() not in body:
            raise Failed(f"{lookups[0]} is answered with {body[:200]!r}")
        row = Row("mirror-lookup", f"mirror: look-up, random, {size:,} records", [
            Target("≥ 0.65 × bare axum", TALLYSTICK, "per_s", 0.65, against=BARE),
            Target("RSS ≤ 128 MiB after all of these", TALLYSTICK, "rss_mib", 128, at_least=False),
        ])
        paths = data.shuffled([prefix + path for path in lookups], "mirror-lookups", 200_000)
        measure(context, row, {TALLYSTICK: own, BARE: servers.bare(len(body))}, prefix + lookups[0], paths)


def measure(context: Context, row: Row, subjects: dict[str, Server], hot: str, paths: Path) -> None:
    row = context.row(row)
    for server in subjects.values():
        load(server, hot, 1, paths=paths)
    for _, subject in alternate(context.settings.repetitions, list(subjects)):
        row.add(subject, load(subjects[subject], hot, context.settings.seconds, paths=paths))


def check(subjects: dict[str, Server], paths: list[str]) -> None:
    """The edge and some others are byte-identical: nobody is fast with wrong bytes."""
    for path in [paths[-1], *random.Random(3).choices(paths, k=20)]:
        if len({body_of(server.port, path) for server in subjects.values()}) != 1:
            raise Failed(f"{path} differs between the servers")
