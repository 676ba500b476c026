"""From the start of `serve` on a log to its first correct answer."""

from pathlib import Path

from .. import data
from ..context import Context
from ..process import Failed, body_of
from ..result import Row, Target
from ..servers import Servers


def run(context: Context) -> None:
    """On the log of the growth rows, where those are measured, else on one block."""
    if context.large_log:
        return measure(context, context.large_log, context.large_records)
    stream = data.records(context.tools, 0, context.settings.block)
    log = data.scratch("start")
    data.bulk_append(context.tools, log, stream)
    measure(context, log, context.settings.block)
    data.remove(log)


def measure(context: Context, log: Path, size: int) -> None:
    """`size` records come from the stream; other rows may have added some."""
    row = context.row(Row("start", f"start of serve, log of {size:,} records", [
        Target("≤ 0.1 s to the first answer" + ("" if size >= 10_000_000 else f" (target is for 10M; here {size:,})"),
               "tallystick", "seconds", 0.1, at_least=False),
    ], plot="seconds"))
    row.notes["cache"] = "Page cache warm. The answer is that of /latest; the look-up of the last record is checked after it."
    last = data.lookup_of(context.tools, size - 1)
    for _ in range(max(context.settings.repetitions, 5)):
        with Servers(context.tools) as servers:
            server = servers.tallystick(log)
            row.add("tallystick", {"seconds": server.start_seconds, "rss_mib": server.rss_mib()})
            if not body_of(server.port, last).startswith(f"{size - 1}\n".encode()):
                raise Failed(f"{last} is not answered with record {size - 1}")
            if int(body_of(server.port, "/latest").split(b"\n")[1]) < size:
                raise Failed(f"/latest is smaller than {size}")
