"""Hash tiles, data tiles and the newest head: nginx serves the very same bytes as files."""

import random

from .. import data
from ..context import Context
from ..process import Failed, Server, body_of
from ..result import Row, Target, alternate
from ..servers import Servers
from ..wrk import load

TALLYSTICK, NGINX, XMOD, BARE = "tallystick", "nginx", "x/mod", "bare axum"
TITLES = {"hash": "hash tile, 8 KiB", "data": "data tile", "latest": "newest head"}


def run(context: Context) -> None:
    tools, settings = context.tools, context.settings
    size = settings.served
    # A private copy of the names: /latest there is our own signed note, which no cached directory may keep.
    root = data.scratch("nginx-root")
    (root / "tile").symlink_to(data.static_log(tools, size) / "tile")
    with Servers(tools) as servers:
        own = servers.tallystick(data.own_log(tools, size))
        (root / "latest").write_bytes(body_of(own.port, "/latest"))
        subjects = {TALLYSTICK: own, NGINX: servers.nginx(root, "/latest"), XMOD: servers.xmod(size)}
        for kind in ("hash", "data"):
            paths = data.tile_paths(size, kind)
            check(subjects, paths)
            hot = paths[len(data.tile_paths(size, "data")) // 2]
            file = data.shuffled(paths, f"tiles-{kind}")
            measure(context, servers, subjects, kind, hot, None)
            measure(context, servers, subjects, kind, hot, file)
        measure(context, servers, subjects, "latest", "/latest", None)


def measure(context: Context, servers: Servers, subjects: dict[str, Server], kind: str, hot: str, paths) -> None:
    settings = context.settings
    how = "random" if paths else "hot"
    bound = 0.7 if paths else 0.9
    body = len(body_of(subjects[TALLYSTICK].port, hot))
    name = "latest" if kind == "latest" else f"{kind}-tile-{how}"
    title = TITLES[kind] + (f", {how}, {settings.served:,} records" if kind != "latest" else "") + f" ({body:,} bytes)"
    row = context.row(Row(name, title, [Target(f"≥ {bound} × nginx", TALLYSTICK, "per_s", bound, against=NGINX)]))
    # Constant bodies of this row's size: a server of its own.
    bare = servers.bare(body)
    subjects = {**subjects, BARE: bare}
    for server in subjects.values():
        load(server, hot, 1, paths=paths)
    for _, subject in alternate(settings.repetitions, list(subjects)):
        row.add(subject, load(subjects[subject], hot, settings.seconds, paths=paths))
    bare.stop()


def check(subjects: dict[str, Server], paths: list[str]) -> None:
    """The edge and some others are byte-identical everywhere: nobody is fast with wrong bytes."""
    for path in [paths[-1], *random.Random(3).choices(paths, k=20)]:
        bodies = {name: body_of(server.port, path) for name, server in subjects.items()}
        if len(set(bodies.values())) != 1:
            sizes = ", ".join(f"{name}: {len(body)} bytes" for name, body in bodies.items())
            raise Failed(f"{path} differs between the servers ({sizes})")
