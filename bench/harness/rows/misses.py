"""Look-ups of modules that are not in the log: fetched from a GOPROXY in memory, hashed, appended, answered."""

from .. import data
from ..build import ABSENT
from ..context import Context
from ..process import Failed, body_of
from ..result import Row, Target, alternate
from ..servers import Servers, requests_answered
from ..wrk import load

TALLYSTICK, XMOD, ABSENT_PEER = "tallystick", "x/mod + dirhash, in memory", "xgosumdb"
CLIENTS = 256


def run(context: Context) -> None:
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


def check(subjects: dict) -> None:
    """The same lines from both, hashed by two implementations."""
    answers = {name: body_of(server.port, "/lookup/corp.example/check@v1.0.0").split(b"\n")[1:3] for name, server in subjects.items()}
    if len({tuple(lines) for lines in answers.values()}) != 1:
        raise Failed(f"the lines differ: {answers}")
