#!/usr/bin/env python3
"""Measures the release build, beside a bare tonic echo in the same run, and writes table, JSON and plot to docs/benchmarks.

`make bench` builds what this needs and calls it beside a throw-away PostgreSQL. What is measured and how is in
docs/benchmarks/README.md.

    scripts/with-postgres --durable bench/run.py --quick --only throughput
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness import machine, report
from harness.measurements import BOTH, MEASUREMENTS, QUICK, Scale
from harness.result import Row
from harness.service import Database
from harness.tools import ROOT, Failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="measure this, and write nothing to docs; may be given again"
    )
    parser.add_argument("--database", choices=BOTH, help="on this database only, and write nothing to docs")
    parser.add_argument("--runs", type=int, help=f"how often each is measured ({Scale.runs})")
    parser.add_argument("--quick", action="store_true", help="small and short, to see that it works; writes nothing to docs")
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless every bound is reached")
    return parser.parse_args()


def measure(names: list[str], databases: tuple[str, ...], scale: Scale, cluster: str) -> tuple[list[Row], list[str]]:
    """The rows, and what failed; one that fails does not keep the others from being measured."""
    rows: list[Row] = []
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        for kind in databases:
            database = Database(kind, Path(directory), cluster)
            try:
                for name in names:
                    function, kinds = MEASUREMENTS[name]
                    if kind not in kinds:
                        continue
                    begin = time.monotonic()
                    try:
                        found = function(scale, database)
                    except (Failed, subprocess.CalledProcessError) as failure:
                        failed.append(f"{name}, {kind}: {failure}")
                        print(f"──── {failed[-1]}\n{database.log_end()}", flush=True)
                        continue
                    print(f"──── {name}, {kind} ({time.monotonic() - begin:.0f} s)\n{report.plain(found)}\n", flush=True)
                    rows += found
            finally:
                database.drop()
    # Both databases of a measurement together, in the order of the measurements.
    order = {row.name: at for at, row in reversed(list(enumerate(rows)))}
    return sorted(rows, key=lambda row: order[row.name]), failed


def main() -> int:
    wanted = arguments()
    cluster = os.environ.get("COUNTERSIGN_TEST_POSTGRES", "")
    databases = (wanted.database,) if wanted.database else BOTH
    if "PostgreSQL" in databases and not cluster:
        sys.exit("COUNTERSIGN_TEST_POSTGRES is not set: use `make bench`, or scripts/with-postgres --durable")
    scale = QUICK if wanted.quick else Scale()
    scale = replace(scale, runs=wanted.runs or scale.runs)
    about = machine.describe(cluster)
    rows, failed = measure(wanted.only or list(MEASUREMENTS), databases, scale, cluster)
    partial = failed or wanted.only or wanted.database or wanted.quick
    directory = ROOT / ("target/bench/results" if partial else "docs/benchmarks")
    report.write(directory, about, rows)
    print(f"{report.plain(rows)}\n\nwritten to {directory.relative_to(ROOT)}")
    missed = [row for row in rows if row.reached is False]
    print(f"{len(missed)} of {len(rows)} missed their bound", *(f"failed: {each}" for each in failed), sep="\n")
    return int(bool(failed or (missed and wanted.strict)))


if __name__ == "__main__":
    sys.exit(main())
