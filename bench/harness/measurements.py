"""The measurements: each makes its rows on one database.

What is compared is measured in turn (A B A B …), in the same run, by the same client.
"""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import keys
from .result import Row, middle, ratio
from .service import Database, Echo, Program, Service
from .tools import CONNECTIONS, STREAMS, Failed, ask, h2load, load, load_command, request_body

CORES = len(os.sched_getaffinity(0))
VERIFICATIONS = 2000


@dataclass
class Scale:
    """How much is measured."""

    runs: int = 5
    seconds: int = 4
    """How long one load lasts."""
    paced_seconds: int = 8
    """How long validation at a fixed rate lasts."""
    accounts: int = 256
    fresh_tokens: int = 5_000
    """Never-seen tokens in a run."""
    cached_tokens: int = 100_000
    logouts: int = 100
    replica_rate: int = 500
    """Validations a second on each replica meanwhile."""
    keys: tuple[int, int] = (10_000, 1_000_000)
    looked_up: int = 2_000
    """Keys looked up in a run."""
    warm: int = 20_000
    """Calls before throughput is measured."""

    def each(self) -> range:
        return range(self.runs)


QUICK = Scale(runs=2, seconds=1, paced_seconds=2, accounts=64, fresh_tokens=500, cached_tokens=2_000, logouts=12, replica_rate=50, keys=(1_000, 10_000), looked_up=100, warm=2_000)


