"""Three replicas, as processes, on one PostgreSQL and under load: what one of them has ended, the others refuse, whatever
happens to them and to the database meanwhile.

How soon is printed (`pytest -s`), and not tested: a machine that is busy with other tests says nothing about that. What must
take a minute takes some seconds unless COUNTERSIGN_TEST_LONG is set.
"""

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from conftest import POSTGRES, new_email, new_postgres_database, problem, wait_until
from databases import Cluster, PgBouncer
from replicas import SOON, Load, Replica, Replicas, Stopwatch, frozen, status

LONG = "COUNTERSIGN_TEST_LONG" in os.environ
STRAY = 60 if LONG else 10
AWAY = 60 if LONG else 15

pytestmark = pytest.mark.skipif(not POSTGRES, reason="replicas need PostgreSQL")


@pytest.fixture(scope="module")
def url() -> str:
    return new_postgres_database()


@pytest.fixture(scope="module")
def replicas(url, tmp_path_factory):
    with Replicas([url] * 3, tmp_path_factory.mktemp("replicas")) as replicas:
        yield replicas


@pytest.fixture
def load(replicas):
    with Load(replicas) as load:
        yield load


@pytest.fixture
def database(url):
    """A connection to it beside the replicas."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def expect_valid(replicas: list[Replica], *credentials: str):
    """From now on each of them has it in memory."""
    for replica in replicas:
        for credential in credentials:
            assert replica.status(credential) == "VALID"


def log_out(one: Replica, replicas: Replicas, load: Load, stopwatch: Stopwatch):
    """A session is known everywhere and ends at one: there at once, and soon at all."""
    token = one.sign_in(load.email)["access_token"]
    expect_valid(replicas, token)
    # A call that has met a dead connection may be refused. It is not lost once it is acknowledged.
    wait_until(lambda: one.logout(token) or one.status(token) == "REVOKED", lambda: "nobody can log out")
    assert one.status(token) == "REVOKED"
    load.stays_refused(one, token, "REVOKED")
    stopwatch.wait_until_refused(load, token, "REVOKED", [replica for replica in replicas if replica is not one])


def test_a_logout_at_one_is_seen_by_all(replicas, load):
    # S34
    with Stopwatch("a logout is seen") as stopwatch:
        for i in range(15):
            log_out(replicas[i % 3], replicas, load, stopwatch)


def test_a_key_that_is_revoked_at_one_is_refused_by_all(replicas, load):
    # S34
    owner = load.person["access_token"]
    with Stopwatch("a revoked key is seen") as stopwatch:
        for i in range(15):
            one = replicas[i % 3]
            key = one.create_key(owner)
            expect_valid(replicas, key["secret"])
            one.revoke_key(key, owner)
            assert one.status(key["secret"]) == "REVOKED"
            load.stays_refused(one, key["secret"], "REVOKED")
            others = [replica for replica in replicas if replica is not one]
            stopwatch.wait_until_refused(load, key["secret"], "REVOKED", others)


def test_a_user_who_is_disabled_by_a_command_is_refused_by_all(replicas, load):
    # S34. Nobody tells the replicas: they look.
    with Stopwatch("a disabled user's token is seen") as stopwatch:
        for i in range(5):
            email = new_email()
            token = replicas[i % 3].register(email)["access_token"]
            key = replicas[i % 3].create_key(token)["secret"]
            expect_valid(replicas, token, key)
            replicas[i % 3].command("user", "disable", email)
            stopwatch.wait_until_refused(load, token, "DISABLED", replicas)
            for replica in replicas:
                assert replica.status(key) == "DISABLED"
                load.stays_refused(replica, key, "DISABLED")


def cut(database: psycopg.Connection):
    """Throws the replicas out, those who listen too."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert len(database.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall()) >= 3


def test_connections_that_are_cut_hide_nothing(replicas, load, database):
    # S34
    with Stopwatch("a logout is seen after a cut") as stopwatch:
        for i in range(10):
            # Connected anew since the last time: three at least are there to be cut.
            cut(database)
            wait_until(lambda: replicas[i % 3].login(load.email).status_code == 200, lambda: "nobody can sign in")
            log_out(replicas[i % 3], replicas, load, stopwatch)


