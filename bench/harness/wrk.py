"""wrk against a server, and what it cost the server."""

import json
import os
import random
import subprocess
from pathlib import Path

from .process import Failed, Server, die_with_parent
from .settings import BENCH

SCRIPT = BENCH / "lua" / "bench.lua"


def load(server: Server, path: str, seconds: float, *, connections: int = 32, paths: Path | None = None,
         fresh: str | None = None, refusals_allowed: float = 0) -> dict[str, float]:
    """Asks for `path`, or for those in the file `paths`, or for ever new ones with the prefix `fresh`.

    A refusal (400 and above) or a broken connection fails the row, beyond the share that is allowed: an error page is
    quickly served, and a rate with errors in it means nothing."""
    environment = dict(os.environ)
    if paths:
        environment |= {"BENCH_PATHS": str(paths), "BENCH_SEED": str(random.randrange(1, 1 << 30))}
    if fresh:
        environment["BENCH_FRESH"] = fresh
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "20s", "-s", SCRIPT,
               f"http://127.0.0.1:{server.port}{path}"]
    cpu = server.cpu_seconds()
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=environment, timeout=seconds + 60, preexec_fn=die_with_parent, check=False)
    cpu = server.cpu_seconds() - cpu
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise Failed(f"wrk against {server.name}: {(done.stderr or done.stdout).strip()[-300:]}")
    answer = json.loads(lines[-1])
    requests = answer["requests"]
    wrong = answer["refused"] + answer["broken"]
    if requests == 0 or wrong > refusals_allowed * requests:
        raise Failed(f"{server.name}: of {requests} requests {answer['refused']} were refused and {answer['broken']} broke")
    return {
        "per_s": requests / answer["seconds"], "p50_ms": answer["p50_ms"], "p99_ms": answer["p99_ms"],
        "cpu_us": cpu / requests * 1e6, "rss_mib": server.rss_mib(),
    }
