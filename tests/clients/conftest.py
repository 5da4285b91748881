"""What the tests share: the built service, started as its users start it, and people to sign up.

Every test that takes `server` or `database` runs against each database: SQLite, and PostgreSQL where
COUNTERSIGN_TEST_POSTGRES gives the address of a server in which databases may be made (scripts/with-postgres does).
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
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import requests

from mail_server import Authority, MailServer

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


def problem(r: requests.Response) -> tuple[int, str]:
    """The status and reason of an RFC 9457 problem."""
    assert r.headers["content-type"] == "application/problem+json"
    body = r.json()
    assert body["status"] == r.status_code
    assert body["type"] and body["title"] and body["detail"]
    if r.status_code == 401:
        assert r.headers["www-authenticate"].startswith("Bearer")
    return r.status_code, body["reason"]


def bearer(person) -> dict:
    """What a TokenResponse lets its owner send."""
    return {"Authorization": f"Bearer {person['access_token']}"}


class Server:
    """The built service, in a directory of its own. It may be started, stopped and killed again and again; its data stay."""

    binary = BINARY

    def __init__(self, database: str, directory: Path, environment: dict[str, str]):
        self.database = database
        self.directory = directory
        self.environment = environment
        self.port = free_port()
        self.process = None

    @property
    def base(self) -> str:
        """Where it is, as a URL without a path."""
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """Where it is, as a gRPC target."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far on standard error."""
        return (self.directory / "log").read_text()

    @property
    def output(self) -> str:
        """What it has said so far on standard output."""
        return (self.directory / "output").read_text()

    def start(self, **changes: str):
        """Returns once it answers. `changes` are to its environment, for this time."""
        environment = {
            "PATH": os.environ["PATH"],
            "RUST_BACKTRACE": "1",
            "COUNTERSIGN_SERVER__LISTEN": self.address,
            "COUNTERSIGN_SERVER__PUBLIC_URL": self.base,
            "COUNTERSIGN_SERVER__METRICS_LISTEN": "off",
        }
        environment |= self.environment | changes
        with (self.directory / "log").open("ab") as log, (self.directory / "output").open("ab") as output:
            self.process = subprocess.Popen([self.binary, "serve"], cwd=self.directory, env=environment, stdout=output, stderr=log)
        wait_until(lambda: self.process.poll() is not None or self.answers(), lambda: f"the service hangs:\n{self.log}")
        assert self.process.poll() is None, self.log

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.base}/openapi.json", timeout=1).ok
        except requests.RequestException:
            return False

    def stop(self):
        """Asks it to end, which it must do well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.log
        assert "panicked" not in self.log

    def kill(self):
        """`kill -9`, whatever it is doing, if it is running."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def call(self, path: str, body: dict, token: str | None = None) -> requests.Response:
        """Posts to a REST method that is named from `/api/v1/auth/` on."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.post(f"{self.base}/api/v1/auth/{path}", json=body, headers=headers, timeout=PATIENCE)

    def register(self, email: str, name="Ada") -> dict:
        """Signs somebody up: the TokenResponse."""
        r = self.call("register", {"email": email, "password": PASSWORD, "name": name})
        assert r.status_code == 200, r.text
        return r.json()

    def me(self, token: str) -> dict:
        """GetMe."""
        r = requests.get(f"{self.base}/api/v1/users/me", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
        assert r.status_code == 200, r.text
        return r.json()

    @contextmanager
    def running(self):
        """It must end well, too."""
        try:
            self.start()
            yield
            self.stop()
        finally:
            self.kill()

    def wait_for_log(self, text: str, times=1):
        """Returns once this has been logged so many times, in all."""
        wait_until(lambda: self.log.count(text) >= times, lambda: f"{text!r} is not in the log:\n{self.log}")


def wait_until(condition, complaint, patience=PATIENCE):
    """Returns once the condition holds; fails with the complaint when it does not come to that."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            pytest.fail(complaint())
        time.sleep(0.05)


@pytest.fixture(scope="session", params=["sqlite", "postgres"] if POSTGRES else ["sqlite"])
def database(request) -> str:
    """The kind of database that services have."""
    return request.param


def new_database(kind: str) -> dict[str, str]:
    """What makes a service keep its data in an empty database: nothing, for SQLite."""
    if kind == "sqlite":
        return {}
    return {
        "COUNTERSIGN_DATABASE__URL": new_postgres_database(),
        "COUNTERSIGN_SECRETS__MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    }


@pytest.fixture(scope="session")
def server(database, tmp_path_factory, listed_origin, mail_server):
    """`countersign serve` in an empty directory; it must end well too."""
    environment = {
        "COUNTERSIGN_SERVER__CORS_ORIGINS": listed_origin,
        "COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES": ",".join(SCOPES),
    }
    environment |= new_database(database) | mail_server.environment
    server = Server(database, tmp_path_factory.mktemp(database), environment)
    with server.running():
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    """Who vouches for the mail servers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def mail_server(authority):
    """Where `server` sends its mails."""
    server = MailServer(authority, free_port())
    server.start()
    yield server
    server.stop()


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
    return server.register(new_email())


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