@pytest.mark.parametrize("connections", ["kept", "cut"])
def test_a_replica_that_was_stopped_catches_up_before_it_answers(replicas, load, database, connections):
    # S34. Its very first answer after it was stopped.
    one, other, stopped = replicas
    sessions = [one.sign_in(load.email)["access_token"] for _ in range(10)]
    key = one.create_key(load.person["access_token"])
    email = new_email()
    disabled = one.register(email)["access_token"]
    ended = dict.fromkeys([*sessions, key["secret"]], "REVOKED") | {disabled: "DISABLED"}
    expect_valid(replicas, *ended)

    with frozen(stopped):
        began = time.monotonic()
        for i, token in enumerate(sessions):
            assert [one, other][i % 2].logout(token)
        one.revoke_key(key, load.person["access_token"])
        one.command("user", "disable", email)
        if connections == "cut":
            cut(database)
        # These wait in the socket.
        waiting = [stopped.ask(credential) for credential in ended]
        # It is stopped for a time, not until something happens.
        time.sleep(max(0, 5 - (time.monotonic() - began)))
        assert not any(answer.done() for answer in waiting)
    more = [stopped.ask(credential) for credential in ended]
    for answers in waiting, more:
        assert [status(answer) for answer in answers] == list(ended.values())
    for replica in replicas:
        for credential, expected in ended.items():
            assert replica.status(credential) == expected
            load.stays_refused(replica, credential, expected)


def test_a_transaction_that_somebody_forgot_holds_nothing_back(replicas, load, url):
    # S34. It has written, and so has a number before all that follow.
    with psycopg.connect(url) as stray, Stopwatch("a logout is seen beside a stray transaction") as stopwatch:
        stray.execute("CREATE TABLE stray (id int)")
        end = time.monotonic() + STRAY
        for i in itertools.count():
            log_out(replicas[i % 3], replicas, load, stopwatch)
            if time.monotonic() > end:
                break
            time.sleep(0.25)
        stray.rollback()
    # What it held open is over, and read again.
    with Stopwatch("a logout is seen after it") as stopwatch:
        log_out(replicas[0], replicas, load, stopwatch)


@pytest.mark.parametrize("behind", [1, 3])
def test_behind_pgbouncer_nothing_is_different(tmp_path, behind):
    # S34. The first replica is always behind it, and migrates through it.
    direct = new_postgres_database()
    pgbouncer = PgBouncer(direct)
    try:
        pgbouncer.start()
        with Replicas([pgbouncer.url] * behind + [direct] * (3 - behind), tmp_path) as replicas, Load(replicas) as load:
            with Stopwatch(f"a logout is seen, {behind} of 3 behind PgBouncer") as stopwatch:
                for i in range(9):
                    log_out(replicas[i % 3], replicas, load, stopwatch)
            pgbouncer.kill()
            pgbouncer.start()
            with Stopwatch("a logout is seen after PgBouncer was killed and started") as stopwatch:
                for i in range(3):
                    wait_until(lambda: replicas[i].login(load.email).status_code == 200, lambda: "nobody can sign in")
                    log_out(replicas[i], replicas, load, stopwatch)
    finally:
        pgbouncer.remove()


@pytest.fixture
def cluster():
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


class Outage:
    """What three replicas, one of which is `one`, have to say while PostgreSQL is away."""

    def __init__(self, replicas: Replicas, one: Replica, load: Load):
        self.replicas = replicas
        self.one = one
        self.load = load
        self.refreshable = one.sign_in(load.email)["refresh_token"]
        # Nobody has been asked for these yet.
        self.unseen = [one.sign_in(load.email)["access_token"] for _ in range(6)]
        self.cold = one.create_key(load.person["access_token"])["secret"]
        self.acknowledged = []
        self.refusals = {what: Stopwatch(f"{what} without a database") for what in ["a cold key", "a sign-in", "a refresh"]}

    def log_out_until_it_fails(self, tokens: list[str]):
        for token in tokens:
            if not self.one.logout(token):
                return
            self.acknowledged.append(token)

    def refused(self, replica: Replica):
        """What cannot be answered is refused in bounded time, and says why."""
        calls = {
            "a cold key": lambda: replica.validate(self.cold),
            "a sign-in": lambda: replica.login(self.load.email),
            "a refresh": lambda: replica.call("refresh", {"refresh_token": self.refreshable}),
        }
        for what, call in calls.items():
            began = time.monotonic()
            assert problem(call()) == (503, "STORAGE_UNAVAILABLE"), what
            self.refusals[what].seconds.append(time.monotonic() - began)
        assert max(max(of.seconds) for of in self.refusals.values()) < SOON

    def works(self, replica: Replica) -> bool:
        return replica.login(self.load.email).status_code == 200 and replica.validate(self.cold).status_code == 200


