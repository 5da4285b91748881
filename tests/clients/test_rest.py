"""REST by `requests`: what existing HTTP clients send, word for word but for the host, and the errors that they count on."""

import requests

from conftest import PASSWORD, SCOPES, bearer, new_email, problem


def test_existing_http_clients(server):
    base = server.base

    r = requests.post(f"{base}/api/v1/auth/register", json={"email": "user@example.com", "password": "securepass", "name": "Alice"}); r.json()["access_token"]
    assert r.status_code == 200
    user = r.json()["user"]

    r = requests.post(f"{base}/api/v1/auth/login", json={"email": "user@example.com", "password": "securepass"}); r.json()["access_token"]; r.json()["refresh_token"]
    assert (r.json()["token_type"], r.json()["expires_in"], r.json()["scopes"]) == ("Bearer", 900, SCOPES)
    access_token, refresh_token = r.json()["access_token"], r.json()["refresh_token"]

    me = requests.get(f"{base}/api/v1/users/me", headers={"Authorization": f"Bearer {access_token}"}).json()
    assert me == user
    assert (me["email"], me["name"], me["email_verified"], me["scopes"]) == ("user@example.com", "Alice", False, SCOPES)

    r = requests.post(f"{base}/api/v1/keys", json={"name": "agent"}, headers={"Authorization": f"Bearer {access_token}"})
    secret = r.json()["secret"]
    assert secret.startswith("ak_") and len(secret) == 52
    assert requests.get(f"{base}/api/v1/users/me", headers={"X-API-Key": secret}).json()["id"] == user["id"]

    access_token = requests.post(f"{base}/api/v1/auth/refresh", json={"refresh_token": refresh_token}).json()["access_token"]
    r = requests.get(f"{base}/api/v1/users/me", headers={"Authorization": f"Bearer {access_token}"})
    assert r.status_code == 200

    r = requests.post(f"{base}/api/v1/auth/logout", headers={"Authorization": f"Bearer {access_token}"})      # no body
    assert (r.status_code, r.json()) == (200, {})
    r = requests.get(f"{base}/api/v1/users/me", headers={"Authorization": f"Bearer {access_token}"})
    assert problem(r) == (401, "CREDENTIAL_REVOKED")


def test_a_wrong_password_and_an_unknown_address_are_401_alike(server, person):
    login = f"{server.base}/api/v1/auth/login"
    wrong = requests.post(login, json={"email": person["user"]["email"], "password": "not the password"})
    unknown = requests.post(login, json={"email": new_email(), "password": "not the password"})
    assert problem(wrong) == (401, "WRONG_EMAIL_OR_PASSWORD")
    assert wrong.json() == unknown.json()


def test_no_credential_and_nonsense_are_401(server):
    me = f"{server.base}/api/v1/users/me"
    assert problem(requests.get(me)) == (401, "MISSING_CREDENTIAL")
    assert problem(requests.get(me, headers={"Authorization": "Bearer nonsense"})) == (401, "INVALID_CREDENTIAL")
    assert problem(requests.get(me, headers={"X-API-Key": "ak_nonsense"})) == (401, "INVALID_CREDENTIAL")


def test_a_key_where_a_user_is_needed_is_403(server, person):
    keys = f"{server.base}/api/v1/keys"
    secret = requests.post(keys, json={"name": "agent"}, headers=bearer(person)).json()["secret"]
    r = requests.post(keys, json={"name": "a key by a key"}, headers={"X-API-Key": secret})
    assert problem(r) == (403, "SESSION_REQUIRED")


def test_a_scope_beyond_the_owners_is_403(server, person):
    r = requests.post(f"{server.base}/api/v1/keys", json={"name": "agent", "scopes": ["everything"]}, headers=bearer(person))
    assert problem(r) == (403, "INSUFFICIENT_SCOPE")


def test_a_registered_address_is_409_in_any_case(server, person):
    for email in (person["user"]["email"], person["user"]["email"].upper()):
        r = requests.post(f"{server.base}/api/v1/auth/register", json={"email": email, "password": PASSWORD, "name": "Eve"})
        assert problem(r) == (409, "EMAIL_ALREADY_REGISTERED")


def test_an_unknown_field_is_400_and_named(server):
    r = requests.post(f"{server.base}/api/v1/auth/login", json={"email": "user@example.com", "pasword": "securepass"})
    assert problem(r) == (400, "INVALID_FIELD")
    assert [violation["field"] for violation in r.json()["field_violations"]] == ["pasword"]
