"""Witnesses: durable cosignatures for many logs, and a log that publishes nothing without three of them."""

import json
import shutil
from pathlib import Path

from .. import data
from ..context import Context
from ..process import Server, body_of, free_port, run as run_command
from ..result import Row, Target, alternate
from ..servers import Servers

WITNESS, LOG = "tallystick witness", "a log with three witnesses"
CALLERS, WITNESSES = 64, 3


def run(context: Context) -> None:
    settings, tools = context.settings, context.tools
    count = 200 if settings.quick else 5_000
    ask = context.row(Row("witness", f"`add-checkpoint`, {CALLERS} callers, {count:,} logs in turn, each grows by one", [
        Target("≥ 2,000 durable cosignatures/s", WITNESS, "per_s", 2_000),
    ]))
    ask.notes["how"] = "Each answer is a cosignature that was committed and synced; each request is a signed checkpoint with its consistency proof."
    publish = context.row(Row("witnessed", f"a lone append, published with the cosignatures of {WITNESSES} local witnesses", [
        Target("p50 ≤ 10 ms", LOG, "p50_ms", 10, at_least=False),
    ]))
    publish.notes["how"] = "The log is committed and anchored, then all witnesses cosign and sync, then the caller is answered. All on one disk."
    for _, measure in alternate(settings.repetitions, [asked, published]):
        directory = data.scratch("witness")
        with Servers(tools) as servers:
            measure(context, servers, directory, count, ask if measure is asked else publish)
        data.remove(directory)


def witness(context: Context, servers: Servers, directory: Path, name: str, logs: str) -> Server:
    configuration, port, metrics = directory / f"{name}.toml", free_port(), free_port()
    directory.mkdir(parents=True, exist_ok=True)
    configuration.write_text(
        f'name = "{name}.example"\ndata = "{name}"\nlisten = "127.0.0.1:{port}"\nmetrics_listen = "127.0.0.1:{metrics}"\n{logs}')
    server = servers.start(f"witness-{name}", [context.tools.tallystick, "witness", "--config", configuration], metrics, "/readyz")
    server.url, server.configuration = f"http://127.0.0.1:{port}", configuration
    return server


def asked(context: Context, servers: Servers, directory: Path, count: int, row: Row) -> None:
    logs = run_command([context.tools.witnesses, "logs", count], 60).stdout
    server = witness(context, servers, directory, "w", logs)
    before = server.cpu_seconds()
    report = json.loads(run_command([context.tools.witnesses, "ask", server.url, count, CALLERS, context.settings.seconds], 120).stdout)
    spent = server.cpu_seconds() - before
    cosigned = f"tallystick_witness_cosigned_total {report['count']}"
    assert cosigned in body_of(server.port, "/metrics").decode(), f"the witness did not count {report['count']} cosignatures"
    row.add(WITNESS, {**sample(report), "cpu_us": spent / report["count"] * 1e6})


def published(context: Context, servers: Servers, directory: Path, count: int, row: Row) -> None:
    log = directory / "log"
    # The key is made by the first run, which has no witness that knows it: it is told by `key show`.
    run_command([context.tools.tallystick, "key", "new", "--name", "bench.example", "--data", log], 30)
    shown = json.loads(run_command([context.tools.tallystick, "key", "show", "--json", "--data", log], 30).stdout)
    known, each = f'[[log]]\nkey = "{shown["vkey"]}"\n', []
    for number in range(WITNESSES):
        server = witness(context, servers, directory, f"w{number}", known)
        key = json.loads(run_command([context.tools.tallystick, "witness", "key", "--config", server.configuration, "--json"], 30).stdout)
        each.append(f"{key['vkey']}={server.url}")
    report = json.loads(run_command([context.tools.witnesses, "publish", log, context.settings.seconds, *each], 120).stdout)
    row.add(LOG, sample(report))
    shutil.rmtree(log, ignore_errors=True)


def sample(report: dict) -> dict[str, float]:
    return {key: report[key] for key in ("per_s", "p50_ms", "p99_ms")}
