"""What a measurement brings: rows of the table."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """A figure, measured several times."""

    name: str
    """What was measured."""
    database: str
    values: list[float]
    """One of each run."""
    bound: float | None = None
    """What it must reach; None: it is only for scale."""
    at_least: bool = False
    """Whether the bound is the least; else it is the most."""
    unit: str = ""
    """Without one it is a ratio."""
    of: str = ""
    """What the ratio is of, in absolute figures of this machine."""
    worst: bool = False
    """Whether the worst of the runs counts, and not their median."""
    raw: dict = field(default_factory=dict)
    """The figures of each run that the values were made of."""

    @property
    def value(self) -> float:
        if self.worst:
            return min(self.values) if self.at_least else max(self.values)
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def share(self) -> float | None:
        """How much of what is allowed was used: up to 1 is well."""
        if self.bound is None:
            return None
        return self.bound / self.value if self.at_least else self.value / self.bound


def ratio(numerators: list[float], denominators: list[float]) -> list[float]:
    """Run by run: what was measured side by side is compared, since the machine is not the same from minute to minute."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def middle(values: list[float], digits: int = 0) -> str:
    """The median, to be read by people."""
    return f"{statistics.median(values):,.{digits}f}"
