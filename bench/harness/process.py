"""Processes that are measured: started on loopback, watched through /proc, ended by their own number."""

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120
STOP_SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failed(Exception):
    """A row cannot be measured; the text says why."""


class Skipped(Exception):
    """A row cannot be measured here, and that is nobody's fault; the text says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port: int, path: str, timeout: float = 10) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def body_of(port: int, path: str) -> bytes:
    status, body = get(port, path)
    if status != 200:
        raise Failed(f"{path} on port {port} answered {status}: {body[:200].decode(errors='replace')}")
    return body


def die_with_parent() -> None:
    """Runs in the child: a harness that is killed leaves no servers behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A server on loopback. Use it in a `with` block."""

    def __init__(self, name: str, command: list, port: int, log: Path, ready: str = "/latest", environment: dict | None = None):
        self.name, self.port, self.log = name, port, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})}, preexec_fn=die_with_parent,
            )
        try:
            self.start_seconds = self.wait_until(ready)
        except BaseException:
            self.stop()
            raise

    def wait_until(self, path: str) -> float:
        """Seconds from the start to the first answer of 200."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if get(self.port, path)[0] == 200:
                    return time.perf_counter() - self.started
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
            if time.perf_counter() - self.started > START_SECONDS:
                raise Failed(f"{self.name} did not answer {path} within {START_SECONDS} s: {self.last_words()}")
            time.sleep(0.001)

    def last_words(self) -> str:
        return " / ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:]) or "(it printed nothing)"

    def pids(self) -> list[int]:
        """The process and its children: nginx serves from workers."""
        pids = [self.process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += [int(child) for child in task.read_text().split()]
        return pids

    def cpu_seconds(self) -> float:
        total = 0
        for pid in self.pids():
            # The name, in parentheses, may hold spaces: fields are counted after it. utime and stime are 14 and 15 of 52.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def rss_mib(self) -> float:
        """The most that was ever resident, all processes together."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
        return total / 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"WARNING: {self.name} did not end within {STOP_SECONDS} s of SIGTERM and was killed", flush=True)
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


@dataclass(frozen=True)
class Finished:
    """A command that ended well, and what it took."""

    stdout: str
    seconds: float
    cpu_seconds: float
    rss_mib: float


def run(command: list, timeout: float, cwd: Path | None = None, environment: dict | None = None, stdout: Path | None = None,
        watch: bool = False) -> Finished:
    """Runs a command to its end; raises Failed with its last words when it fails. `stdout` takes what it prints.
    `watch` looks at its memory all the while."""
    with contextlib.ExitStack() as files:
        output = files.enter_context(stdout.open("w+b") if stdout else tempfile.TemporaryFile())
        errors = files.enter_context(tempfile.TemporaryFile())
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            cwd=cwd, env={**os.environ, **(environment or {})}, preexec_fn=die_with_parent,
        )
        late = threading.Event()
        timer = threading.Timer(timeout, lambda: (late.set(), os.kill(process.pid, signal.SIGKILL)))
        timer.daemon = True
        timer.start()
        peak = PeakMemory(process.pid if watch else None)
        try:
            # Not Popen's own wait: only wait4 tells the resources of this very child.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
            peak.stop()
        seconds = time.perf_counter() - started
        if late.is_set():
            raise Failed(f"{command[0]} took longer than {timeout} s")
        if process.returncode != 0:
            errors.seek(0)
            words = " / ".join(errors.read().decode(errors="replace").strip().splitlines()[-4:])
            raise Failed(f"{' '.join(str(part) for part in command[:3])} ended with {process.returncode}: {words}")
        output.seek(0)
        text = "" if stdout else output.read().decode()
    return Finished(text, seconds, usage.ru_utime + usage.ru_stime, peak.mib)


class PeakMemory:
    """Looks at a process's highest resident size until it is stopped. Not ru_maxrss: that begins with the size of the
    harness, from which the process was forked."""

    def __init__(self, pid: int | None):
        self.mib = 0.0
        self.stopped = threading.Event()
        if pid is not None:
            threading.Thread(target=self.look, args=(Path(f"/proc/{pid}/status"),), daemon=True).start()

    def look(self, status: Path) -> None:
        while not self.stopped.wait(0.02):
            with contextlib.suppress(OSError, IndexError, ValueError):
                self.mib = max(self.mib, int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024)

    def stop(self) -> None:
        self.stopped.set()
