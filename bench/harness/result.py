"""Rows, what was measured in them, and whether their targets are met."""

from dataclasses import dataclass, field
from statistics import median

# Metric: its heading, and how many decimals it is worth.
METRICS = {
    "per_s": ("per second", 0), "p50_ms": ("p50 ms", 2), "p99_ms": ("p99 ms", 2), "most_ms": ("most ms", 2), "cpu_us": ("CPU µs each", 1),
    "rss_mib": ("RSS MiB", 0), "seconds": ("seconds", 3), "requests": ("requests", 0), "us_each": ("µs each", 1),
    "bytes_each": ("bytes each", 1), "upstream": ("source requests each", 2), "source_cpu_us": ("source's CPU µs each", 1), "ratio": ("ratio", 2),
    "dropped": ("SYNs dropped", 0),
}


def number(value: float, decimals: int = 2) -> str:
    if abs(value) < 10 and decimals == 0:
        decimals = 1
    return f"{value:,.{decimals}f}"


def spread(values: list[float], decimals: int = 2) -> str:
    """`median (min … max)`."""
    if len(values) == 1:
        return number(values[0], decimals)
    low, high = number(min(values), decimals), number(max(values), decimals)
    return f"{number(median(values), decimals)} ({low} … {high})"


@dataclass
class Target:
    """`metric` of `subject`, or its ratio to `against`, is to be at least or at most `bound`."""

    text: str
    subject: str
    metric: str
    bound: float
    at_least: bool = True
    against: str | None = None
    against_metric: str | None = None

    def values(self, row: "Row") -> list[float]:
        own = [sample[self.metric] for sample in row.samples.get(self.subject, [])]
        if self.against is None:
            return own
        # Pairs of one repetition: what disturbed one subject had a chance to disturb the other too.
        others = [sample[self.against_metric or self.metric] for sample in row.samples.get(self.against, [])]
        return [value / other for value, other in zip(own, others) if other > 0]

    def verdict(self, row: "Row") -> dict:
        values = self.values(row)
        if not values:
            absent = self.against if row.samples.get(self.subject) else self.subject
            return {"text": self.text, "met": None, "measured": f"not measured: {row.missing.get(absent, 'no figures')}"}
        middle = median(values)
        met = middle >= self.bound if self.at_least else middle <= self.bound
        unit = " ×" if self.against else ""
        decimals = 2 if self.against else METRICS[self.metric][1]
        return {"text": self.text, "met": met, "measured": spread(values, decimals) + unit, "values": values, "bound": self.bound}


@dataclass
class Row:
    """One kind of work. `samples` has, for each subject, one dictionary of metrics a repetition."""

    id: str
    title: str
    targets: list[Target] = field(default_factory=list)
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    plot: str = "per_s"

    def add(self, subject: str, sample: dict[str, float]) -> None:
        self.samples.setdefault(subject, []).append(sample)
        shown = ", ".join(f"{METRICS[name][0]} {number(value, METRICS[name][1])}" for name, value in sample.items())
        print(f"  {self.id:<22} {subject:<26} {shown}", flush=True)

    def as_json(self) -> dict:
        return {
            "id": self.id, "title": self.title, "samples": self.samples, "missing": self.missing, "notes": self.notes,
            "plot": self.plot, "targets": [target.verdict(self) for target in self.targets],
        }


def alternate(repetitions: int, subjects: list) -> list:
    """Every subject once a repetition, in turn from the front and from the back, so that a drift favours nobody."""
    order = []
    for repetition in range(repetitions):
        turn = subjects if repetition % 2 == 0 else subjects[::-1]
        order += [(repetition, subject) for subject in turn]
    return order
