"""Gateways before an upstream: Envoy, nginx, Traefik and Caddy, each with its file of docs/gateways/ as it stands there, but for
the ports. What the upstream gets is what it may believe.

One database is enough here: gateways see none.
"""

import http.server
import json
import threading

import pytest
import requests

from conftest import PATIENCE, SCOPES, Server, free_port, new_email, wait_until
from gateways import Gateway

IDENTITY = ["x-auth-user-id", "x-auth-session-id", "x-auth-key-id", "x-auth-scopes", "x-auth-principal-type"]
# Under docs/gateways/; the first is the one that is named when the gateway is started.
FILES = {
    "envoy": ["envoy.yaml"],
    "nginx": ["nginx.conf"],
    "traefik": ["traefik.yaml", "traefik-routes.yaml"],
    "caddy": ["Caddyfile"],
}


class Upstream(http.server.ThreadingHTTPServer):
    """Answers with what it was sent, and remembers it."""

    def __init__(self):
        self.seen = []
        super().__init__(("127.0.0.1", 0), Echo)


class Echo(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        chunked = self.headers.get("transfer-encoding") == "chunked"
        while chunked and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        seen = {"path": self.path, "headers": [[name.lower(), value] for name, value in self.headers.items()], "body": body.hex()}
        self.server.seen.append(seen)
        answer = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def countersign(tmp_path_factory):
    """The service, with a listener for gateways."""
    internal = free_port()
    environment = {
        "COUNTERSIGN_SERVER__INTERNAL_LISTEN": f"127.0.0.1:{internal}",
        "COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES": ",".join(SCOPES),
        "COUNTERSIGN_MAIL__TRANSPORT": "file",
    }
    server = Server("sqlite", tmp_path_factory.mktemp("countersign"), environment)
    server.internal = internal
    with server.running():
        yield server


@pytest.fixture(scope="module", params=["envoy", "nginx", "traefik", "caddy"])
def name(request) -> str:
    return request.param


def ports(upstream: Upstream, internal: int) -> dict[int, int]:
    """Of the upstream and of Countersign, by those in the files."""
    return {9000: upstream.server_port, 50052: internal}


@pytest.fixture(scope="module")
def gateway(name, tmp_path_factory, upstream, countersign):
    gateway = Gateway(name, FILES[name], tmp_path_factory.mktemp(name), ports(upstream, countersign.internal))
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def person(countersign) -> dict:
    return countersign.register(new_email())


def make_key(countersign, person, **fields) -> dict:
    headers = {"Authorization": f"Bearer {person['access_token']}"}
    r = requests.post(f"{countersign.base}/api/v1/keys", json={"name": "agent"} | fields, headers=headers, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    return r.json()


def identity(r: requests.Response) -> dict:
    """Who the upstream was told that calls. An empty header says as much as none; of two the upstream must choose, so none may be
    there twice."""
    assert r.status_code == 200, r.text
    found = [(name.replace("_", "-"), value) for name, value in r.json()["headers"]]
    found = [(name, value) for name, value in found if name in IDENTITY and value]
    assert len(dict(found)) == len(found), found
    return dict(found)


def refused(r: requests.Response, name: str, status: int, reason: str):
    """nginx answers a refusal with a page of its own, the others with Countersign's."""
    assert r.status_code == status, r.text
    if name != "nginx":
        assert r.headers["content-type"] == "application/problem+json"
        assert (r.json()["status"], r.json()["reason"]) == (status, reason)


def test_the_upstream_learns_who_calls(gateway, countersign, person):
    user = person["user"]["id"]
    token = f"Bearer {person['access_token']}"
    told = identity(gateway.get("/some/where?a=b", Authorization=token))
    session = told.pop("x-auth-session-id")
    assert session.startswith("ses_")
    assert told == {"x-auth-user-id": user, "x-auth-scopes": "jobs:read jobs:write", "x-auth-principal-type": "user"}

    key = make_key(countersign, person, scopes=["jobs:read"])
    by_key = {"x-auth-user-id": user, "x-auth-key-id": key["key"]["id"], "x-auth-scopes": "jobs:read", "x-auth-principal-type": "api_key"}
    assert identity(gateway.get(X_API_Key=key["secret"])) == by_key
    assert identity(gateway.get(Authorization=f"Bearer {key['secret']}")) == by_key


def test_without_a_valid_credential_nothing_reaches_the_upstream(gateway, name, upstream, countersign, person):
    key = make_key(countersign, person)
    assert identity(gateway.get(X_API_Key=key["secret"]))["x-auth-key-id"] == key["key"]["id"]
    headers = {"Authorization": f"Bearer {person['access_token']}"}
    requests.delete(f"{countersign.base}/api/v1/keys/{key['key']['id']}", headers=headers, timeout=PATIENCE).raise_for_status()
    # A revocation is seen within a second.
    wait_until(lambda: gateway.get(X_API_Key=key["secret"]).status_code != 200, lambda: "the key still works")
    upstream.seen.clear()
    for headers, reason in [
        ({}, "MISSING_CREDENTIAL"),
        ({"Authorization": "Bearer nonsense"}, "INVALID_CREDENTIAL"),
        ({"X_API_Key": key["secret"]}, "CREDENTIAL_REVOKED"),
        # Bytes that are no text.
        ({"Authorization": b"Bearer \xff\xfe"}, "INVALID_CREDENTIAL"),
    ]:
        r = gateway.get("/jobs", **headers)
        refused(r, name, 401, reason)
        assert r.headers["www-authenticate"].startswith("Bearer")
    assert upstream.seen == []


def test_a_route_asks_for_scopes(gateway, name, upstream, countersign, person):
    key = make_key(countersign, person, scopes=["jobs:read"])["secret"]
    assert identity(gateway.get("/jobs/7", Authorization=f"Bearer {person['access_token']}"))
    upstream.seen.clear()
    refused(gateway.get("/jobs", X_API_Key=key), name, 403, "INSUFFICIENT_SCOPE")
    refused(gateway.get("/jobs/7?scope=", X_API_Key=key), name, 403, "INSUFFICIENT_SCOPE")
    assert upstream.seen == []
    assert identity(gateway.get("/", X_API_Key=key))["x-auth-scopes"] == "jobs:read"


def test_a_key_that_is_used_too_often_is_429(gateway, name, countersign, person):
    key = make_key(countersign, person, rate_limit={"requests": 1, "per": "3600s"})["secret"]
    assert identity(gateway.get(X_API_Key=key))
    r = gateway.get(X_API_Key=key)
    refused(r, name, 429, "TOO_MANY_ATTEMPTS")
    assert 0 < int(r.headers["retry-after"]) <= 3600


def test_identity_headers_of_the_client_reach_no_upstream(gateway, name, countersign, person):
    # S12: an upstream believes what the gateway says, so nobody else may say it.
    key = make_key(countersign, person, scopes=[])
    for spelling in [str, str.upper, str.title]:
        spoofed = {spelling(header): "spoofed" for header in IDENTITY}
        told = identity(gateway.get(X_API_Key=key["secret"], **spoofed))
        assert told == {"x-auth-user-id": person["user"]["id"], "x-auth-key-id": key["key"]["id"], "x-auth-principal-type": "api_key"}
    # CGI and its heirs make the same of `_` and `-`.
    for dash, underscore in [("-", "_"), ("auth-", "auth_"), ("x-", "x_")]:
        spoofed = {header.replace(dash, underscore): "spoofed" for header in IDENTITY}
        r = requests.get(gateway.base, headers={"x-api-key": key["secret"]} | spoofed, timeout=PATIENCE)
        if name == "envoy":
            assert r.status_code == 400
        else:
            assert identity(r)["x-auth-key-id"] == key["key"]["id"]


def test_a_body_passes_by(gateway, person):
    headers = {"authorization": f"Bearer {person['access_token']}", "content-encoding": "gzip", "content-type": "image/png"}
    body = bytes(range(256)) * 512
    for data in [body, iter([body])]:
        r = requests.post(f"{gateway.base}/jobs", data=data, headers=headers, timeout=PATIENCE)
        assert identity(r)["x-auth-user-id"] == person["user"]["id"]
        assert r.json()["body"] == body.hex()


def test_nobody_passes_while_countersign_cannot_be_reached(name, upstream, person, tmp_path):
    gateway = Gateway(name, FILES[name], tmp_path, ports(upstream, free_port()))
    try:
        gateway.start()
        upstream.seen.clear()
        assert gateway.get(Authorization=f"Bearer {person['access_token']}").status_code in (500, 502, 503)
        assert upstream.seen == []
    finally:
        gateway.stop()
