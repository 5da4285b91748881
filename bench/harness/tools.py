"""The programs that load is made with: `load` (`bench/load`), which counts answers by status, and h2load."""

import json
import re
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD = ROOT / "target/bench/release/load"
CONNECTIONS, STREAMS = 8, 32
VALID = "CREDENTIAL_STATUS_VALID"

# Before each message: whether it is compressed, and its length.
GRPC_FRAME = 5
# The longest answer that is not VALID has a status and an expiry, with microseconds.
LONGEST_REFUSAL = GRPC_FRAME + 2 + 14


class Failed(Exception):
    """There is no figure, since something did not do what it should."""


def load_command(command: str, *flags: object) -> list[str]:
    return [str(LOAD), command, *map(str, flags)]


def load(command: str, *flags: object, **options: object) -> dict:
    """Runs a command of `load` and returns what it found."""
    done = subprocess.run(load_command(command, *flags), stdout=subprocess.PIPE, text=True, **options)
    if done.returncode:
        raise Failed(f"load {command} failed")
    return json.loads(done.stdout)


@contextmanager
def background(command: str, *flags: object) -> Iterator[None]:
    """Load that goes on until the end of the `with`."""
    process = subprocess.Popen(load_command(command, *flags, "--seconds", 3600), stdout=subprocess.DEVNULL)
    try:
        yield
        if process.poll() is not None:
            raise Failed(f"load {command} ended too soon")
    finally:
        process.kill()
        process.wait()


def ask(
    address: str,
    credentials: Path,
    take: int,
    skip: int = 0,
    *,
    connections: int = CONNECTIONS,
    at_once: int = STREAMS,
    save: Path | None = None,
) -> dict:
    """Asks about `take` credentials of the file. Fails unless every one of them is VALID."""
    flags = ["--take", take, "--skip", skip, "--connections", connections, "--at-once", at_once]
    flags += ["--save", save] if save else []
    found = load("validate", "--address", address, "--file", credentials, *flags)
    if found["outcomes"] != {VALID: take}:
        raise Failed(f"of {take} valid credentials: {found['outcomes']}")
    return found


def request_body(credential: str) -> bytes:
    """A ValidateCredentialRequest in gRPC's frame."""
    text, varint = credential.encode(), b""
    size = len(text)
    while size > 127:
        varint, size = varint + bytes([size & 127 | 128]), size >> 7
    message = b"\x0a" + varint + bytes([size]) + text
    return struct.pack(">?I", False, len(message)) + message


def h2load(address: str, body: Path, calls: int, answer_bytes: int) -> float:
    """VALID answers a second.

    h2load sees HTTP's status, which is 200 of refusals and gRPC errors, too. But it tells how many bytes of data there were, and
    what is not VALID is far shorter than `answer_bytes`, the longest that a VALID answer is. So what counts is the number of
    VALID answers without which there could not have been so many bytes.
    """
    flags = ["-c", str(CONNECTIONS), "-m", str(STREAMS), "-n", str(calls), "-d", str(body)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    url = f"http://{address}/countersign.v1.AuthService/ValidateCredential"
    out = subprocess.run(["h2load", *flags, *headers, url], check=True, stdout=subprocess.PIPE, text=True).stdout
    rate = float(re.search(r"finished in .*?, ([\d.]+) req/s", out)[1])
    answered = int(re.search(r"(\d+) done", out)[1])
    data = int(re.search(r"\((\d+)\) data", out)[1])
    valid = (data - answered * LONGEST_REFUSAL) / (answer_bytes - LONGEST_REFUSAL)
    return rate * max(0.0, min(1.0, valid / answered))
