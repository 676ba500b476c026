"""The rows as bars with whiskers from minimum to maximum, in SVG without any library."""

from html import escape
from statistics import median

from .result import METRICS, number

WIDTH, LABEL, RIGHT = 900, 250, 120
BAR, GAP, HEAD = 16, 6, 34
OWN, OTHER, TEXT, FAINT = "#1f6feb", "#9aa4b2", "#24292f", "#57606a"


def plot(results: dict) -> str:
    parts, y = [], 20
    for row in results["rows"]:
        if row["plot"]:
            panel, height = bars(row, y)
            parts += panel
            y += height
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" viewBox="0 0 {WIDTH} {y + 10}" '
            f'font-family="sans-serif" font-size="12" fill="{TEXT}">')
    return "\n".join([head, f'<rect width="{WIDTH}" height="{y + 10}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


def bars(row: dict, y: int) -> tuple[list[str], int]:
    metric = row["plot"]
    figures = {subject: [sample[metric] for sample in samples] for subject, samples in row["samples"].items()}
    most = max(max(values) for values in figures.values()) or 1
    scale = (WIDTH - LABEL - RIGHT) / most
    parts = [
        f'<text x="10" y="{y + 14}" font-weight="bold">{escape(row["title"])}</text>',
        f'<text x="{WIDTH - 10}" y="{y + 14}" text-anchor="end" fill="{FAINT}">{escape(METRICS[metric][0])}</text>',
    ]
    at = y + HEAD - 8
    for place, (subject, values) in enumerate(figures.items()):
        middle, low, high = median(values), min(values), max(values)
        own = place == 0 or subject.startswith("tallystick")
        line = at + BAR / 2
        parts += [
            f'<text x="{LABEL - 8}" y="{at + 12}" text-anchor="end">{escape(subject)}</text>',
            f'<rect x="{LABEL}" y="{at}" width="{max(middle * scale, 1):.1f}" height="{BAR}" fill="{OWN if own else OTHER}"/>',
            f'<path d="M{LABEL + low * scale:.1f} {line} H{LABEL + high * scale:.1f}" stroke="{TEXT}" stroke-width="1.5"/>',
            f'<text x="{LABEL + high * scale + 6:.1f}" y="{at + 12}">{number(middle, METRICS[metric][1])}</text>',
        ]
        at += BAR + GAP
    return parts, at - y + 14
