"""A full audit of a log that x/mod wrote, over HTTP and from its directory, beside those that verify it, too."""

import json
from pathlib import Path

from .. import data
from ..context import Context
from ..process import Failed, run as run_command
from ..result import Row, Target, alternate
from ..servers import Servers
from .mirror import FSCK, LOG, REHASH, audited, rates

AUDIT = "tallystick audit"


def run(context: Context) -> None:
    """With --large at ten million records, else at one block."""
    settings = context.settings
    size = settings.block * 10 if settings.large else settings.block
    files = data.static_log(context.tools, size)
    (key,) = [line for line in (data.DATA / "static.key").read_text().split() if line.startswith(f"{LOG}+")]
    with Servers(context.tools) as servers:
        nginx = servers.nginx(files, "/latest")
        measure(context, size, key, f"http://127.0.0.1:{nginx.port}", files, "over loopback HTTP from nginx", "http")
        measure(context, size, key, files.as_uri(), files, "from a local directory", "directory")


def measure(context: Context, size: int, key: str, url: str, files: Path, source: str, how: str) -> None:
    row = context.row(Row(f"audit-{how}", f"audit, {size:,} records {source}", [
        Target("≥ 1 × Tessera's fsck", AUDIT, "per_s", 1, against=FSCK),
    ]))
    row.notes["how"] = ("`tallystick audit`, from the start of the process to its end: every record's form and hash, every hash tile, and that no"
                        " module version is there twice, for which it writes 16 bytes a record. Look-ups are not in these files. CPU is without nginx's.")
    row.notes["peers"] = "As for the mirror: they verify hashes; they look at no record's form and compare no names."
    for _, subject in alternate(context.settings.repetitions, [AUDIT, FSCK, REHASH]):
        row.add(subject, (own if subject == AUDIT else audited)(context, size, key, url, files, subject))


def own(context: Context, size: int, key: str, url: str, *_) -> dict[str, float]:
    state = data.scratch("audit")
    command = [context.tools.tallystick, "audit", url, "--key", key, "--state", state, "--no-lookups", "--json"]
    done = run_command(command, 900, watch=True)
    report = json.loads(done.stdout)
    if (report["size"], report["findings"]) != (size, []):
        raise Failed(f"{report['size']} records of {size}, with {report['findings'][:3]}")
    data.remove(state)
    return rates(done, size)
