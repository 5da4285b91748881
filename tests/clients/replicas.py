"""Several processes of the service on one PostgreSQL, under load, and how soon one of them knows what another has ended."""

import base64
import contextlib
import os
import secrets
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import grpc
import pytest
import requests

from conftest import PASSWORD, PATIENCE, SCOPES, Server, bearer, new_email, wait_until
from reflected import Reflected

# A revocation is seen within a second (S34). This is for a busy machine, where a test shows that it comes, not when.
SOON = 20


class Replica(Server):
    """One of them, with a connection by gRPC that is kept."""

    def start(self, **changes: str):
        super().start(**changes)
        self.connect()

    def connect(self):
        self.channel = grpc.insecure_channel(self.address)
        self.question, self.call_to_validate = Reflected(self.channel).method("countersign.v1.AuthService", "ValidateCredential")

    def stop(self):
        self.channel.close()
        super().stop()

    def ask(self, credential: str) -> grpc.Future:
        """ValidateCredential, without waiting for the answer: see `status`."""
        return self.call_to_validate.future(self.question(credential=credential), timeout=PATIENCE)

    def status(self, credential: str) -> str:
        return status(self.ask(credential))

    def validate(self, credential: str) -> requests.Response:
        """The same over REST, for its errors."""
        return self.call("validate", {"credential": credential})

    def login(self, email: str) -> requests.Response:
        return self.call("login", {"email": email, "password": PASSWORD})

    def sign_in(self, email: str) -> dict:
        """The TokenResponse of a new session."""
        r = self.login(email)
        assert r.status_code == 200, r.text
        return r.json()

    def logout(self, token: str) -> bool:
        """Whether it was acknowledged."""
        return self.call("logout", {}, token).status_code == 200

    def create_key(self, token: str) -> dict:
        body = {"name": "agent", "scopes": SCOPES[:1]}
        r = requests.post(f"{self.base}/api/v1/keys", json=body, headers=bearer({"access_token": token}), timeout=PATIENCE)
        assert r.status_code == 200, r.text
        return r.json()

    def revoke_key(self, key: dict, token: str):
        url = f"{self.base}/api/v1/keys/{key['key']['id']}"
        r = requests.delete(url, headers=bearer({"access_token": token}), timeout=PATIENCE)
        assert r.status_code == 200, r.text

    def command(self, *arguments: str) -> str:
        """A command of the service beside it, which must succeed: what it prints."""
        environment = self.environment | {"COUNTERSIGN_SERVER__LISTEN": self.address}
        command = [self.binary, *arguments]
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout


def status(answer: grpc.Future) -> str:
    """VALID, REVOKED, …"""
    message = answer.result()
    value = message.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[message.status]
    return value.name.removeprefix("CREDENTIAL_STATUS_")


class Replicas(list):
    """Replicas that find their database at these URLs, one each."""

    def __init__(self, urls: list[str], directory: Path, **environment: str):
        common = environment | {
            "COUNTERSIGN_SECRETS__MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES": ",".join(SCOPES),
            "COUNTERSIGN_MAIL__TRANSPORT": "file",
        }
        for number, url in enumerate(urls):
            here = directory / str(number)
            here.mkdir()
            self.append(Replica("postgres", here, common | {"COUNTERSIGN_DATABASE__URL": url}))
        for replica in self:
            # They are one service, which is found at one place.
            replica.environment["COUNTERSIGN_SERVER__PUBLIC_URL"] = self[0].base

    def __enter__(self):
        try:
            for replica in self:
                replica.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, failed, *_):
        try:
            if not failed:
                for replica in self:
                    replica.stop()
        finally:
            self.kill()

    def kill(self):
        for replica in self:
            replica.kill()


class Crowd:
    """Somebody at each replica, all the time until the end of the `with`: `act` says what they do, in turns from 0 on."""

    # Between two turns, in seconds.
    pause = 1 / 200

    def __init__(self, replicas: Replicas):
        self.replicas = replicas
        self.wrong = []
        self.turns = [0] * len(replicas)
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.live, args=[i]) for i in range(len(replicas))]

    def live(self, i: int):
        while not self.over.wait(self.pause):
            self.act(i, self.turns[i])
            self.turns[i] += 1

    def go_on(self):
        """Returns once each has done something that was begun since."""
        before = list(self.turns)
        wait_until(lambda: all(now > then + 1 for now, then in zip(self.turns, before)), lambda: "somebody stands still")

    def check(self):
        assert not self.wrong, f"{len(self.wrong)} wrong of {sum(self.turns)}: {self.wrong[:5]}"

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, failed, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        if not failed:
            self.check()
            assert all(self.turns)


class Load(Crowd):
    """Asks every replica, all the time, for what holds and what has been seen refused: no answer may ever be another one."""

    def __init__(self, replicas: Replicas):
        super().__init__(replicas)
        self.email = new_email()
        self.person = replicas[0].register(self.email)
        self.key = replicas[0].create_key(self.person["access_token"])["secret"]
        self.valid = [self.person["access_token"], self.key]
        self.refused = [[] for _ in replicas]

    def act(self, i: int, turn: int):
        credential, expected = self.valid[turn // 2 % 2], "VALID"
        if turn % 2 and (refused := self.refused[i]):
            credential, expected = refused[turn // 2 % len(refused)]
        try:
            got = self.replicas[i].status(credential)
        except grpc.RpcError as error:
            got = f"{error.code()} {error.details()}"
        if got != expected:
            self.wrong.append(f"replica {i}: {got} instead of {expected}")

    def renew(self):
        """Returns once nobody asks any more for the access token that it began with, but for a new one."""
        self.valid[0] = self.replicas[0].sign_in(self.email)["access_token"]
        self.go_on()

    def stays_refused(self, replica: Replica, credential: str, status: str):
        """It was refused by this one, and has to be from now on."""
        self.refused[self.replicas.index(replica)].append((credential, status))


class Stopwatch:
    """How long things took; it tells when it is over."""

    def __init__(self, what: str):
        self.what = what
        self.seconds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.print()

    def print(self):
        if self.seconds:
            of = sorted(self.seconds)
            figures = {"median": statistics.median(of), "p90": of[len(of) * 9 // 10], "most": of[-1]}
            print(f"\n{self.what}: {len(of)} times,", ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in figures.items()))

    def wait_until_refused(self, load: Load, credential: str, status: str, by: list[Replica]):
        """From now, when that was acknowledged, until each of these refuses it with this status, and ever after."""
        began = time.monotonic()
        waiting = list(by)
        while waiting:
            for replica in list(waiting):
                got = replica.status(credential)
                if got == "VALID":
                    continue
                assert got == status
                self.seconds.append(time.monotonic() - began)
                load.stays_refused(replica, credential, status)
                waiting.remove(replica)
            if time.monotonic() - began > SOON:
                pytest.fail(f"still valid after {SOON} s at {len(waiting)} replicas")


@contextlib.contextmanager
def frozen(replica: Replica):
    """SIGSTOP, and SIGCONT."""
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(replica.process.pid, signal.SIGCONT)
