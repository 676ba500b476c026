"""The h1: hash of a module's zip: source code, and bytes that do not compress."""

import json

from .. import data
from ..context import Context
from ..process import Failed, run as run_command
from ..result import Row, Target, alternate

TALLYSTICK, XMOD = "tallystick", "x/mod"
TITLES = {"source": "source code", "random": "random bytes"}


def run(context: Context) -> None:
    tools, settings = context.tools, context.settings
    for kind, factor in (("source", 2), ("random", 1.2)):
        zip_file = data.module_zip(kind, settings.zip_mib)
        # Ratios of times: theirs over ours is what "× as fast" means, so the rate is compared, in MiB of zip a second.
        row = context.row(Row(f"dirhash-{kind}", f"dirhash of a zip of {TITLES[kind]}, {settings.zip_mib} MiB (MiB of zip per second)", [
            Target(f"≥ {factor} × x/mod", TALLYSTICK, "per_s", factor, against=XMOD),
        ]))
        row.notes["zip"] = data.zip_facts(zip_file)
        commands = {
            TALLYSTICK: [tools.workload, "hashzip", zip_file, f"{data.MODULE}@{data.VERSION}"],
            XMOD: [tools.peers / "hashzip", zip_file],
        }
        hashes = set()
        for _, subject in alternate(settings.repetitions, list(commands)):
            done = run_command(commands[subject], 300)
            report = json.loads(done.stdout)
            hashes.add(report["h1"])
            mib = zip_file.stat().st_size / (1 << 20)
            row.add(subject, {"per_s": mib / report["seconds"], "seconds": report["seconds"]})
        if len(hashes) != 1:
            raise Failed(f"the hashes differ: {hashes}")