def test_postgresql_goes_away_and_comes_back(cluster, tmp_path):
    # S19, S34, S61
    with Replicas([cluster.url] * 3, tmp_path) as replicas, Load(replicas) as load:
        one, *others = replicas
        outage = Outage(replicas, one, load)
        sessions = [one.sign_in(load.email)["access_token"] for _ in range(80)]
        expect_valid(replicas, *sessions)

        # Until the last moment.
        leaving = threading.Thread(target=outage.log_out_until_it_fails, args=[sessions])
        leaving.start()
        wait_until(lambda: len(outage.acknowledged) >= 20, lambda: "nobody can log out")
        cluster.stop()
        leaving.join()
        for token in outage.acknowledged:
            load.stays_refused(one, token, "REVOKED")
        late = [(replica, token) for replica in others for token in outage.acknowledged if replica.status(token) == "VALID"]
        for replica in others:
            for token in outage.acknowledged:
                if (replica, token) not in late:
                    load.stays_refused(replica, token, "REVOKED")
        print(f"\n{len(outage.acknowledged)} logouts until PostgreSQL went away; the others missed {len(late)} of {2 * len(outage.acknowledged)}")

        end = time.monotonic() + AWAY
        while time.monotonic() < end:
            with ThreadPoolExecutor() as asked:
                list(asked.map(outage.refused, replicas))
            for replica in replicas:
                replica.command("healthcheck")
                if outage.unseen:
                    assert replica.status(outage.unseen.pop()) == "VALID"
            load.check()
        for stopwatch in outage.refusals.values():
            stopwatch.print()

        cluster.start()
        with Stopwatch("everything works again") as stopwatch:
            began = time.monotonic()
            for replica in replicas:
                wait_until(lambda: outage.works(replica), lambda: replica.log)
                stopwatch.seconds.append(time.monotonic() - began)
        with Stopwatch("what was ended at the last moment is seen after it") as stopwatch:
            for replica, token in late:
                stopwatch.wait_until_refused(load, token, "REVOKED", [replica])
        with Stopwatch("a logout is seen after it") as stopwatch:
            for i in range(6):
                log_out(replicas[i % 3], replicas, load, stopwatch)
        for replica in replicas:
            for token in outage.acknowledged:
                assert replica.status(token) == "REVOKED"
            replica.command("healthcheck")
        print(f"\n{sum(load.turns)} answers under load, {len(load.wrong)} of them wrong")


def count_transactions(url: str, times: int) -> int:
    """Uses up so many numbers of transactions; the last. Nothing is written, so a server that is stopped then forgets them."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(times):
            last = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    return int(last[0])


def knows_of_now(replica: Replica, token: str):
    """Returns once it has looked at the database since."""
    now = datetime.now(UTC)
    # An answer may be kept for a second from when the replica has looked.
    seen = lambda: datetime.fromisoformat(replica.validate(token).json()["cacheable_until_time"]) - timedelta(seconds=1)
    wait_until(lambda: seen() > now, lambda: replica.log)


def test_a_database_that_counts_anew_hides_nothing(cluster, tmp_path):
    # S34. A server that crashed, or one that took over from it, gives numbers of transactions again. A replica that has been
    # further must not take what was written since for what it has read.
    with Replicas([cluster.url] * 2, tmp_path) as replicas, Load(replicas) as load:
        one, other = replicas
        token = one.sign_in(load.email)["access_token"]
        expect_valid([one, other], token)
        before = count_transactions(cluster.url, 500)
        knows_of_now(other, token)
        with frozen(other):
            cluster.stop()
            cluster.start()
            wait_until(lambda: one.logout(token) or one.status(token) == "REVOKED", lambda: "nobody can log out")
            assert count_transactions(cluster.url, 1) < before
            assert count_transactions(cluster.url, 1000) > before
        with Stopwatch("a logout is seen though the database counts anew") as stopwatch:
            stopwatch.wait_until_refused(load, token, "REVOKED", [other])