@dataclass
class Series:
    """What one variant showed, run by run."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> float:
        self.values.setdefault(name, []).append(value)
        return value

    def __getitem__(self, name: str) -> list[float]:
        return self.values[name]


def throughput(scale: Scale, database: Database) -> list[Row]:
    """ValidateCredential of a credential that is known, beside the echo."""
    series, rows = Series(), []
    with database.serve() as service:
        token = database.register(service, 1)[1][0]["access_token"]
        key = service.post("keys", {"name": "bench"}, token)["secret"]
        bodies, rivals, sizes = {}, {}, {}
        for name, credential in {"token": token, "key": key}.items():
            file = database.same(name, credential, 1000)
            answer = database.directory / f"{name}.answer"
            sizes[name] = ask(service.address, file, 1000, 0, CONNECTIONS, STREAMS, "--save", answer)["bytes"][1] + 5
            bodies[name] = database.directory / f"{name}.request"
            bodies[name].write_bytes(request_body(credential))
            rivals[name] = (Echo(answer), answer.stat().st_size + 5, file)
        with rivals["token"][0], rivals["key"][0]:
            for _ in scale.each():
                for name, (echo, echo_size, _file) in rivals.items():
                    for kind, program, size in ((f"echo, {name}", echo, echo_size), (name, service, sizes[name])):
                        warm = h2load(program.address, bodies[name], scale.warm, size)
                        requests = max(scale.warm, int(warm * scale.seconds))
                        series.add(kind, h2load(program.address, bodies[name], requests, size))
        for name, (_echo, _size, file) in rivals.items():
            # Still valid, by a client that reads the answers.
            ask(service.address, file, 1000)
            per_second, echoes = series[name], series[f"echo, {name}"]
            rows.append(
                Row(
                    f"ValidateCredential, cached {name} ÷ bare tonic echo",
                    database.kind,
                    ratio(per_second, echoes),
                    bound=0.90,
                    at_least=True,
                    of=f"{middle(per_second)} ÷ {middle(echoes)} a second",
                    raw={"per_second": per_second, "echo_per_second": echoes},
                )
            )
    return rows


def unseen(scale: Scale, database: Database) -> list[Row]:
    """What a token costs the service the first time, above what it costs the second time."""
    series = Series()
    with database.serve() as service:
        tokens = database.tokens(service, scale.runs * scale.fresh_tokens)
    with tokens.open() as file:
        token = file.readline().strip()
    # Another, since who issued a token may know it.
    with database.serve() as service:
        # Connections, buffers and pools are not what is measured.
        ask(service.address, database.same("one", token, scale.warm), scale.warm)
        for run in scale.each():
            cost = []
            for _pass in ("fresh", "known"):
                before = service.cpu_time()
                ask(service.address, tokens, scale.fresh_tokens, run * scale.fresh_tokens)
                cost.append((service.cpu_time() - before) * 1e6 / scale.fresh_tokens)
            fresh, known = series.add("fresh", cost[0]), series.add("known", cost[1])
            verify = series.add("verify", load("verify", "--token", token, "--times", VERIFICATIONS)["cpu_us"])
            # Who verifies what is known as well saves nothing: all of it is extra.
            series.add("extra", fresh - known if known < verify else fresh)
    extra, verify = series["extra"], series["verify"]
    name = "ValidateCredential, never-seen token: extra CPU ÷ one pasetors verify"
    of = f"{middle(extra)} ({middle(series['fresh'])} − {middle(series['known'])}) ÷ {middle(verify)} µs"
    return [Row(name, database.kind, ratio(extra, verify), bound=1.2, of=of, raw={"cpu_us": series.values})]


def sign_in(service: Service, accounts: tuple[object, ...], at_once: int, seconds: int) -> list[str]:
    return load_command("sign-in", "--address", service.address, *accounts, "--at-once", at_once, "--seconds", seconds)


def login(scale: Scale, database: Database) -> list[Row]:
    """Sign-ins beside nothing but their argon2id."""
    series = Series()
    with database.serve() as service:
        accounts = database.accounts(service, scale.accounts)
        for _ in scale.each():
            series.add("bare", load("argon2", "--threads", CORES, "--seconds", scale.seconds)["per_second"])
            for at_once in (8, 32):
                command = sign_in(service, accounts, at_once, scale.seconds)
                found = load(*command[1:])
                series.add(f"{at_once}", found["outcomes"].get("OK", 0) / found["seconds"])
    return [
        Row(
            f"Login, {at_once} at once ÷ ({CORES} cores × bare argon2id on each)",
            database.kind,
            ratio(series[f"{at_once}"], series["bare"]),
            bound=0.90,
            at_least=True,
            of=f"{middle(series[f'{at_once}'], 1)} ÷ {middle(series['bare'], 1)} a second",
            raw={"per_second": series[f"{at_once}"], "bare_per_second": series["bare"]},
        )
        for at_once in (8, 32)
    ]


def isolation(scale: Scale, database: Database) -> list[Row]:
    """What sign-ins do to validation; and to the echo, which tells what they do to whatever runs on this machine."""
    series, rows = Series(), []
    with database.serve() as service:
        accounts = database.accounts(service, scale.accounts)
        token = database.same("one", database.register(service, 1)[1][0]["access_token"], 1000)
        answer = database.directory / "token.answer"
        ask(service.address, token, 1000, 0, CONNECTIONS, STREAMS, "--save", answer)
        with Echo(answer) as echo:

            def paced(program: Program) -> float:
                found = load("paced", "--address", program.address, "--file", token, "--rate", 500, "--seconds", scale.paced_seconds)
                if set(found["outcomes"]) != {"CREDENTIAL_STATUS_VALID"}:
                    raise Failed(f"of valid credentials: {found['outcomes']}")
                return found["ms"]["p99"]

            for _ in scale.each():
                for name, program in {"service": service, "echo": echo}.items():
                    series.add(f"{name}, alone", paced(program))
                    # Until after the end of what is measured.
                    signing_in = subprocess.Popen(sign_in(service, accounts, 32, 3600), stdout=subprocess.DEVNULL)
                    try:
                        time.sleep(0.5)
                        series.add(f"{name}, crowded", paced(program))
                        if signing_in.poll() is not None:
                            raise Failed("the sign-ins ended too soon")
                    finally:
                        signing_in.kill()
                        signing_in.wait()
                    # The hashes that are under way.
                    time.sleep(0.2)
    for name, what, bound in (("service", "ValidateCredential", 3.0), ("echo", "the echo (for scale)", None)):
        crowded, alone = series[f"{name}, crowded"], series[f"{name}, alone"]
        title = f"p99 of {what} at 500/s, during 32 sign-ins ÷ without"
        of = f"{middle(crowded, 2)} ÷ {middle(alone, 2)} ms"
        rows.append(Row(title, database.kind, ratio(crowded, alone), bound=bound, of=of, raw={"during_ms": crowded, "without_ms": alone}))
    return rows


def logout(scale: Scale, database: Database) -> list[Row]:
    """Three replicas: signed out on one, refused on the others."""
    series = Series()
    with database.serve() as one, database.serve() as two, database.serve() as three:
        replicas = (one, two, three)
        accounts = database.accounts(one, scale.accounts)
        token = database.same("one", database.register(one, 1)[1][0]["access_token"], 1000)
        loads = [load_command("paced", "--address", each.address, "--file", token, "--rate", scale.replica_rate, "--seconds", 3600) for each in replicas]
        loads.append(sign_in(one, accounts, 4, 3600))
        running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in loads]
        try:
            addresses = [flag for each in replicas for flag in ("--address", each.address)]
            for _ in scale.each():
                found = load("logout", *addresses, *accounts, "--count", scale.logouts)["ms"]
                for quantile in ("p50", "p99", "max"):
                    series.add(quantile, found[quantile])
            if any(each.poll() is not None for each in running):
                raise Failed("the load ended too soon")
        finally:
            for each in running:
                each.kill()
                each.wait()
    title = "Logout on one of three replicas → refused on the others"
    of = f"p50 {middle(series['p50'])} ms"
    return [
        Row(f"{title}, p99", database.kind, series["p99"], bound=250, unit="ms", of=of, raw={"ms": series.values}),
        Row(f"{title}, longest", database.kind, series["max"], bound=1000, unit="ms", worst=True),
    ]


def key_lookup(scale: Scale, database: Database) -> list[Row]:
    """A key that the service does not know yet, among few and among many."""
    series, count = Series(), scale.runs * scale.looked_up
    few, many = (keys.filled(database, number, count) for number in scale.keys)
    try:
        with few[0].serve() as among_few, many[0].serve() as among_many:
            for run in scale.each():
                for name, service, file in (("few", among_few, few[1]), ("many", among_many, many[1])):
                    found = ask(service.address, file, scale.looked_up, run * scale.looked_up, 1, 1)
                    series.add(name, found["ms"]["p50"])
    finally:
        few[0].drop()
        many[0].drop()
    name = f"Key look-up, not cached: {scale.keys[1]:,} keys ÷ {scale.keys[0]:,} keys, p50"
    of = f"{middle(series['many'], 2)} ÷ {middle(series['few'], 2)} ms"
    return [Row(name, database.kind, ratio(series["many"], series["few"]), bound=1.5, of=of, raw={"ms": series.values})]


def memory(scale: Scale, database: Database) -> list[Row]:
    """Resident memory of processes that are new each time."""
    series = Series()
    with database.serve() as service:
        accounts = database.accounts(service, scale.accounts)
        tokens = database.tokens(service, scale.cached_tokens)
    for _ in scale.each():
        with database.serve() as service:
            time.sleep(2)
            series.add("idle", service.memory("VmRSS"))
            ask(service.address, tokens, scale.cached_tokens)
            series.add("cached", service.memory("VmRSS"))
        with database.serve() as service:
            load(*sign_in(service, accounts, 64, scale.seconds)[1:])
            series.add("sign-ins", service.memory("VmHWM"))
    rows = (("idle", 24, "idle"), (f"with {scale.cached_tokens:,} live tokens cached", 96, "cached"), ("at most, during 64 sign-ins at once", 24 + 20 * CORES, "sign-ins"))
    return [Row(f"Resident memory, {what}", database.kind, series[name], bound=bound, unit="MiB") for what, bound, name in rows]


def start(scale: Scale, database: Database) -> list[Row]:
    """From `exec` to the health service's SERVING, on a database that is migrated."""
    with database.serve() as service:
        address = service.address
    command = ["--address", address, "--times", scale.runs, "--", *database.serve_command(address)]
    with (database.directory / "log").open("a") as log:
        took = load("start", *command, env=database.environment, cwd=database.directory, stderr=log)["ms"]
    bound = {"SQLite": 150, "PostgreSQL": 300}[database.kind]
    return [Row("Start to ready, migrated database", database.kind, took, bound=bound, unit="ms")]


BOTH = ("SQLite", "PostgreSQL")
# By name, with the databases that it is made on.
MEASUREMENTS: dict[str, tuple[Callable[[Scale, Database], list[Row]], tuple[str, ...]]] = {
    "throughput": (throughput, BOTH),
    "unseen": (unseen, BOTH),
    "login": (login, BOTH),
    "isolation": (isolation, BOTH),
    "logout": (logout, ("PostgreSQL",)),
    "keys": (key_lookup, ("PostgreSQL",)),
    "memory": (memory, BOTH),
    "start": (start, BOTH),
}
