"""Access tokens as JWTs, verified by PyJWT and by Envoy from `/.well-known/jwks.json`.

What runs is what the documentation shows: the Python of `docs/guide.md` and `docs/envoy-jwt.yaml`, with their addresses replaced.
"""

import base64
import json
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
import requests

from conftest import PATIENCE, ROOT, SCOPES, Server, bearer, free_port, new_database, new_email, wait_until

ENVOY = Path(sys.executable).parent / "envoy"


@pytest.fixture(scope="module")
def issuer(database, tmp_path_factory):
    """A service that issues JWTs."""
    environment = {"COUNTERSIGN_TOKENS__FORMAT": "jwt", "COUNTERSIGN_ACCOUNTS__DEFAULT_SCOPES": ",".join(SCOPES)}
    server = Server(database, tmp_path_factory.mktemp(f"jwt-{database}"), environment | new_database(database))
    with server.running():
        yield server


@pytest.fixture(scope="module")
def somebody(issuer) -> dict:
    """Somebody's TokenResponse."""
    return issuer.register(new_email())


@pytest.fixture(scope="module")
def expired(issuer) -> str:
    """A token that was good for a second, which is over."""
    issuer.stop()
    issuer.start(COUNTERSIGN_TOKENS__ACCESS_TTL="1s")
    token = issuer.register(new_email())["access_token"]
    issuer.stop()
    issuer.start()
    end = claims_of(token)["exp"]
    wait_until(lambda: time.time() > end, lambda: f"{end} does not come")
    return token


def claims_of(token: str) -> dict:
    """What a token says, unverified."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def tampered(token: str) -> list[str]:
    """The token with other scopes; with a letter changed in each part; and with no signature, which it says itself."""
    header, payload, signature = token.split(".")
    encode = lambda part: base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    tokens = [f"{header}.{encode(claims_of(token) | {'scope': 'admin'})}.{signature}"]
    for place in (0, 1, 2):
        parts = [header, payload, signature]
        part, middle = parts[place], len(parts[place]) // 2
        parts[place] = part[:middle] + ("A" if part[middle] != "A" else "B") + part[middle + 1 :]
        tokens.append(".".join(parts))
    kid = jwt.get_unverified_header(token)["kid"]
    return [*tokens, f"{encode({'alg': 'none', 'typ': 'at+jwt', 'kid': kid})}.{payload}."]


def status(server: Server, token: str) -> str:
    """What ValidateCredential says of a token."""
    answer = server.call("validate", {"credential": token})
    assert answer.status_code == 200, answer.text
    return answer.json()["status"].removeprefix("CREDENTIAL_STATUS_")


@pytest.fixture(scope="module")
def verify(issuer):
    """The `verify` of the guide."""
    guide = (ROOT / "docs/guide.md").read_text()
    (example,) = re.findall(r"```python\n(# pip install pyjwt.*?)```", guide, re.DOTALL)
    names = {}
    exec(example.replace("http://127.0.0.1:50051", issuer.base), names)
    return names["verify"]


def test_pyjwt_verifies_a_token_by_the_key_set(issuer, somebody, verify):
    claims = verify(somebody["access_token"])
    assert claims.keys() == {"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "client_id", "scope"}
    assert claims["sub"] == somebody["user"]["id"]
    assert claims["sid"].startswith("ses_")
    assert claims["scope"].split() == SCOPES
    assert status(issuer, somebody["access_token"]) == "VALID"

    (key,) = requests.get(f"{issuer.base}/.well-known/jwks.json", timeout=PATIENCE).json()["keys"]
    public = jwt.PyJWK(key).key
    assert jwt.get_unverified_header(somebody["access_token"]) == {"alg": "EdDSA", "typ": "at+jwt", "kid": key["kid"]}
    for other in ({"audience": "other", "issuer": issuer.base}, {"audience": "countersign", "issuer": "https://other.example"}):
        with pytest.raises(jwt.InvalidTokenError):
            jwt.decode(somebody["access_token"], public, algorithms=["EdDSA"], **other)


def test_pyjwt_refuses_what_we_refuse(issuer, somebody, expired, verify):
    for token in tampered(somebody["access_token"]):
        with pytest.raises(jwt.PyJWTError):
            verify(token)
        assert status(issuer, token) == "INVALID"
    with pytest.raises(jwt.ExpiredSignatureError):
        verify(expired)
    assert status(issuer, expired) == "EXPIRED"


@contextmanager
def upstream():
    """A service that knows no tokens: it answers with the headers that reach it. Its port."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def gateway(issuer, tmp_path_factory):
    """Envoy before a service, as `docs/envoy-jwt.yaml` says: its URL."""
    directory, port = tmp_path_factory.mktemp("envoy"), free_port()
    with upstream() as upstream_port:
        config = (ROOT / "docs/envoy-jwt.yaml").read_text()
        for example, own in (("50051", issuer.port), ("10000", port), ("8000", upstream_port)):
            assert example in config
            config = config.replace(example, str(own))
        (directory / "envoy.yaml").write_text(config)
        log = directory / "log"
        command = [ENVOY, "-c", directory / "envoy.yaml", "--disable-hot-restart", "--concurrency", "1"]
        with log.open("wb") as output:
            envoy = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}/"
            wait_until(lambda: envoy.poll() is not None or answers(url), lambda: f"Envoy hangs:\n{log.read_text()}")
            assert envoy.poll() is None, log.read_text()
            yield url
        finally:
            envoy.terminate()
            envoy.wait(PATIENCE)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1) is not None
    except requests.RequestException:
        return False


def ask(gateway: str, token: str) -> requests.Response:
    return requests.get(gateway, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)


def test_envoy_lets_a_token_pass_and_says_whose_it_is(gateway, somebody):
    spoofed = {"X-Auth-User-Id": "usr_1", "X-Auth-Session-Id": "ses_1", "X-Auth-Scopes": "admin"}
    r = requests.get(gateway, headers=bearer(somebody) | spoofed, timeout=PATIENCE)
    assert r.status_code == 200, r.text
    arrived = r.json()
    claims = claims_of(somebody["access_token"])
    assert arrived["x-auth-user-id"] == somebody["user"]["id"]
    assert arrived["x-auth-session-id"] == claims["sid"]
    assert arrived["x-auth-scopes"] == " ".join(SCOPES)


def test_envoy_refuses_what_is_tampered_with_and_what_is_no_credential(gateway, issuer, somebody):
    token = somebody["access_token"]
    assert ask(gateway, token).status_code == 200
    for refused in tampered(token):
        r = ask(gateway, refused)
        assert (r.status_code, r.headers["www-authenticate"].split()[0]) == (401, "Bearer"), r.text
    none = requests.get(gateway, timeout=PATIENCE)
    assert (none.status_code, none.text) == (401, "Jwt is missing")
    assert requests.get(gateway, params={"access_token": token}, timeout=PATIENCE).status_code == 401


def test_envoy_refuses_an_expired_token(gateway, expired):
    # A few seconds after its end, which the file allows for clocks that differ.
    wait_until(lambda: ask(gateway, expired).status_code != 200, lambda: "an expired token passes for ever")
    r = ask(gateway, expired)
    assert (r.status_code, r.text) == (401, "Jwt is expired")
