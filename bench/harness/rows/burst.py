"""Two thousand clients that connect at the same moment, as a CI farm does in the morning: each is answered once."""

import json
from pathlib import Path

from .. import data
from ..context import Context
from ..process import Failed, Server, body_of, free_port, run as run_command
from ..result import Row, Target, alternate
from ..servers import Servers

CONNECTIONS = 2000
TALLYSTICK, NGINX, GO = "tallystick", "nginx, Debian's defaults", "Go's net/http"


def run(context: Context) -> None:
    tools, settings = context.tools, context.settings
    row = context.row(Row("burst", f"{CONNECTIONS:,} connections at once, the newest head on each", [
        Target("≤ 2 × Go's net/http until all are answered", TALLYSTICK, "seconds", 2.0, at_least=False, against=GO),
    ], plot="seconds"))
    row.notes["client"] = (
        "The client is a Go program on the same cores. A connection that does not fit in the listener's queue waits for its SYN "
        "to be sent again: 1 s, then 3 s, then 7 s. nginx asks for a queue of 511, Go and Tallystick for net.core.somaxconn.")
    root = data.scratch("burst-root")
    with Servers(tools) as servers:
        own = servers.tallystick(data.own_log(tools, settings.served))
        (root / "latest").write_bytes(body_of(own.port, "/latest"))
        port = free_port()
        go = servers.start("goserver", [tools.peers / "goserver", "-addr", f"127.0.0.1:{port}", "-file", root / "latest"], port)
        subjects = {TALLYSTICK: own, NGINX: servers.nginx(root, "/latest"), GO: go}
        for server in subjects.values():
            burst(tools, server)
        for _, name in alternate(max(settings.repetitions, 5), list(subjects)):
            row.add(name, burst(tools, subjects[name]))


def burst(tools, server: Server) -> dict[str, float]:
    command = [tools.peers / "burst", "-addr", f"127.0.0.1:{server.port}", "-path", "/latest", "-n", CONNECTIONS]
    before, dropped = server.cpu_seconds(), syns_dropped()
    answer = json.loads(run_command(command, timeout=120).stdout)
    if answer.pop("failed"):
        raise Failed(f"{server.name} did not answer all of {CONNECTIONS} connections")
    return {**answer, "cpu_us": (server.cpu_seconds() - before) * 1e6 / CONNECTIONS, "dropped": syns_dropped() - dropped}


def syns_dropped() -> int:
    """SYNs that found a listener's queue full, of the whole machine."""
    names, values = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")]
    return int(values[names.index("ListenOverflows")])
