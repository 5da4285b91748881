"""Replicas behind Envoy are replaced one after the other under load, by the same version and by the next one, which migrates the
database; and nobody notices. Envoy is set up as docs/gateways/envoy-replicas.yaml says, and each replica is replaced once the one
before is ready, as an operator or Kubernetes does it.
"""

from pathlib import Path

import grpc
import psycopg
import pytest
import requests

from conftest import BINARY, PATIENCE, POSTGRES, ROOT, bearer, free_port, new_email, new_postgres_database, wait_until
from gateways import Gateway
from replicas import Crowd, Replica, Replicas

# By scripts/previous-version: what had the migrations before the present ones.
PREVIOUS = ROOT / "target/previous/countersign"

pytestmark = pytest.mark.skipif(not POSTGRES, reason="replicas need PostgreSQL")


class Balancer(Gateway):
    """Envoy before these replicas."""

    def __init__(self, replicas: Replicas, directory: Path):
        self.replicas = replicas
        self.admin = free_port()
        ports = {9901: self.admin} | {50061 + i: replica.port for i, replica in enumerate(replicas)}
        super().__init__("envoy", ["envoy-replicas.yaml"], directory, ports)

    def ready(self) -> int:
        """How many replicas it sends anything to."""
        r = requests.get(f"http://127.0.0.1:{self.admin}/clusters?format=json", timeout=PATIENCE)
        (cluster,) = r.json()["cluster_statuses"]
        return sum(host["health_status"] == {"eds_health_status": "HEALTHY"} for host in cluster["host_statuses"])

    def answers(self) -> bool:
        try:
            return self.ready() == len(self.replicas)
        except requests.RequestException:
            return False

    def replace(self, replica: Replica, binary: Path):
        replica.stop()
        assert "cut after" not in replica.log
        replica.binary = binary
        replica.start()
        wait_until(self.answers, lambda: f"a replica is not ready again:\n{replica.log}")


class Front(Replica):
    """All of them, as those see them who come by the balancer."""

    def __init__(self, balancer: Balancer, directory: Path):
        super().__init__("postgres", directory, {})
        self.port = balancer.port
        self.connect()


class Visitors(Crowd):
    """Each has something else to do, all the time, and every call must succeed at the first attempt."""

    pause = 1 / 50

    def __init__(self, front: Front):
        self.acts = [self.validate, self.come_and_go, self.rotate_a_key, self.stay]
        super().__init__([front] * len(self.acts))
        self.front = front
        self.email = new_email()
        self.person = front.register(self.email)
        self.key = front.create_key(self.person["access_token"])["secret"]
        self.session = front.sign_in(self.email)

    def act(self, i: int, turn: int):
        try:
            self.acts[i](turn)
        except (AssertionError, grpc.RpcError, requests.RequestException) as error:
            self.wrong.append(f"{self.acts[i].__name__}: {error!r}")

    def valid(self, credential: str):
        assert (got := self.front.status(credential)) == "VALID", got

    def validate(self, turn: int):
        self.valid([self.person["access_token"], self.key][turn % 2])

    def come_and_go(self, turn: int):
        token = self.front.sign_in(self.email)["access_token"]
        assert self.front.me(token)["email"] == self.email
        assert self.front.logout(token)

    def rotate_a_key(self, turn: int):
        owner = self.person["access_token"]
        key = self.front.create_key(owner)
        self.valid(key["secret"])
        self.front.revoke_key(key, owner)

    def stay(self, turn: int):
        r = self.front.call("refresh", {"refresh_token": self.session["refresh_token"]})
        assert r.status_code == 200, r.text
        self.session = r.json()
        self.valid(self.session["access_token"])
        r = requests.get(f"{self.front.base}/api/v1/keys", headers=bearer(self.session), timeout=PATIENCE)
        assert r.status_code == 200, r.text

    def go_on(self):
        super().go_on()
        self.check()


def roll(url: str, directory: Path, before: Path, replacements: list[tuple[int, Path]], note=lambda: None):
    """Three replicas of one binary. One after the other of these is replaced by that binary; `note` is called at first and after each."""
    replicas = Replicas([url] * 3, directory, COUNTERSIGN_SERVER__DRAIN_DELAY="3s")
    for replica in replicas:
        replica.binary = before
    (directory / "envoy").mkdir()
    with replicas:
        balancer = Balancer(replicas, directory / "envoy")
        try:
            balancer.start()
            with Visitors(Front(balancer, directory)) as visitors:
                visitors.go_on()
                note()
                for i, binary in replacements:
                    balancer.replace(replicas[i], binary)
                    visitors.go_on()
                    note()
            visitors.front.channel.close()
        finally:
            balancer.stop()
    print(f"\n{len(replacements)} replicas replaced: turns of {visitors.turns}, none failed")


def migrations(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {version for (version,) in connection.execute("SELECT version FROM __diesel_schema_migrations")}


def test_replicas_are_restarted_one_by_one_without_a_failed_request(tmp_path):
    roll(new_postgres_database(), tmp_path, BINARY, [(i, BINARY) for i in range(3)])


@pytest.mark.skipif(not PREVIOUS.exists(), reason="scripts/previous-version has not built it")
def test_an_upgrade_from_the_migrations_before_fails_no_request_nor_does_a_step_back(tmp_path):
    url = new_postgres_database()
    levels = []
    replacements = [(0, BINARY), (1, BINARY), (2, BINARY), (0, PREVIOUS)]
    roll(url, tmp_path, PREVIOUS, replacements, lambda: levels.append(migrations(url)))
    present = {path.name.split("_")[0].replace("-", "") for path in (ROOT / "migrations/postgres").iterdir()}
    assert levels[0] < present
    assert levels[1:] == [present] * len(replacements)
