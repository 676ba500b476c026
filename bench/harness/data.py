"""Logs, records, paths and zips that the rows work on. All are made at run time under bench/out; so are the keys."""

import os
import random
import shutil
import zipfile
from pathlib import Path

from .build import Tools
from .process import Failed, Finished, run
from .settings import OUT

DATA = OUT / "data"
MODULE = "bench.example/zip"
VERSION = "v1.0.0"
NAME = "bench.example"
# x/mod/zip accepts 500 MiB.
UNPACKED_BYTES = 498 << 20
SOURCE_SUFFIXES = {".go", ".s", ".c", ".h", ".md", ".txt", ".js", ".html"}


def scratch(name: str) -> Path:
    """An empty directory."""
    directory = OUT / "scratch" / name
    remove(directory)
    directory.mkdir(parents=True)
    return directory


def remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def once(path: Path, make) -> Path:
    """`path`, made by `make(temporary path)` when it is not there: what is there is whole."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        remove(part)
        make(part)
        part.rename(path)
    return path


def records(tools: Tools, first: int, end: int) -> Path:
    """The record texts first..end-1 as a stream."""
    command = [tools.peers / "records", "-from", first, "-to", end]
    return once(DATA / f"records-{first}-{end}.txt", lambda part: run(command, 600, stdout=part))


def lookup_paths(tools: Tools, size: int, count: int) -> Path:
    command = [tools.peers / "records", "-to", size, "-lookups", count]
    return once(DATA / f"lookups-{size}-{count}.txt", lambda part: run(command, 600, stdout=part))


def lookup_of(tools: Tools, record: int) -> str:
    """The look-up path of one record."""
    command = [tools.peers / "records", "-from", record, "-to", record + 1, "-lookups", 1]
    return run(command, 30).stdout.strip()


def static_log(tools: Tools, size: int) -> Path:
    """The same records as files that x/mod made: the tiles that every server must answer with."""
    key = DATA / "static.key"
    command = [tools.peers / "gen", "-n", size, "-key", key, "-dir"]
    return once(DATA / f"static-{size}", lambda part: run([*command, part], 600))


def tile_number(number: int) -> str:
    text = f"{number % 1000:03d}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03d}/{text}"
    return text


def tile_paths(size: int, kind: str) -> list[str]:
    """Every tile of a tree: full ones of all levels and the partial ones at its edge; kind is `hash` or `data`."""
    paths, level, hashes = [], 0, size
    while hashes > 0:
        name = str(level) if kind == "hash" else "data"
        paths += [f"/tile/8/{name}/{tile_number(n)}" for n in range(hashes >> 8)]
        if hashes % 256:
            paths.append(f"/tile/8/{name}/{tile_number(hashes >> 8)}.p/{hashes % 256}")
        if kind == "data":
            break
        level, hashes = level + 1, hashes >> 8
    return paths


def shuffled(paths: list[str], name: str, count: int = 20_000) -> Path:
    """A file of `count` paths drawn at random, the same ones in every run."""
    file = OUT / "scratch" / f"{name}.paths"
    file.parent.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    file.write_text("".join(draw.choice(paths) + "\n" for _ in range(count)))
    return file


def bulk_append(tools: Tools, data: Path, stream: Path) -> Finished:
    """Imports a stream into the log in `data`, by way of its server if there is one. The time is that of the whole command."""
    if not (data / "keys").exists():
        run([tools.tallystick, "key", "new", "--name", NAME, "--data", data], 30)
    return run([tools.tallystick, "import", stream, "--trust", "--importer", "bench", "--data", data], 900, watch=True)


def own_log(tools: Tools, size: int) -> Path:
    """A fresh log of our own with the first `size` records."""
    data = scratch(f"log-{size}")
    bulk_append(tools, data, records(tools, 0, size))
    return data


def log_bytes(data: Path) -> int:
    """What a directory takes on the disk: files may have holes."""
    return sum(file.stat().st_blocks * 512 for file in data.rglob("*") if file.is_file())


def module_zip(kind: str, mib: int) -> Path:
    """A module's zip of about `mib` MiB: Go's own sources, deflated, as often as it takes; or random bytes."""
    return once(DATA / f"{kind}-{mib}.zip", lambda part: write_zip(part, kind, mib << 20))


def write_zip(path: Path, kind: str, size: int) -> None:
    prefix = f"{MODULE}@{VERSION}/"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(prefix + "go.mod", f"module {MODULE}\n")
        if kind == "random":
            draw = random.Random(2)
            for number in range(max(1, size >> 20)):
                archive.writestr(f"{prefix}random{number}.bin", draw.randbytes(1 << 20))
            return
        sources, copy, unpacked = source_files(), 0, 0
        while True:
            for name, file in sources:
                unpacked += file.stat().st_size
                if archive.fp.tell() >= size or unpacked > UNPACKED_BYTES:
                    return
                archive.write(file, f"{prefix}copy{copy}/{name}")
            copy += 1


def zip_facts(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries) / (1 << 20)
    return f"{len(entries):,} files, {path.stat().st_size / (1 << 20):.0f} MiB, {unpacked:.0f} MiB unpacked."


def source_files() -> list[tuple[str, Path]]:
    root = Path(run(["go", "env", "GOROOT"], 30).stdout.strip()) / "src"
    files = [(str(file.relative_to(root)), file) for file in root.rglob("*") if file.suffix in SOURCE_SUFFIXES and file.is_file()]
    # The names of test data are there to be refused.
    files = [(name, file) for name, file in files if "testdata" not in name and "/vendor/" not in name and os.access(file, os.R_OK)]
    if not files:
        raise Failed(f"no Go sources under {root}")
    return sorted(files)
