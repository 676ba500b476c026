"""Look-ups of records that are there: at random over all of them, and one."""

from .. import data
from ..context import Context
from ..process import Failed, Server, body_of
from ..result import Row, Target, alternate
from ..servers import Servers
from ..wrk import load

TALLYSTICK, XMOD, BARE = "tallystick", "x/mod", "bare axum"


def targets(kind: str) -> list[Target]:
    if kind == "hot":
        return []
    return [
        Target("≥ 0.8 × bare axum", TALLYSTICK, "per_s", 0.8, against=BARE),
        Target("≥ 5 × x/mod", TALLYSTICK, "per_s", 5, against=XMOD),
        Target("p99 ≤ x/mod's p50", TALLYSTICK, "p99_ms", 1, at_least=False, against=XMOD, against_metric="p50_ms"),
    ]


def run(context: Context) -> None:
    tools, settings = context.tools, context.settings
    paths = data.lookup_paths(tools, settings.served, 50_000)
    sample = paths.read_text().split("\n", 21)[:20]
    with Servers(tools) as servers:
        own = servers.tallystick(data.own_log(tools, settings.served))
        xmod = servers.xmod(settings.served)
        check(own, xmod, sample)
        subjects = {TALLYSTICK: own, XMOD: xmod, BARE: servers.bare(len(body_of(own.port, sample[0])))}
        for kind in ("random", "hot"):
            row = context.row(Row(f"lookup-{kind}", f"look-up, {kind}, {settings.served:,} records", targets(kind)))
            for server in subjects.values():
                load(server, sample[0], 1, paths=paths)
            for _, name in alternate(settings.repetitions, list(subjects)):
                row.add(name, load(subjects[name], sample[0], settings.seconds, paths=paths if kind == "random" else None))


def check(own: Server, xmod: Server, paths: list[str]) -> None:
    """Both answer with the same record: number, lines, and a tree of the same size and root."""
    for path in paths:
        ours, theirs = (body_of(server.port, path).split(b"\n\xe2\x80\x94 ")[0] for server in (own, xmod))
        if ours != theirs:
            raise Failed(f"{path}: tallystick and x/mod answer differently:\n{ours.decode()}\n{theirs.decode()}")
