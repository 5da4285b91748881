"""Signing keys rotate under load: three replicas, as processes, on one PostgreSQL, and services beside that verify tokens themselves.

By itself a key signs when it has been published for more than a minute. That is not waited for: once all who verify tokens have
read the list of keys again, `rotate --now` lets the key that is next sign in two seconds, and costs nobody anything.

How soon a retired key is refused is printed (`pytest -s`), and not tested.
"""

import json
import random
import time

import pyseto
import pytest
import requests

from conftest import PATIENCE, POSTGRES, new_email, new_postgres_database, wait_until
from replicas import Crowd, Load, Replica, Replicas, Stopwatch

pytestmark = pytest.mark.skipif(not POSTGRES, reason="replicas need PostgreSQL")

# For how many seconds who verifies tokens keeps the list of keys.
KEPT = 1


def kid_of(token: str) -> str:
    """The id of the key that has signed a token."""
    return json.loads(pyseto.Token.new(token).footer)["kid"]


def signing_keys(replica: Replica) -> dict[str, str]:
    """The state of each key by its id, oldest first."""
    return {key["kid"]: key["state"] for key in json.loads(replica.command("signing-key", "list", "--json"))}


class Verifier:
    """Verifies tokens with the list of keys that it has from a replica. It asks nobody about a key that is not in it."""

    def __init__(self, replica: Replica):
        self.replica = replica
        self.keys = {}
        self.end = 0

    def verify(self, token: str):
        if time.monotonic() > self.end:
            r = requests.get(f"{self.replica.base}/api/v1/auth/verification-keys", timeout=PATIENCE)
            self.keys = {key["kid"]: pyseto.Key.from_paserk(key["public_key"]) for key in r.json()["keys"]}
            self.end = time.monotonic() + KEPT
        pyseto.decode(self.keys[kid_of(token)], token, deserializer=json, aud="countersign")


class People(Crowd):
    """At each replica somebody signs in and refreshes, all the time. Each token, new or old, must hold everywhere, and verify."""

    pause = 0.02

    def __init__(self, replicas: Replicas):
        super().__init__(replicas)
        # Each knows the keys from another replica than the one that signs.
        self.verifiers = [Verifier(replicas[i - 1]) for i in range(len(replicas))]
        self.tokens = []
        self.signed_by = [None] * len(replicas)
        self.emails = [None] * len(replicas)
        self.people = [None] * len(replicas)

    def act(self, i: int, turn: int):
        # An account has 100 sessions at most: each person has 25.
        try:
            if turn % 250 == 0:
                self.emails[i] = new_email()
                self.replicas[i].register(self.emails[i])
            if turn % 10 == 0:
                self.people[i] = self.replicas[i].sign_in(self.emails[i])
            else:
                r = self.replicas[i].call("refresh", {"refresh_token": self.people[i]["refresh_token"]})
                assert r.status_code == 200, r.text
                self.people[i] = r.json()
            token = self.people[i]["access_token"]
            self.tokens.append(token)
            self.signed_by[i] = kid_of(token)
            for token in token, random.choice(self.tokens):
                self.verifiers[i].verify(token)
                for replica in self.replicas:
                    assert replica.status(token) == "VALID", kid_of(token)
        except Exception as error:
            self.wrong.append(f"replica {i}: {error!r}")

    def go_on(self):
        super().go_on()
        self.check()

    def forget(self, kid: str):
        """Nothing is said any more about what this key has signed."""
        self.tokens = [token for token in self.tokens if kid_of(token) != kid]
        self.go_on()


def rotate(one: Replica, other: Replica, people: People) -> str:
    """The next key is made beside one replica, published, and signs everywhere: its id."""
    one.command("signing-key", "rotate")
    kid, state = list(signing_keys(other).items())[-1]
    assert state == "next"
    wait_until(lambda: all(kid in verifier.keys for verifier in people.verifiers), lambda: f"{kid} is not published")
    people.go_on()
    assert kid not in people.signed_by
    other.command("signing-key", "rotate", "--now")
    wait_until(lambda: set(people.signed_by) == {kid}, lambda: f"{people.signed_by} sign, and not {kid}")
    people.go_on()
    return kid


def test_keys_rotate_and_no_token_is_refused_and_a_retired_key_is_by_all(tmp_path):
    # S30, S34
    with Replicas([new_postgres_database()] * 3, tmp_path) as replicas, Load(replicas) as load, People(replicas) as people:
        (first,) = signing_keys(replicas[0])
        known = [replica.sign_in(load.email)["access_token"] for replica in replicas]
        people.go_on()
        second = rotate(replicas[0], replicas[1], people)
        third = rotate(replicas[2], replicas[0], people)
        assert signing_keys(replicas[1]) == {first: "retiring", second: "retiring", third: "signing"}
        assert {kid_of(token) for token in people.tokens} == {first, second, third}
        for replica in replicas:
            for token in known:
                assert replica.status(token) == "VALID"
        load.check()
        tokens = len(people.tokens)

        load.renew()
        people.forget(first)
        replicas[1].command("signing-key", "retire", first)
        with Stopwatch("a retired key's token is refused") as stopwatch:
            for token in known:
                stopwatch.wait_until_refused(load, token, "INVALID", replicas)
        wait_until(lambda: all(first not in verifier.keys for verifier in people.verifiers), lambda: "it is still published")
        people.go_on()
        assert {kid_of(token) for token in people.tokens} == {second, third}
        assert signing_keys(replicas[2]) == {second: "retiring", third: "signing"}
        print(f"\n{tokens} tokens of three keys, {sum(people.turns)} rounds and {sum(load.turns)} answers, none wrong")
