"""Three replicas: signed out on one, refused on the others."""

from collections import defaultdict
from contextlib import ExitStack

from ..result import Row, middle
from ..service import Database
from ..tools import background, load
from .scale import Scale

REPLICAS = 3
SIGN_INS = 4
"""At once, on one of them."""


def logout(scale: Scale, database: Database) -> list[Row]:
    runs = defaultdict(list)
    with ExitStack() as stack:
        replicas = [stack.enter_context(database.serve()) for _ in range(REPLICAS)]
        accounts = database.accounts(replicas[0], scale.accounts)
        token = database.same("one", database.register(replicas[0], 1)[1][0]["access_token"], 1)
        for each in replicas:
            paced = ("--address", each.address, "--file", token, "--rate", scale.replica_rate)
            stack.enter_context(background("paced", *paced))
        crowd = ("--address", replicas[0].address, *accounts, "--at-once", SIGN_INS)
        stack.enter_context(background("sign-in", *crowd))
        addresses = [flag for each in replicas for flag in ("--address", each.address)]
        for _ in scale.each():
            found = load("logout", *addresses, *accounts, "--count", scale.logouts)
            for quantile, value in found["ms"].items():
                runs[quantile].append(value)
    title = "Logout on one of three replicas → refused on the others"
    of = f"p50 {middle(runs['p50'])} ms"
    return [
        Row(f"{title}, p99", database.kind, runs["p99"], bound=250, unit="ms", of=of, raw={"ms": runs}),
        Row(f"{title}, longest", database.kind, runs["max"], bound=1000, unit="ms", worst=True),
    ]
