"""What a run measures, from its arguments."""

import argparse
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
OUT = BENCH / "out"

EPILOG = """\
Servers listen on loopback only, and every process that is started here is ended here. Nothing in the clone but
bench/out changes, unless --record is given. Exit code 1 when a row failed; a target that is not met is no failure.

examples:
  bench/run --quick                       everything once through, small and short: is the harness sound?
  bench/run --only lookup,tiles           two families of rows
  bench/run --large --record              all of it, ten million records included (about 20 minutes)
  bench/run --only client --record --merge    measure one row again, keep the others of the record
"""


@dataclass(frozen=True)
class Settings:
    only: list[str]
    quick: bool
    large: bool
    record: bool
    merge: bool
    repetitions: int
    seconds: float
    # Records in the logs that are served, in the bulk append (and in each step of the growth), and into Tessera.
    served: int
    block: int
    tessera: int
    zip_mib: int
    client_modules: int

    @property
    def growth_blocks(self) -> int:
        """Steps until ten million, and two more so that the rate there is measured three times."""
        return 12


def parse(rows: list[str], arguments: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measure Tallystick and its peers side by side, in alternating repetitions.",
        epilog=f"rows: {' '.join(rows)}\n\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="ROWS", default="", help="families of rows, separated by commas")
    parser.add_argument("--quick", action="store_true", help="small logs, runs of one second: figures mean nothing")
    parser.add_argument("--large", action="store_true", help="also rows at ten million records: minutes, 5 GB of disk")
    parser.add_argument("--record", action="store_true", help="write bench/RESULTS.md and bench/results.svg, not only bench/out")
    parser.add_argument("--merge", action="store_true", help="keep the rows of the last run that this one does not measure")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="of each row, alternating; default 3")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of one HTTP measurement; default 5, quick 1")
    given = parser.parse_args(arguments)
    only = [name for name in given.only.split(",") if name] or rows
    for name in only:
        if name not in rows:
            parser.error(f"there are no rows {name!r}; there are: {' '.join(rows)}")
    if not 1 <= given.repetitions <= 100:
        parser.error("--repetitions is 1 to 100")
    if given.seconds is not None and not 1 <= given.seconds <= 600:
        parser.error("--seconds is 1 to 600")
    quick = given.quick
    return Settings(
        only=only, quick=quick, large=given.large, record=given.record, merge=given.merge,
        repetitions=given.repetitions, seconds=given.seconds or (1 if quick else 5),
        served=10_000 if quick else 100_000,
        block=20_000 if quick else 1_000_000,
        tessera=5_000 if quick else 200_000,
        zip_mib=8 if quick else 100,
        client_modules=20 if quick else 200,
    )
