"""Databases, services over them, and people who have accounts there."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .tools import ROOT, Failed, load, load_command

BINARY = ROOT / "target/release/countersign"
PASSWORD = "slow copper lantern"


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def psql(url: str, sql: str) -> str:
    command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", url]
    return subprocess.run(command, input=sql, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Program:
    """A server, until the end of the `with`."""

    def __init__(self, address: str, process: subprocess.Popen):
        self.address, self.process = address, process

    def __enter__(self) -> "Program":
        host, port = self.address.split(":")
        while True:
            if self.process.poll() is not None:
                raise Failed(f"{self.process.args[0]} ended before it served")
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return self
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Echo(Program):
    """The bare tonic server that answers each call with `answer`."""

    def __init__(self, answer: Path):
        address = free_address()
        super().__init__(address, subprocess.Popen(load_command("echo", "--listen", address, "--answer", answer)))


class Service(Program):
    """The service itself."""

    def __enter__(self) -> "Service":
        super().__enter__()
        # The port is bound before the database is ready.
        self.post("auth/validate", {"credential": "none"})
        return self

    def cpu_time(self) -> float:
        """Seconds of all its threads: the process's CPU clock, as clock_getcpuclockid(3) names it."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def memory(self, field: str) -> float:
        """`VmRSS` (resident now) or `VmHWM` (the most that ever was), in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024

    def post(self, path: str, body: dict, token: str = "") -> dict:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        connection.request("POST", f"/api/v1/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status != 200:
            raise Failed(f"{path} answered {answer.status}: {text[:200]!r}")
        return json.loads(text)


class Database:
    """One that is empty at first, and what services over it have in common."""

    def __init__(self, kind: str, directory: Path, cluster: str = "", name: str = "main"):
        self.kind, self.cluster, self.name = kind, cluster, f"bench_{name}_{os.getpid()}"
        self.directory = Path(tempfile.mkdtemp(dir=directory))
        self.url = f"sqlite://{self.directory}/countersign.db"
        if kind == "PostgreSQL":
            psql(cluster, f"CREATE DATABASE {self.name}")
            self.url = f"{cluster.rsplit('/', 1)[0]}/{self.name}?sslmode=disable"
        self.environment = {
            "PATH": os.environ["PATH"],
            "COUNTERSIGN_DATABASE__URL": self.url,
            "COUNTERSIGN_SECRETS__MASTER_KEY": base64.b64encode(os.urandom(32)).decode(),
            "COUNTERSIGN_MAIL__TRANSPORT": "file",
            "COUNTERSIGN_SERVER__METRICS_LISTEN": "off",
            # So that no credential expires while it is measured.
            "COUNTERSIGN_TOKENS__ACCESS_TTL": "24h",
        }
        self.log = self.directory / "log"
        self.tokens_file = self.directory / "tokens"
        self.tokens_made = self.people = 0

    def drop(self) -> None:
        if self.kind == "PostgreSQL":
            psql(self.cluster, f"DROP DATABASE {self.name} WITH (FORCE)")

    def log_end(self) -> str:
        """The last of what was wrong, as services over it saw it."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return "\n".join([line for line in lines if '"level":"INFO"' not in line][-10:])

    def serve_command(self, address: str) -> list[str]:
        return [str(BINARY), "serve", "--listen", address]

    def serve(self) -> Service:
        """A new service on this database. Its log is kept beside the database."""
        address = free_address()
        with self.log.open("a") as log:
            options = {"cwd": self.directory, "env": self.environment, "stdout": log, "stderr": log}
            return Service(address, subprocess.Popen(self.serve_command(address), **options))

    def register(self, service: Service, count: int) -> tuple[list[str], list[dict]]:
        """New accounts: their addresses, and what each got for registering."""
        emails = [f"person{n}@example.com" for n in range(self.people, self.people + count)]
        self.people += count
        with ThreadPoolExecutor(8) as pool:
            register = lambda email: service.post("auth/register", {"email": email, "password": PASSWORD})
            tokens = list(pool.map(register, emails))
        # Their mails are not to be sent while something is measured.
        deadline = time.monotonic() + 120
        while len(list((self.directory / "mail").glob("*.eml"))) < self.people:
            if time.monotonic() > deadline:
                raise Failed("the mails of new accounts were not sent")
            time.sleep(0.05)
        return emails, tokens

    def accounts(self, service: Service, count: int) -> tuple[object, ...]:
        """Flags of `load` that name so many new accounts."""
        file = self.directory / "accounts"
        file.write_text("\n".join(self.register(service, count)[0]) + "\n")
        return "--accounts", file, "--password", PASSWORD

    def tokens(self, service: Service, count: int) -> Path:
        """A file of at least so many live access tokens. Sessions of their own, which no sign-in pushes out."""
        missing = count - self.tokens_made
        if missing > 0:
            refresh, more = self.directory / "refresh", self.directory / "more"
            people = self.register(service, 32)[1]
            refresh.write_text("\n".join(tokens["refresh_token"] for tokens in people) + "\n")
            load("refresh", "--address", service.address, "--file", refresh, "--count", missing, "--out", more)
            with self.tokens_file.open("a") as file:
                file.write(more.read_text())
            self.tokens_made += missing
        return self.tokens_file

    def same(self, name: str, credential: str, times: int) -> Path:
        """A file that names one credential so many times."""
        file = self.directory / name
        file.write_text((credential + "\n") * times)
        return file
