"""Resident memory, of processes that are new each time."""

import time
from collections import defaultdict

from ..result import Row
from ..service import Database
from ..tools import ask, load
from .scale import CORES, Scale

CROWD = 64


def memory(scale: Scale, database: Database) -> list[Row]:
    runs = defaultdict(list)
    with database.serve() as service:
        accounts = database.accounts(service, scale.accounts)
        tokens = database.tokens(service, scale.cached_tokens)
    for _ in scale.each():
        with database.serve() as service:
            time.sleep(2)
            runs["idle"].append(service.memory("VmRSS"))
            ask(service.address, tokens, scale.cached_tokens)
            runs["cached"].append(service.memory("VmRSS"))
        with database.serve() as service:
            load("sign-in", "--address", service.address, *accounts, "--at-once", CROWD, "--seconds", scale.seconds)
            runs["sign-ins"].append(service.memory("VmHWM"))
    rows = (
        ("idle", "idle", 24),
        ("cached", f"with {scale.cached_tokens:,} live tokens cached", 96),
        ("sign-ins", f"at most, during {CROWD} sign-ins at once", 24 + 20 * CORES),
    )
    return [Row(f"Resident memory, {what}", database.kind, runs[name], bound=bound, unit="MiB") for name, what, bound in rows]
