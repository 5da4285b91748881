"""From `exec` to the health service's SERVING, on a database that is migrated."""

from ..result import Row
from ..service import Database
from ..tools import load
from .scale import Scale

BOUNDS = {"SQLite": 150, "PostgreSQL": 300}


def start(scale: Scale, database: Database) -> list[Row]:
    with database.serve() as service:
        address = service.address
    command = ("--address", address, "--times", scale.runs, "--", *database.serve_command(address))
    with database.log.open("a") as log:
        took = load("start", *command, env=database.environment, cwd=database.directory, stderr=log)["ms"]
    return [Row("Start to ready, migrated database", database.kind, took, bound=BOUNDS[database.kind], unit="ms")]
