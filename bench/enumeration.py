#!/usr/bin/env python3
"""Whether the time of an answer tells that an e-mail address has an account (S15).

Starts the service on an empty SQLite database, makes accounts, and asks about them and about addresses that have none, in
random order over one connection. Welch's t of the two samples says how sure one can be that their means differ: beyond 4.5
they do, and the command fails. Nothing else of the machine should be busy meanwhile.

    bench/enumeration.py target/release/countersign
"""

import http.client
import json
import math
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

LIMIT = 4.5
# The first failures make nobody wait (S8), and so many mails are sent in an hour (S13).
FREE_FAILURES, MAILS = 4, 3
ACCOUNTS = 500
PASSWORD = "slow copper lantern"


def post(connection: http.client.HTTPConnection, path: str, body: dict) -> tuple[int, float]:
    """The status of the answer, and after how many seconds it was there."""
    payload = json.dumps(body)
    start = time.perf_counter()
    connection.request("POST", f"/api/v1/auth/{path}", payload, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, time.perf_counter() - start


def welch(one: list[float], other: list[float]) -> float:
    """How many standard errors lie between the two means (B. L. Welch, 1947)."""
    error = math.sqrt(statistics.variance(one) / len(one) + statistics.variance(other) / len(other))
    return (statistics.fmean(one) - statistics.fmean(other)) / error


def measure(connection: http.client.HTTPConnection, path: str, body: dict, times: int, expected: int) -> bool:
    """Asks `times` times about each address; prints a line; says whether the two kinds answered alike."""
    asks = [(kind, f"{kind}{n}@example.com") for kind in ("known", "unknown") for n in range(ACCOUNTS)] * times
    random.shuffle(asks)
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for kind, email in asks:
        status, seconds = post(connection, path, {"email": email, **body})
        if status != expected:
            sys.exit(f"{path} of {email} answered {status}, not {expected}")
        took[kind].append(seconds * 1000)
    known, unknown = took["known"], took["unknown"]
    t = welch(known, unknown)
    print(
        f"{path:16} 2 x {len(known)}  known {statistics.fmean(known):.3f} ms (median {statistics.median(known):.3f})"
        f"  unknown {statistics.fmean(unknown):.3f} ms (median {statistics.median(unknown):.3f})"
        f"  Welch t {t:+.2f}  {'alike' if abs(t) < LIMIT else 'DIFFERENT'}",
        flush=True,
    )
    return abs(t) < LIMIT


def run(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for n in range(ACCOUNTS):
        status, _ = post(connection, "register", {"email": f"known{n}@example.com", "password": PASSWORD})
        if status != 200:
            sys.exit(f"registering answered {status}")
    # The verification mails of the registrations are written meanwhile.
    time.sleep(5)
    alike = measure(connection, "login", {"password": "not it at all"}, FREE_FAILURES, 401)
    return measure(connection, "forgot-password", {}, MAILS, 200) and alike


def main(binary: str) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            "PATH": os.environ["PATH"],
            "COUNTERSIGN_SERVER__LISTEN": f"127.0.0.1:{port}",
            "COUNTERSIGN_SERVER__METRICS_LISTEN": "off",
            "COUNTERSIGN_MAIL__TRANSPORT": "file",
            "COUNTERSIGN_TELEMETRY__LOG_LEVEL": "error",
        }
        service = subprocess.Popen([os.path.abspath(binary), "serve"], cwd=directory, env=environment)
        try:
            while service.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            else:
                sys.exit("the service did not start")
            return 0 if run(port) else 1
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
