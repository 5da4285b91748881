"""What the tests share: the built service, started as its users start it, and people to sign up.

Every test that takes `server` runs against each database: SQLite, and PostgreSQL where COUNTERSIGN_TEST_POSTGRES gives the
address of a server in which databases may be made (scripts/with-postgres does).
"""

import base64
import functools
import http.server
import itertools
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("COUNTERSIGN_BIN", ROOT / "target/debug/countersign")).resolve()
POSTGRES = os.environ.get("COUNTERSIGN_TEST_POSTGRES")
# Debug builds are slow on a machine that is busy with other tests.
PATIENCE = 60

# A person's password; what differs from person to person is the e-mail address.
PASSWORD = "slow copper lantern"
SCOPES = ["jobs:read", "jobs:write"]

number = itertools.count(1)


def new_email() -> str:
    """An address that nobody has signed up with yet."""
    return f"person{next(number)}@example.com"


@dataclass
class Server:
    """A running service."""

    database: str
    port: int

    @property
    def base(self) -> str:
        """Where it is, as a URL without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Where it is, as a gRPC target."""
        return f"127.0.0.1:{self.port}"


@pytest.fixture(scope="session", params=["sqlite", "postgres"] if POSTGRES else ["sqlite"])
def server(request, tmp_path_factory, listed_origin):
    """`countersign serve` in an empty directory; it must end well too."""
    directory = tmp_path_factory.mktemp(request.param)
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "RUST_BACKTRACE": "1",
        "COUNTERSIGN_SERVER__LISTEN": f"127.0.0.1:{port}",
        "COUNTERSIGN_SERVER__CORS_ORIGINS": listed_origin,
        "COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES": ",".join(SCOPES),
    }
    if request.param == "postgres":
        environment["COUNTERSIGN_DATABASE__URL"] = new_postgres_database()
        environment["COUNTERSIGN_SECRETS__MASTER_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([BINARY, "serve"], cwd=directory, env=environment, stdout=output, stderr=output)
    try:
        wait_until_it_listens(process, port, log)
        yield Server(request.param, port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
        assert "panicked" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def wait_until_it_listens(process: subprocess.Popen, port: int, log: Path):
    """Returns once the port takes connections; fails with the log when it does not come to that."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the service did not start:\n{log.read_text()}")


def new_postgres_database() -> str:
    """A fresh database's address; over TLS where the test server's authority is known."""
    name = f"clients_{secrets.token_hex(6)}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = f"{POSTGRES.rsplit('/', 1)[0]}/{name}"
    authority = os.environ.get("COUNTERSIGN_TEST_POSTGRES_CA")
    return f"{url}?sslmode=verify-full&sslrootcert={authority}" if authority else url


@pytest.fixture
def person(server) -> dict:
    """Somebody who has just signed up: the TokenResponse."""
    r = requests.post(f"{server.base}/api/v1/auth/register", json={"email": new_email(), "password": PASSWORD, "name": "Ada"})
    assert r.status_code == 200, r.text
    return r.json()


@pytest.fixture(scope="session")
def listed_origin():
    """Serves the browser's page on the origin that the service lists in `server.cors_origins`."""
    with page_server() as origin:
        yield origin


@pytest.fixture(scope="session")
def unlisted_origin():
    """Serves the same page on an origin that the service does not know."""
    with page_server() as origin:
        yield origin


class page_server:
    """A static server of the built page, on a port and so an origin of its own."""

    def __enter__(self) -> str:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        handler = functools.partial(Handler, directory=ROOT / "tests/clients/browser/dist")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
