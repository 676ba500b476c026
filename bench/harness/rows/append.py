"""Durable appends: in bulk by the library and by `tallystick import`, by many callers at once, and by one alone."""

import json
from pathlib import Path

from .. import data
from ..context import Context
from ..process import Finished, run as run_command
from ..result import Row, Target, alternate
from ..servers import Servers

TALLYSTICK, UNIQUE, PLAIN = "tallystick", "Tessera, no duplicates", "Tessera"
SERVED = "tallystick, by way of a server"
CALLERS, LONE, PUBLISHED = "256 callers", "a lone caller", "Tessera, 256 until published"


def run(context: Context) -> None:
    bulk(context)
    callers(context)


def bulk(context: Context) -> None:
    """Two rows with the same peers: the library alone, and the command, which reads its stream and reports."""
    settings = context.settings
    title = f"{settings.block:,} records, durable, unique, signed"
    library = context.row(Row("append-bulk", f"append, bulk, by the library: the first {title}", targets()))
    command = context.row(Row("import", f"`tallystick import --trust`: {title}", targets()))
    library.notes["how"] = "Tallystick: `workload append`, from the start of the process to its end, the database closed."
    command.notes["how"] = ("`tallystick import FILE --trust --importer bench`, from the start of the command to its end: into a log that it opens"
                            " itself, and through the control socket of a running `serve`, whose memory is not counted.")
    for row in (library, command):
        row.notes["tessera"] = f"Tessera POSIX: {settings.tessera:,} records, until all are in the published checkpoint."
    measurements = [
        (TALLYSTICK, in_library, [library]), (TALLYSTICK, imported, [command]), (SERVED, imported_by_server, [command]),
        (UNIQUE, tessera_unique, [library, command]), (PLAIN, tessera, [library, command]),
    ]
    for _, (subject, measure, rows) in alternate(settings.repetitions, measurements):
        directory = data.scratch("append")
        sample = measure(context, directory)
        for row in rows:
            row.add(subject, sample)
        data.remove(directory)


def targets() -> list[Target]:
    return [
        Target("≥ 200,000 records/s", TALLYSTICK, "per_s", 200_000),
        Target("≥ 6 × Tessera without duplicates", TALLYSTICK, "per_s", 6, against=UNIQUE),
    ]


def stream(context: Context):
    return data.records(context.tools, 0, context.settings.block)


def taken(done: Finished, directory: Path, count: int, per_s: float | None = None) -> dict[str, float]:
    return {
        "per_s": per_s or count / done.seconds, "cpu_us": done.cpu_seconds / count * 1e6, "rss_mib": done.rss_mib,
        "bytes_each": data.log_bytes(directory) / count,
    }


def in_library(context: Context, directory: Path) -> dict[str, float]:
    done = run_command([context.tools.workload, "append", directory, stream(context)], 900, watch=True)
    return taken(done, directory, context.settings.block)


def imported(context: Context, directory: Path) -> dict[str, float]:
    return taken(data.bulk_append(context.tools, directory, stream(context)), directory, context.settings.block)


def imported_by_server(context: Context, directory: Path) -> dict[str, float]:
    log = directory / "data"
    with Servers(context.tools) as servers:
        server = servers.tallystick(log)
        before = server.cpu_seconds()
        done = data.bulk_append(context.tools, log, stream(context))
        spent = server.cpu_seconds() - before
    sample = taken(done, log, context.settings.block)
    return {**sample, "cpu_us": sample["cpu_us"] + spent / context.settings.block * 1e6}


def tessera(context: Context, directory: Path, *arguments: str) -> dict[str, float]:
    count = context.settings.tessera
    done = run_command([context.tools.peers / "tessbench", "-dir", directory / "log", "-n", count, *arguments], 900, watch=True)
    return taken(done, directory, count, json.loads(done.stdout)["published_per_s"])


def tessera_unique(context: Context, directory: Path) -> dict[str, float]:
    return tessera(context, directory, "-as")


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
