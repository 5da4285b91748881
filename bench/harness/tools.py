"""The programs that load is made with: `load` (`bench/load`), which counts answers by status, and h2load."""

import json
import re
import struct
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD = ROOT / "target/bench/release/load"
CONNECTIONS, STREAMS = 8, 32

# The longest answer that is not VALID carries a status and an expiry: 2 + 14 bytes, and gRPC's 5 before them.
LONGEST_REFUSAL = 21


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


def ask(address: str, file: Path, take: int, skip: int = 0, connections: int = CONNECTIONS, at_once: int = STREAMS, *more: object) -> dict:
    """Asks about `take` credentials of the file. Fails unless every one of them is VALID."""
    flags = ("--take", take, "--skip", skip, "--connections", connections, "--at-once", at_once)
    found = load("validate", "--address", address, "--file", file, *flags, *more)
    if found["outcomes"] != {"CREDENTIAL_STATUS_VALID": take}:
        raise Failed(f"of {take} valid credentials: {found['outcomes']}")
    return found


def request_body(credential: str) -> bytes:
    """A ValidateCredentialRequest in gRPC's frame: no compression, length, and field 1."""
    text, size, varint = credential.encode(), len(credential), b""
    while size > 127:
        varint, size = varint + bytes([size & 127 | 128]), size >> 7
    message = b"\x0a" + varint + bytes([size]) + text
    return struct.pack(">?I", False, len(message)) + message


def h2load(address: str, body: Path, requests: int, answer_bytes: int) -> float:
    """VALID answers a second.

    h2load sees that the HTTP status is 200, which it is of refusals and gRPC errors too. But it tells how many bytes of data
    there were, and whatever is not VALID is far shorter than `answer_bytes`, the longest that a VALID answer is. So what counts is
    the number of VALID answers without which there could not have been so many bytes. It is a little low, since the fraction of a second
    in an answer is now and then shorter.
    """
    flags = ["-c", str(CONNECTIONS), "-m", str(STREAMS), "-n", str(requests), "-d", str(body)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    url = f"http://{address}/countersign.v1.AuthService/ValidateCredential"
    out = subprocess.run(["h2load", *flags, *headers, url], check=True, stdout=subprocess.PIPE, text=True).stdout
    rate = float(re.search(r"finished in .*?, ([\d.]+) req/s", out)[1])
    answered = int(re.search(r"(\d+) done", out)[1])
    data = int(re.search(r"\((\d+)\) data", out)[1])
    valid = (data - answered * LONGEST_REFUSAL) / (answer_bytes - LONGEST_REFUSAL)
    return rate * max(0.0, min(1.0, valid / answered))
