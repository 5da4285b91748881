"""The results as one SVG: how much of its bound each figure uses, and throughput beside the echo."""

import statistics
from html import escape

from .result import Row

WIDTH, LEFT, BAR, STEP, TOP = 1000, 500, 14, 22, 34
SCALE = (WIDTH - LEFT - 140) / 1.5
"""Pixels of a share of 1: bars are cut at 1.5."""
GOOD, BAD, PLAIN, DARK = "#2a7f62", "#b3402e", "#8a94a6", "#33415c"


def text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def bar(y: float, length: float, colour: str, label: str, value: str) -> list[str]:
    return [
        text(LEFT - 8, y + BAR - 3, label, "end"),
        f'<rect x="{LEFT}" y="{y:.0f}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
        text(LEFT + 1.5 * SCALE + 8, y + BAR - 3, value),
    ]


def shares(rows: list[Row], y: float) -> tuple[list[str], float]:
    """A bar a row; what ends left of the line is within its bound."""
    parts, first = [text(12, y, "Share of the bound that is used (up to the line: reached)", weight="bold")], y + 12
    y = first
    for row in rows:
        if row.share is not None:
            bound = f"{row.value:.3g} ({'≥' if row.at_least else '≤'} {row.bound:g} {row.unit}".rstrip() + ")"
            length = min(row.share, 1.5) * SCALE
            parts += bar(y, length, GOOD if row.reached else BAD, f"{row.name} ({row.database})", bound)
            y += STEP
    line = LEFT + SCALE
    parts.append(f'<path d="M{line:.0f} {first - 4:.0f}V{y - 4:.0f}" stroke="{DARK}" stroke-dasharray="4 3"/>')
    return parts, y


def rates(rows: list[Row], y: float) -> tuple[list[str], float]:
    """ValidateCredential and the echo that was measured in turn with it, in answers a second."""
    pairs = [row for row in rows if "echo_per_second" in row.raw]
    if not pairs:
        return [], y
    parts = [text(12, y, "Answers a second, h2load, 8 connections × 32 streams", weight="bold")]
    bars = []
    for row in pairs:
        credential = row.name.partition("cached ")[2].partition(" ÷")[0]
        bars.append((f"cached {credential}, {row.database}", statistics.median(row.raw["per_second"]), GOOD))
        bars.append(("bare tonic echo, beside it", statistics.median(row.raw["echo_per_second"]), PLAIN))
    most, y = max(value for _, value, _ in bars), y + 12
    for label, value, colour in bars:
        parts += bar(y, value / most * SCALE * 1.5, colour, label, f"{value:,.0f}")
        y += STEP
    return parts, y


def draw(rows: list[Row]) -> str:
    upper, y = shares(rows, TOP)
    lower, y = rates(rows, y + TOP)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}"',
            f' font-family="sans-serif" font-size="12" fill="{DARK}">',
            f'<rect width="{WIDTH}" height="{y:.0f}" fill="#ffffff"/>',
            *upper,
            *lower,
            "</svg>\n",
        ]
    )
