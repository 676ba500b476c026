"""One run: build, measure the rows that were asked for, report."""

import signal
import sys
import time
import traceback

from . import build, report, settings
from .context import Context
from .process import Failed, Skipped
from .rows import append, audit, burst, client, dirhash, growth, lookup, mirror, misses, start, tiles, witness

# In this order: growth leaves the large log that start then takes.
ROWS = {
    "lookup": lookup, "tiles": tiles, "burst": burst, "append": append, "misses": misses, "dirhash": dirhash, "client": client,
    "growth": growth, "start": start, "mirror": mirror, "audit": audit, "witness": witness,
}


def main() -> int:
    chosen = settings.parse(list(ROWS))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings.OUT.mkdir(exist_ok=True)
    started = time.monotonic()
    try:
        tools = build.build_all()
    except Failed as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    machine = build.machine(tools)
    context = Context(tools, chosen)
    troubles = {}
    for name, rows in ROWS.items():
        if name not in chosen.only:
            continue
        try:
            rows.run(context)
        except Skipped as why:
            troubles[name] = f"SKIPPED: {name}: {why}"
        except Failed as why:
            troubles[name] = f"FAILED: {name}: {why}"
        except Exception:
            troubles[name] = f"FAILED: {name}: the harness itself: {traceback.format_exc()}"
        if name in troubles:
            print(troubles[name], flush=True)
        # After each family: what was measured is not lost when the next one ends badly.
        report.write(context, machine, troubles)
    report.print_targets(context, troubles)
    print(f"\n{time.monotonic() - started:.0f} s in all; bench/out has the results"
          + (", bench/RESULTS.md and bench/results.svg are written" if chosen.record else ""))
    return 1 if any(trouble.startswith("FAILED") for trouble in troubles.values()) else 0
