"""gRPC and gRPC-web by `buf curl`, which asks the server's reflection for the messages."""

import base64
import json
import subprocess

import pytest
from google.rpc import error_details_pb2

from conftest import PASSWORD, ROOT, new_email

PROTOCOLS = {
    "grpc": ["--protocol", "grpc", "--http2-prior-knowledge"],
    "grpcweb over HTTP/2": ["--protocol", "grpcweb", "--http2-prior-knowledge"],
    # Reflection is a stream in both directions, which HTTP/1.1 has not: here the messages come from the sources.
    "grpcweb over HTTP/1.1": ["--protocol", "grpcweb", "--schema", ROOT],
}


def buf_curl(server, options, method: str, request: dict) -> subprocess.CompletedProcess:
    url = f"{server.base}/countersign.v1.AuthService/{method}"
    command = ["buf", "curl", *options, "--data", json.dumps(request), url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("options", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_a_wrong_password_is_explained(server, options):
    email = new_email()
    registered = buf_curl(server, options, "Register", {"email": email, "password": PASSWORD, "name": "Ada"})
    assert registered.returncode == 0, registered.stderr
    assert json.loads(registered.stdout)["user"]["email"] == email

    refused = buf_curl(server, options, "Login", {"email": email, "password": "not the password"})
    assert refused.returncode != 0
    error = json.loads(refused.stderr)
    assert error["code"] == "unauthenticated"
    (value,) = (detail["value"] for detail in error["details"] if detail["type"] == "google.rpc.ErrorInfo")
    info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(value + "=="))
    assert (info.reason, info.domain) == ("WRONG_EMAIL_OR_PASSWORD", "countersign")
