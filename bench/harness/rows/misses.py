"""Look-ups of modules that are not in the log: private ones are fetched from a GOPROXY in memory, hashed, appended, answered;
public ones are looked up in another checksum database, verified, appended, answered."""

import http.client
import random
import time
from statistics import quantiles

from .. import data
from ..build import ABSENT
from ..context import Context
from ..process import Failed, Server, body_of
from ..result import Row, Target, alternate
from ..servers import Servers, requests_answered
from ..wrk import load

TALLYSTICK, XMOD, ABSENT_PEER = "tallystick", "x/mod + dirhash, in memory", "xgosumdb"
CLIENTS = 256
# A public module: by way of us, from its database itself, and the difference of the two, module by module.
OURS, DATABASE, ON_TOP = "tallystick", "the database itself", "tallystick, on top of it"


def run(context: Context) -> None:
    private(context)
    public(context)


def private(context: Context) -> None:
    tools, settings = context.tools, context.settings
    row = context.row(Row("lookup-misses", f"look-up misses, private modules, {CLIENTS} clients", [
        Target("≥ 5,000 notarised/s", TALLYSTICK, "per_s", 5_000),
        Target("≥ 10 × xgosumdb", TALLYSTICK, "per_s", 10, against=ABSENT_PEER),
    ], missing=ABSENT))
    row.notes["memory"] = "x/mod's test server keeps everything in memory: nothing of it is durable."
    with Servers(tools) as servers:
        proxy = servers.memproxy()
        source = f"http://127.0.0.1:{proxy.port}"
        subjects = {
            TALLYSTICK: servers.tallystick(data.scratch("misses") / "data", source, concurrency=CLIENTS),
            XMOD: servers.xmod(0, source),
        }
        check(subjects)
        for repetition, subject in alternate(settings.repetitions, list(subjects)):
            server, before = subjects[subject], int(body_of(proxy.port, "/count"))
            spent = proxy.cpu_seconds()
            # A name for each repetition: every look-up is the first of its module.
            sample = load(server, "/latest", settings.seconds, connections=CLIENTS, fresh=f"/lookup/corp.example/misses/r{repetition}m")
            asked = int(body_of(proxy.port, "/count")) - before
            answered = sample["per_s"] * settings.seconds
            sample["upstream"] = asked / answered
            sample["source_cpu_us"] = (proxy.cpu_seconds() - spent) / answered * 1e6
            row.add(subject, sample)
        if requests_answered(subjects[TALLYSTICK]) == 0:
            raise Failed("tallystick counted no request")


def public(context: Context) -> None:
    """Every module is asked once of either, by the same client on connections that are open: what a miss adds."""
    tools, settings = context.tools, context.settings
    count = 100 if settings.quick else 1_000
    row = context.row(Row("notarise-public", f"look-up miss of a public module, database of {settings.served:,} records, one client", [
        Target("p50 ≤ 5 ms on top of the upstream's own", ON_TOP, "p50_ms", 5, at_least=False),
        Target("p99 ≤ 5 ms on top of the upstream's own", ON_TOP, "p99_ms", 5, at_least=False),
    ], plot="p50_ms"))
    row.notes["public"] = (f"{count:,} modules a repetition, none asked twice; the database is x/mod's test server. Ours verifies the record under the"
                           " signed head, for which it fetches the hash tiles that it does not hold yet, and appends it durably before it answers.")
    paths = set(data.lookup_paths(tools, settings.served, 50_000).read_text().split())
    paths = sorted(path for path in paths if not path.startswith("/lookup/corp.example/"))
    paths = random.Random(4).sample(paths, count * settings.repetitions)
    for repetition in range(settings.repetitions):
        with Servers(tools) as servers:
            database = servers.xmod(settings.served)
            key = database.log.read_text().split()[0]
            ours = servers.tallystick(data.scratch("public") / "data", public=(key, f"http://127.0.0.1:{database.port}"))
            asked = paths[repetition * count:(repetition + 1) * count]
            for subject, times in ask_both(ours, database, asked).items():
                row.add(subject, {"p50_ms": percentile(times, 50), "p99_ms": percentile(times, 99), "most_ms": max(times)})


def ask_both(ours: Server, database: Server, paths: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each look-up, and each difference. In turn one and the other is asked first."""
    connections = {OURS: connect(ours), DATABASE: connect(database)}
    times = {OURS: [], DATABASE: []}
    for place, path in enumerate(paths):
        lines = {}
        for name in (OURS, DATABASE) if place % 2 else (DATABASE, OURS):
            taken, body = ask(connections[name], path)
            times[name].append(taken)
            lines[name] = body.split(b"\n")[1:3]
        if lines[OURS] != lines[DATABASE]:
            raise Failed(f"{path}: the lines differ: {lines}")
    for connection in connections.values():
        connection.close()
    answered = int(body_of(ours.port, "/latest").split(b"\n")[1])
    if answered != len(paths):
        raise Failed(f"{len(paths)} misses and a log of {answered} records: some were no misses")
    return {**times, ON_TOP: [own - other for own, other in zip(times[OURS], times[DATABASE])]}


def connect(server: Server) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    ask(connection, "/latest")
    return connection


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[float, bytes]:
    started = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    taken = (time.perf_counter() - started) * 1e3
    if answer.status != 200:
        raise Failed(f"{path} answered {answer.status}: {body[:200].decode(errors='replace')}")
    return taken, body


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def check(subjects: dict) -> None:
    """The same lines from both, hashed by two implementations."""
    answers = {name: body_of(server.port, "/lookup/corp.example/check@v1.0.0").split(b"\n")[1:3] for name, server in subjects.items()}
    if len({tuple(lines) for lines in answers.values()}) != 1:
        raise Failed(f"the lines differ: {answers}")
