"""What a token costs the service the first time, above what it costs the second time."""

from collections import defaultdict

from ..result import Row, middle, ratio
from ..service import Database
from ..tools import ask, load
from .scale import Scale

VERIFICATIONS = 2000


def unseen(scale: Scale, database: Database) -> list[Row]:
    runs = defaultdict(list)
    with database.serve() as service:
        tokens = database.tokens(service, scale.runs * scale.fresh_tokens)
    with tokens.open() as file:
        token = file.readline().strip()
    # Another service, since the one that issued a token may know it.
    with database.serve() as service:
        # Connections, buffers and pools are not what is measured.
        ask(service.address, database.same("one", token, scale.warm_calls), scale.warm_calls)
        for run in scale.each():
            cost = []
            for _pass in ("fresh", "known"):
                before = service.cpu_time()
                ask(service.address, tokens, scale.fresh_tokens, skip=run * scale.fresh_tokens)
                cost.append((service.cpu_time() - before) * 1e6 / scale.fresh_tokens)
            fresh, known = cost
            verify = load("verify", "--token", token, "--times", VERIFICATIONS)["cpu_us"]
            # Who verifies what is known as well saves nothing: all of it is extra.
            extra = fresh - known if known < verify else fresh
            for name, value in (("fresh", fresh), ("known", known), ("verify", verify), ("extra", extra)):
                runs[name].append(value)
    return [
        Row(
            "ValidateCredential, never-seen token: extra CPU ÷ one pasetors verify",
            database.kind,
            ratio(runs["extra"], runs["verify"]),
            bound=1.2,
            of=f"{middle(runs['extra'])} ({middle(runs['fresh'])} − {middle(runs['known'])}) ÷ {middle(runs['verify'])} µs",
            raw={"cpu_us": runs},
        )
    ]
