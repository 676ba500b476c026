"""What the rows share: the tools, the settings, and the rows measured so far."""

from dataclasses import dataclass, field
from pathlib import Path

from .build import Tools
from .result import Row
from .settings import Settings


@dataclass
class Context:
    tools: Tools
    settings: Settings
    rows: list[Row] = field(default_factory=list)
    # The log of the growth rows, once it is there, and how many of its records come from the stream.
    large_log: Path | None = None
    large_records: int = 0

    def row(self, row: Row) -> Row:
        print(f"\n{row.title}", flush=True)
        self.rows.append(row)
        return row
