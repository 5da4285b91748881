"""How much is measured."""

import os
from dataclasses import dataclass

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Scale:
    runs: int = 5
    seconds: int = 4
    """How long one load lasts."""
    paced_seconds: int = 8
    """How long validation at a fixed rate lasts."""
    warm_calls: int = 20_000
    """Before throughput is measured."""
    accounts: int = 256
    """That people sign in to."""
    fresh_tokens: int = 5_000
    """Never-seen tokens in a run."""
    cached_tokens: int = 100_000
    """That the service remembers when its memory is measured."""
    logouts: int = 100
    """In a run."""
    replica_rate: int = 500
    """Validations a second on each replica meanwhile."""
    keys: tuple[int, int] = (10_000, 1_000_000)
    """In the two databases that are compared."""
    looked_up: int = 2_000
    """Keys in a run."""

    def each(self) -> range:
        """The runs."""
        return range(self.runs)


QUICK = Scale(
    runs=2,
    seconds=1,
    paced_seconds=2,
    warm_calls=2_000,
    accounts=64,
    fresh_tokens=500,
    cached_tokens=2_000,
    logouts=12,
    replica_rate=50,
    keys=(1_000, 10_000),
    looked_up=100,
)
