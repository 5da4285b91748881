"""What sign-ins do to validation; and to the echo, which tells what they do to whatever runs on this machine."""

import time
from collections import defaultdict
from pathlib import Path

from ..result import Row, middle, ratio
from ..service import Database, Echo, Program
from ..tools import VALID, Failed, ask, background, load
from .scale import Scale

CALLS = 1000


def p99(scale: Scale, program: Program, token: Path) -> float:
    pace = ("--rate", 500, "--seconds", scale.paced_seconds)
    found = load("paced", "--address", program.address, "--file", token, *pace)
    if set(found["outcomes"]) != {VALID}:
        raise Failed(f"of valid credentials: {found['outcomes']}")
    return found["ms"]["p99"]


def isolation(scale: Scale, database: Database) -> list[Row]:
    runs = defaultdict(list)
    with database.serve() as service:
        accounts = database.accounts(service, scale.accounts)
        token = database.same("one", database.register(service, 1)[1][0]["access_token"], CALLS)
        answer = database.directory / "token.answer"
        ask(service.address, token, CALLS, save=answer)
        with Echo(answer) as echo:
            for _ in scale.each():
                for name, program in (("service", service), ("echo", echo)):
                    runs[f"{name}, without"].append(p99(scale, program, token))
                    with background("sign-in", "--address", service.address, *accounts, "--at-once", 32):
                        # Until all are in line.
                        time.sleep(0.5)
                        runs[f"{name}, during"].append(p99(scale, program, token))
                    # Until the hashes that were begun are done.
                    time.sleep(0.2)
    rows = []
    for name, what, bound in (("service", "ValidateCredential", 3.0), ("echo", "the echo (for scale)", None)):
        during, without = runs[f"{name}, during"], runs[f"{name}, without"]
        rows.append(
            Row(
                f"p99 of {what} at 500/s, during 32 sign-ins ÷ without",
                database.kind,
                ratio(during, without),
                bound=bound,
                of=f"{middle(during, 2)} ÷ {middle(without, 2)} ms",
                raw={"during_ms": during, "without_ms": without},
            )
        )
    return rows
