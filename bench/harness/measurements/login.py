"""Sign-ins beside nothing but their argon2id."""

from collections import defaultdict

from ..result import Row, middle, ratio
from ..service import Database
from ..tools import load
from .scale import CORES, Scale

CROWDS = (8, 32)


def login(scale: Scale, database: Database) -> list[Row]:
    runs = defaultdict(list)
    with database.serve() as service:
        accounts = database.accounts(service, scale.accounts)
        for _ in scale.each():
            for crowd in CROWDS:
                bare = load("argon2", "--threads", CORES, "--seconds", scale.seconds)["per_second"]
                runs[f"bare, {crowd}"].append(bare)
                who = ("--address", service.address, *accounts, "--at-once", crowd)
                found = load("sign-in", *who, "--seconds", scale.seconds)
                runs[crowd].append(found["outcomes"].get("OK", 0) / found["seconds"])
    return [
        Row(
            f"Login, {crowd} at once ÷ ({CORES} cores × bare argon2id on each)",
            database.kind,
            ratio(runs[crowd], runs[f"bare, {crowd}"]),
            bound=0.90,
            at_least=True,
            of=f"{middle(runs[crowd], 1)} ÷ {middle(runs[f'bare, {crowd}'], 1)} a second",
            raw={"per_second": runs[crowd], "bare_per_second": runs[f"bare, {crowd}"]},
        )
        for crowd in CROWDS
    ]
