"""Everything that is measured, built from this clone; what comes from the system's packages, found or installed."""

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .process import Failed, Skipped
from .settings import BENCH, OUT, ROOT

PACKAGES = {"wrk": "wrk", "nginx": "nginx-light"}
# A peer that performance.md names and that cannot be had: why, for the table.
ABSENT = {"xgosumdb": "not obtainable: the Go module proxy answers 403 for its module path"}


@dataclass(frozen=True)
class Tools:
    tallystick: Path
    workload: Path
    witnesses: Path
    bare: Path
    peers: Path
    nginx: Path | None


def build_all() -> Tools:
    cargo_build(ROOT, ["--bin", "tallystick", "--example", "workload", "--example", "witnesses"], target_directory())
    cargo_build(BENCH / "bare", [], OUT / "bare")
    peers = OUT / "bin"
    step("Go peers", ["go", "build", "-o", f"{peers}/", "./..."], BENCH / "peers")
    found = {name: find(name) for name in PACKAGES}
    if not found["wrk"]:
        raise Failed("wrk is needed for every row over HTTP: apt-get install wrk")
    for name, why in ABSENT.items():
        print(f"SKIPPED: peer {name}: {why}", flush=True)
    release = target_directory() / "release"
    return Tools(release / "tallystick", release / "examples" / "workload", release / "examples" / "witnesses", OUT / "bare" / "release" / "bare", peers, found["nginx"])


def target_directory() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def cargo_build(directory: Path, what: list[str], target: Path) -> None:
    command = ["cargo", "build", "--release", "--locked", "--target-dir", str(target), *what]
    step(f"cargo build in {directory.name}", command, directory)


def step(name: str, command: list[str], directory: Path) -> None:
    print(f"building: {name}", flush=True)
    started = time.monotonic()
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{name}: {done.stderr.strip()[-1500:]}")
    print(f"  {time.monotonic() - started:.0f} s", flush=True)


def find(name: str) -> Path | None:
    """The program, installed from the system's packages when it is not there and may be."""
    def where() -> str | None:
        return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

    if not where() and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing: {PACKAGES[name]}", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", PACKAGES[name]]):
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=300)
    found = where()
    if not found:
        print(f"SKIPPED: {name}: not installed, and it could not be installed: apt-get install {PACKAGES[name]}", flush=True)
    return Path(found) if found else None


def first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return "not there"


def machine(tools: Tools) -> dict[str, str]:
    """What a reader of the figures must know, without the machine's name."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), platform.machine())
    flags = next((line for line in cpuinfo if line.startswith("flags")), "")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    return {
        "processor": f"{model}, {os.cpu_count()} cores, SHA-NI {'yes' if 'sha_ni' in flags else 'no'}",
        "memory": f"{memory:.0f} GiB",
        "system": f"Linux {platform.release()}, {file_system(OUT)}, fdatasync {fdatasync_ms():.2f} ms (median)",
        "load": f"{os.getloadavg()[0]:.1f} runnable processes of others in the minute before",
        "tools": ", ".join([
            first_line(["rustc", "--version"]).split(" (")[0], first_line(["go", "version"]).removeprefix("go version ").split()[0],
            first_line([str(tools.nginx), "-v"]).removeprefix("nginx version: ") if tools.nginx else "no nginx",
            first_line(["wrk", "-v"]).split(" [")[0],
        ]),
        "commit": commit(),
    }


def commit() -> str:
    revision = first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    changed = subprocess.run(["git", "-C", str(ROOT), "status", "--porcelain", "--", "src", "Cargo.lock", "bench", "examples"],
                             capture_output=True, text=True, check=False).stdout
    changed = [line for line in changed.splitlines() if not line.endswith(("bench/RESULTS.md", "bench/results.svg"))]
    return revision + (" and changes" if changed else "")


def file_system(path: Path) -> str:
    return first_line(["findmnt", "-no", "FSTYPE", "-T", str(path)])


def fdatasync_ms() -> float:
    """What one small durable write costs on the disk that the logs are on."""
    path = OUT / "sync-probe"
    times = []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(100):
            os.pwrite(descriptor, os.urandom(4096), 0)
            started = time.perf_counter()
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times)[len(times) // 2] * 1e3


def need(tool: Path | None, name: str) -> Path:
    if tool is None:
        raise Skipped(f"{name} is not installed")
    return tool
