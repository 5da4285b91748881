"""The measurements, one a file: each makes its rows on one database.

What is compared is measured in turn (A B A B …), in the same run, by the same client.
"""

from collections.abc import Callable

from ..result import Row
from ..service import Database
from .isolation import isolation
from .keys import keys
from .login import login
from .logout import logout
from .memory import memory
from .scale import QUICK, Scale
from .start import start
from .throughput import throughput
from .unseen import unseen

__all__ = ["BOTH", "MEASUREMENTS", "QUICK", "Scale"]

BOTH = ("SQLite", "PostgreSQL")
# By name, with the databases that it is made on.
MEASUREMENTS: dict[str, tuple[Callable[[Scale, Database], list[Row]], tuple[str, ...]]] = {
    "throughput": (throughput, BOTH),
    "unseen": (unseen, BOTH),
    "login": (login, BOTH),
    "isolation": (isolation, BOTH),
    "logout": (logout, ("PostgreSQL",)),
    "keys": (keys, ("PostgreSQL",)),
    "memory": (memory, BOTH),
    "start": (start, BOTH),
}
