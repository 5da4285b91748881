"""Results as a table, as JSON, and in the document that shows them."""

import json
from pathlib import Path

from .plot import draw
from .result import Row

BEGIN, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"


def number(value: float, unit: str) -> str:
    digits = 3 if not unit else 2 if value < 10 else 0 if value >= 100 else 1
    return f"{value:.{digits}f} {unit}".rstrip()


def cells(row: Row) -> list[str]:
    bound = "–" if row.bound is None else f"{'≥' if row.at_least else '≤'} {number(row.bound, row.unit)}"
    spread = f"{number(min(row.values), row.unit)} … {number(max(row.values), row.unit)}"
    verdict = {True: "yes", False: "**no**", None: "–"}[row.reached]
    return [row.name, row.database, number(row.value, row.unit), spread, bound, verdict, row.of]


HEADER = ["what", "database", "measured", "least … most", "bound", "reached", "of"]


def plain(rows: list[Row]) -> str:
    """For a terminal."""
    table = [HEADER, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table)


def markdown(machine: dict[str, str], rows: list[Row]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *map(cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    about = "\n".join(f"| {key} | {value} |" for key, value in machine.items())
    plot = "![Each figure as a share of its bound, and throughput beside the echo](results.svg)"
    return f"{table}\n\n{plot}\n\n| machine | |\n| --- | --- |\n{about}"


def write(directory: Path, machine: dict[str, str], rows: list[Row]) -> None:
    """`results.json`, `results.svg`, and the part of `README.md` between the markers, if there is one."""
    directory.mkdir(parents=True, exist_ok=True)
    figures = [vars(row) | {"value": row.value, "reached": row.reached} for row in rows]
    content = {"machine": machine, "rows": figures}
    (directory / "results.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    (directory / "results.svg").write_text(draw(rows))
    document = directory / "README.md"
    if document.exists():
        before, _, rest = document.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        document.write_text(f"{before}{BEGIN}\n\n{markdown(machine, rows)}\n\n{END}{after}")
