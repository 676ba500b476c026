"""The real `go` command with an empty cache, and new modules: requests, and seconds of the whole download."""

import os
from pathlib import Path

from .. import data
from ..context import Context
from ..process import Failed, Server, run as run_command
from ..result import Row, Target, alternate
from ..servers import Servers, requests_answered

TALLYSTICK, XMOD = "tallystick", "x/mod + dirhash, in memory"
# What the command takes for itself: no server can make it faster.
FLOOR = "no checksum database"


def run(context: Context) -> None:
    tools, settings = context.tools, context.settings
    count = settings.client_modules
    work = data.scratch("client")
    proxy = work / "proxy"
    with Servers(tools) as servers:
        subjects = {
            TALLYSTICK: servers.tallystick(work / "data", f"file://{proxy}"),
            XMOD: servers.xmod(0, f"file://{proxy}"),
        }
        keys = {
            TALLYSTICK: run_command([tools.tallystick, "key", "show", "--data", work / "data"], 30).stdout,
            XMOD: subjects[XMOD].log.read_text(),
        }
        keys = {name: next(word for word in text.split() if word.count("+") >= 2) for name, text in keys.items()}
        for kind, requests, title in (
            ("root", 215, "behind one module that requires them"), ("listed", 310, "independent, listed in a go.mod"),
        ):
            row = context.row(Row(f"client-{kind}", f"go command, {count} new modules {title}", [
                Target(f"≤ {requests} requests" + ("" if count == 200 else f" (target is for 200 modules; here {count})"),
                       TALLYSTICK, "requests", requests, at_least=False),
                Target("wall ≤ 0.75 × x/mod", TALLYSTICK, "seconds", 0.75, at_least=False, against=XMOD),
            ], plot="seconds"))
            for repetition, name in alternate(settings.repetitions, [*subjects, FLOOR]):
                prefix = f"corp.example/{kind}{repetition}/lib"
                if not (proxy / f"{prefix}0").exists():
                    run_command([tools.peers / "mkproxy", "-n", count, "-dir", proxy, "-prefix", prefix, "-root"], 60)
                row.add(name, download(work, proxy, subjects.get(name), keys.get(name), prefix, kind, count))


def download(work: Path, proxy: Path, server: Server | None, key: str | None, prefix: str, kind: str, count: int) -> dict[str, float]:
    """One fresh client that downloads everything, checked by the server's log or by nobody."""
    # In memory where that is possible: the client's own disk is not what is measured.
    memory = Path("/dev/shm")
    client, application = (memory / f"bench-gopath-{os.getpid()}" if memory.is_dir() else work / "gopath"), work / "app"
    for directory in (client, application):
        data.remove(directory)
        directory.mkdir()
    names = [f"{prefix}root"] if kind == "root" else [f"{prefix}{number}" for number in range(count)]
    requires = "".join(f"require {name} v1.0.0\n" for name in names)
    (application / "go.mod").write_text(f"module example.com/app\n\ngo 1.21\n\n{requires}")
    environment = {
        "HOME": str(client), "GOPATH": str(client), "GOMODCACHE": str(client / "pkg" / "mod"), "GOENV": "off", "GOWORK": "off",
        "GOPROXY": f"file://{proxy}", "GONOSUMDB": "none", "GOPRIVATE": "",
        "GOSUMDB": f"{key} http://127.0.0.1:{server.port}" if server else "off",
        "GONOPROXY": "", "GOINSECURE": "", "GOFLAGS": "-mod=mod -modcacherw", "GOTOOLCHAIN": "local",
    }
    before = requests_answered(server) if server else 0
    done = run_command(["go", "mod", "download", "all"], 120, cwd=application, environment=environment)
    requests = requests_answered(server) - before if server else 0
    got = len([path for path in (client / "pkg" / "mod" / prefix).parent.glob("lib*@v1.0.0") if path.is_dir()])
    if got < count:
        raise Failed(f"go downloaded {got} modules, not {count}")
    data.remove(client)
    return {"requests": requests, "seconds": done.seconds}
