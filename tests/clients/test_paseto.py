"""Access tokens by `pyseto`: any PASETO library can verify one with a key from ListVerificationKeys."""

import json

import pyseto
import pytest
import requests

from conftest import SCOPES


@pytest.fixture
def keys(server):
    """The published keys by their kid, each of which is the PASERK id of the key beside it."""
    listed = requests.get(f"{server.base}/api/v1/auth/verification-keys").json()["keys"]
    keys = {key["kid"]: pyseto.Key.from_paserk(key["public_key"]) for key in listed}
    assert keys
    for kid, key in keys.items():
        assert kid == key.to_paserk_id()
    return keys


def test_a_token_is_verified_with_the_published_key(person, keys):
    version, purpose, _, footer = person["access_token"].split(".")
    assert (version, purpose) == ("v4", "public")
    footer = json.loads(pyseto.utils.base64url_decode(footer))
    assert list(footer) == ["kid"]

    claims = pyseto.decode(keys[footer["kid"]], person["access_token"], deserializer=json).payload
    assert claims.keys() == {"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "scopes"}
    assert claims["sub"] == person["user"]["id"]
    assert claims["sid"].startswith("ses_")
    assert claims["aud"] == "countersign"
    assert claims["scopes"] == SCOPES


def test_a_tampered_token_is_refused(server, person, keys):
    head, body, footer = person["access_token"].rsplit(".", 2)
    (key,) = keys.values()
    for place in (0, len(body) // 2, len(body) - 20):
        tampered = body[:place] + ("A" if body[place] != "A" else "B") + body[place + 1 :]
        token = f"{head}.{tampered}.{footer}"
        with pytest.raises(pyseto.VerifyError):
            pyseto.decode(key, token, deserializer=json)
        r = requests.post(f"{server.base}/api/v1/auth/validate", json={"credential": token})
        assert r.json()["status"] == "CREDENTIAL_STATUS_INVALID"
