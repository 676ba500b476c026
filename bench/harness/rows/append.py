"""Durable appends: in bulk, by many callers at once, and by one alone."""

import json

from .. import data
from ..context import Context
from ..process import run as run_command
from ..result import Row, Target, alternate

TALLYSTICK, UNIQUE, PLAIN = "tallystick", "Tessera, no duplicates", "Tessera"
CALLERS, LONE, PUBLISHED = "256 callers", "a lone caller", "Tessera, 256 until published"


def run(context: Context) -> None:
    bulk(context)
    callers(context)


def bulk(context: Context) -> None:
    tools, settings = context.tools, context.settings
    row = context.row(Row("append-bulk", f"append, bulk, durable, unique, signed: the first {settings.block:,} records", [
        Target("≥ 200,000 records/s", TALLYSTICK, "per_s", 200_000),
        Target("≥ 6 × Tessera without duplicates", TALLYSTICK, "per_s", 6, against=UNIQUE),
    ]))
    row.notes["tessera"] = f"Tessera POSIX: {settings.tessera:,} records, until all are in the published checkpoint."
    stream = data.records(tools, 0, settings.block)
    for _, subject in alternate(settings.repetitions, [TALLYSTICK, UNIQUE, PLAIN]):
        directory = data.scratch("append")
        if subject == TALLYSTICK:
            how, done = data.bulk_append(tools, directory, stream)
            row.notes["how"] = f"Tallystick: `{how}`, from the start of the process to its end, the database closed."
            row.add(subject, {
                "per_s": settings.block / done.seconds, "cpu_us": done.cpu_seconds / settings.block * 1e6,
                "rss_mib": done.rss_mib, "bytes_each": data.log_bytes(directory) / settings.block,
            })
        else:
            command = [tools.peers / "tessbench", "-dir", directory / "log", "-n", settings.tessera]
            done = run_command(command + (["-as"] if subject == UNIQUE else []), 900, watch=True)
            report = json.loads(done.stdout)
            row.add(subject, {
                "per_s": report["published_per_s"], "cpu_us": done.cpu_seconds / settings.tessera * 1e6,
                "rss_mib": done.rss_mib, "bytes_each": data.log_bytes(directory) / settings.tessera,
            })
        data.remove(directory)


def callers(context: Context) -> None:
    tools, settings = context.tools, context.settings
    row = context.row(Row("append-callers", f"append through the sequencer, one record a call, log of {settings.served:,} records", [
        Target("256 callers ≥ 50,000/s", CALLERS, "per_s", 50_000),
        Target("256 callers p50 ≤ 6 ms", CALLERS, "p50_ms", 6, at_least=False),
        Target("a lone caller p50 ≤ 3 ms", LONE, "p50_ms", 3, at_least=False),
    ]))
    row.notes["answer"] = "Tallystick answers when a signed, durable, anchored head contains the record; Tessera: checkpoint every 100 ms."
    log = data.own_log(tools, settings.served)
    for _, subject in alternate(settings.repetitions, [CALLERS, LONE, PUBLISHED]):
        if subject == PUBLISHED:
            count = 2_000 if settings.quick else 10_000
            directory = data.scratch("published")
            done = run_command([tools.peers / "tessbench", "-dir", directory, "-n", count, "-w", 256, "-pub"], 300)
            report = json.loads(done.stdout)
            rate = report["published_per_s"]
        else:
            count = 256 if subject == CALLERS else 1
            report = called(tools, log, count, settings.seconds)
            rate = report["records_per_s"]
        row.add(subject, {"per_s": rate, "p50_ms": report["p50_ms"], "p99_ms": report["p99_ms"]})


def called(tools, log, count: int, seconds: float) -> dict:
    return json.loads(run_command([tools.workload, "callers", log, count, seconds], seconds + 60).stdout)
