"""What the figures were measured on."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from .service import BINARY, psql
from .tools import ROOT


def said(*command: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.strip()


def locked(crate: str) -> str:
    """The version in `Cargo.lock`."""
    return re.search(rf'name = "{crate}"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text())[1]


def describe(cluster: str) -> dict[str, str]:
    """The machine and the versions, in the order in which they are shown."""
    model = re.search(r"^(?:model name|Model)\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    total = int(re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())[1])
    changed = " with changes" if said("git", "status", "--porcelain", "--untracked-files=no") else ""
    machine = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": said("git", "rev-parse", "--short", "HEAD") + changed,
        "CPU": f"{model[1].strip() if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{total / 1024 / 1024:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "service": said(BINARY, "--version"),
        "compiler": said("rustc", "--version"),
        "tonic": locked("tonic"),
        "h2load": said("h2load", "--version"),
    }
    if cluster:
        machine["PostgreSQL"] = psql(cluster, "SHOW server_version")
    return machine
