"""What is left of a run: results.json, a table in Markdown, a plot, and the targets on the terminal."""

import json
import time
from statistics import median

from .context import Context
from .plot import plot
from .result import METRICS, number, spread
from .settings import BENCH, OUT

RESULTS = OUT / "results.json"


def write(context: Context, machine: dict[str, str], troubles: dict[str, str]) -> None:
    settings = context.settings
    run = {"machine": machine, "measured": time.strftime("%Y-%m-%d"), "quick": settings.quick,
           "repetitions": settings.repetitions, "seconds": settings.seconds}
    rows = [{**row.as_json(), "run": run} for row in context.rows if row.samples]
    if settings.merge and RESULTS.exists():
        measured = {row["id"] for row in rows}
        old = json.loads(RESULTS.read_text())["rows"]
        old = [row for row in old if row["id"] not in measured and row["run"]["quick"] == settings.quick]
        rows = sorted(old + rows, key=lambda row: order(row["id"]))
    results = {"run": run, "rows": rows, "troubles": list(troubles.values())}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    for directory in [OUT] + ([BENCH] if settings.record else []):
        (directory / "RESULTS.md").write_text(markdown(results))
        (directory / "results.svg").write_text(plot(results))


def order(row: str) -> int:
    families = ["lookup-random", "lookup-hot", "hash", "data", "latest", "append", "import", "lookup-misses", "notarise", "dirhash", "client",
                "growth", "start", "mirror"]
    return next((place for place, family in enumerate(families) if row.startswith(family)), len(families))


def markdown(results: dict) -> str:
    run = results["run"]
    lines = ["# Measured", ""]
    if run["quick"]:
        lines += ["**A quick run: small logs and short rows. It shows that the harness works, and nothing else.**", ""]
    lines += [
        f"By `bench/run` on {run['measured']}, {run['repetitions']} alternating repetitions, {run['seconds']:g} s each over HTTP"
        " (`wrk -t1`, 32 connections unless the row says otherwise), loopback, no TLS, load generator and servers on the same cores.",
        "Figures are median (minimum … maximum); ratios are of pairs within one repetition. Absolute figures do not travel.",
        "", *(f"- {name}: {value}" for name, value in run["machine"].items()), "",
        "## Targets", "", "| row | target | measured | |", "|---|---|---|---|",
    ]
    for row in results["rows"]:
        lines += [f"| {row['title']} | {t['text']} | {t['measured']} | {mark(t['met'])} |" for t in row["targets"]]
    lines += ["", *(f"{trouble.splitlines()[0]}  " for trouble in results["troubles"]), "", "![The same as bars](results.svg)", ""]
    for row in results["rows"]:
        lines += detail(row, run)
    return "\n".join(lines).rstrip() + "\n"


def mark(met: bool | None) -> str:
    return {True: "met", False: "**not met**", None: "–"}[met]


def detail(row: dict, run: dict) -> list[str]:
    """One row with all its subjects, and the ratio of each to the first."""
    metrics = list(dict.fromkeys(metric for samples in row["samples"].values() for metric in samples[0]))
    lines = [f"### {row['title']}", "", "| | " + " | ".join(METRICS[metric][0] for metric in metrics) + " | × of the first |",
             "|---" * (len(metrics) + 2) + "|"]
    base = next(iter(row["samples"].values()))
    key = row["plot"] or metrics[0]
    for subject, samples in row["samples"].items():
        cells = [spread([sample[metric] for sample in samples], METRICS[metric][1]) if metric in samples[0] else "" for metric in metrics]
        ratio = median(sample[key] for sample in samples) / median(sample[key] for sample in base)
        lines.append(f"| {subject} | " + " | ".join(cells) + f" | {number(ratio)} |")
    lines += [""] + [f"{note}  " for note in row["notes"].values()]
    if row["run"] != run:
        lines.append(f"Measured in a run of its own: {row['run']['measured']}, commit {row['run']['machine']['commit']}.  ")
    return lines + [""]


def print_targets(context: Context, troubles: dict[str, str]) -> None:
    print("\ntargets" + (" (a quick run: these figures mean nothing)" if context.settings.quick else ""))
    for row in context.rows:
        for target in row.targets:
            verdict = target.verdict(row)
            met = {True: "met", False: "NOT MET", None: "-"}[verdict["met"]]
            print(f"  {met:<8} {row.id:<20} {verdict['text']:<40} {verdict['measured']}")
    for trouble in troubles.values():
        print(trouble)
