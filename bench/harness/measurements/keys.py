"""A key that the service does not know yet, among few and among many."""

from collections import defaultdict
from contextlib import ExitStack

from ..key_tables import filled
from ..result import Row, middle, ratio
from ..service import Database
from ..tools import ask
from .scale import Scale


def keys(scale: Scale, database: Database) -> list[Row]:
    runs, few, many = defaultdict(list), *scale.keys
    with ExitStack() as stack:
        services = {}
        for count in scale.keys:
            full, secrets = filled(database, count, scale.runs * scale.looked_up)
            stack.callback(full.drop)
            services[count] = stack.enter_context(full.serve()), secrets
        for run in scale.each():
            for count, (service, secrets) in services.items():
                skip = run * scale.looked_up
                found = ask(service.address, secrets, scale.looked_up, skip, connections=1, at_once=1)
                runs[count].append(found["ms"]["p50"])
    return [
        Row(
            f"Key look-up, not cached: {many:,} keys ÷ {few:,} keys, p50",
            database.kind,
            ratio(runs[many], runs[few]),
            bound=1.5,
            of=f"{middle(runs[many], 2)} ÷ {middle(runs[few], 2)} ms",
            raw={"ms": runs},
        )
    ]
