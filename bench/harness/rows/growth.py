"""Ten million records: the rate of every million on the way, and what an append, a look-up and a proof cost there."""

import json
import random

from .. import data
from ..context import Context
from ..process import Failed, Skipped, body_of, run as run_command
from ..result import Row, Target, alternate
from ..servers import Servers
from ..wrk import load
from . import append

FIRST, LAST = "the first", "from the tenth on"
SMALL, LARGE, BARE = "tallystick, small log", "tallystick, large log", "bare axum"


def run(context: Context) -> None:
    if not context.settings.large:
        raise Skipped("rows at ten million records take minutes: ask for them with --large")
    grow(context)
    small = data.own_log(context.tools, context.settings.served)
    costs(context, small)
    lookups(context, small)
    proofs(context)


def grow(context: Context) -> None:
    tools, block, blocks = context.tools, context.settings.block, context.settings.growth_blocks
    row = context.row(Row("growth-append", f"append, bulk, by blocks of {block:,}, one process each", [
        Target("≥ 150,000/s from the tenth on", LAST, "per_s", 150_000),
    ]))
    log = data.scratch("large-log")
    for number in range(blocks):
        stream = data.records(tools, number * block, (number + 1) * block)
        done = data.bulk_append(tools, log, stream)
        # The first block's stream serves other rows too; the others are 200 MB each.
        if number > 0:
            stream.unlink()
        subject = FIRST if number == 0 else LAST if number >= 9 else f"block {number + 1}"
        row.add(subject, {
            "per_s": block / done.seconds, "cpu_us": done.cpu_seconds / block * 1e6, "rss_mib": done.rss_mib,
            "bytes_each": data.log_bytes(log) / (block * (number + 1)),
        })
    context.large_log, context.large_records = log, block * blocks
    first = row.samples[FIRST][0]["per_s"]
    cost = context.row(Row("growth-append-cost", "append, bulk: what a record costs late, over what it costs in the first block", [
        Target("≤ 1.5 ×", LAST, "ratio", 1.5, at_least=False),
    ], plot=""))
    for sample in row.samples[LAST]:
        cost.add(LAST, {"ratio": first / sample["per_s"]})


def costs(context: Context, small) -> None:
    tools, settings = context.tools, context.settings
    logs = {SMALL: small, LARGE: context.large_log}
    sizes = f"{settings.served:,} and {context.large_records:,} records"
    lone = context.row(Row("growth-lone", f"append by a lone caller, logs of {sizes}", [
        Target("p50 ≤ 1.5 × the small log's", LARGE, "p50_ms", 1.5, at_least=False, against=SMALL),
        Target("p50 ≤ 3 ms", LARGE, "p50_ms", 3, at_least=False),
    ], plot="p50_ms"))
    proofs = context.row(Row("growth-proof", f"inclusion proof of a random record, logs of {sizes}", [
        Target("≤ 1.5 × the small log's", LARGE, "us_each", 1.5, at_least=False, against=SMALL),
    ], plot="us_each"))
    for _, name in alternate(settings.repetitions, list(logs)):
        report = append.called(tools, logs[name], 1, settings.seconds)
        lone.add(name, {"per_s": report["records_per_s"], "p50_ms": report["p50_ms"], "p99_ms": report["p99_ms"]})
        report = json.loads(run_command([tools.workload, "proofs", logs[name], 20_000], 120).stdout)
        proofs.add(name, {"us_each": report["us_per_proof"]})


def lookups(context: Context, small) -> None:
    tools, settings = context.tools, context.settings
    sizes = {SMALL: settings.served, LARGE: settings.block * settings.growth_blocks}
    paths = {name: data.lookup_paths(tools, size, 200_000) for name, size in sizes.items()}
    paths[BARE] = paths[LARGE]
    row = context.row(Row("growth-lookup", f"look-up, random, logs of {sizes[SMALL]:,} and {sizes[LARGE]:,} records", [
        Target("≥ 0.65 × bare axum", LARGE, "per_s", 0.65, against=BARE),
        Target("RSS ≤ 128 MiB", LARGE, "rss_mib", 128, at_least=False),
        Target("CPU ≤ 1.5 × the small log's", LARGE, "cpu_us", 1.5, at_least=False, against=SMALL),
    ]))
    with Servers(tools) as servers:
        subjects = {SMALL: servers.tallystick(small), LARGE: servers.tallystick(context.large_log)}
        first = paths[LARGE].read_text().partition("\n")[0]
        answer = body_of(subjects[LARGE].port, first)
        if first.rpartition("@")[2].encode() not in answer:
            raise Failed(f"{first} is answered with {answer[:200]!r}")
        subjects[BARE] = servers.bare(len(answer))
        for name, server in subjects.items():
            load(server, first, 1, paths=paths[name])
        for _, name in alternate(settings.repetitions, list(subjects)):
            row.add(name, load(subjects[name], first, settings.seconds, paths=paths[name]))


def proofs(context: Context) -> None:
    """Over HTTP: of random records in the newest tree and in any tree, and of two trees."""
    tools, settings, size = context.tools, context.settings, context.large_records
    draw = random.Random(2)
    pairs = [sorted(draw.sample(range(1, size + 1), 2)) for _ in range(200_000)]
    kinds = {
        "newest": ("inclusion of any record in the newest tree", [f"inclusion?record={old - 1}" for old, _ in pairs]),
        "any": ("inclusion of any record in any tree", [f"inclusion?record={old - 1}&size={new}" for old, new in pairs]),
        "trees": ("consistency of any two trees", [f"consistency?from={old}&to={new}" for old, new in pairs]),
    }
    with Servers(tools) as servers:
        own = servers.tallystick(context.large_log)
        for kind, (text, queries) in kinds.items():
            paths = data.shuffled([f"/api/v1/proofs/{query}" for query in queries], f"proofs-{kind}", len(queries))
            first = f"/api/v1/proofs/{queries[0]}"
            if b'"hashes":[' not in body_of(own.port, first):
                raise Failed(f"{first} is answered without a proof")
            row = context.row(Row(f"proofs-{kind}", f"proofs over HTTP, {text}, {size:,} records", [
                Target("≥ 20,000/s", LARGE, "per_s", 20_000),
                Target("CPU ≤ 100 µs", LARGE, "cpu_us", 100, at_least=False),
            ]))
            load(own, first, 1, paths=paths)
            for _ in range(settings.repetitions):
                row.add(LARGE, load(own, first, settings.seconds, paths=paths))
