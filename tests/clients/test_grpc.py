"""gRPC by `grpcio`, knowing nothing of the service but its address: the messages come by reflection, no stubs of ours."""

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from conftest import PASSWORD, SCOPES, new_email
from reflected import Reflected


@pytest.fixture
def api(server):
    with grpc.insecure_channel(server.address) as channel:
        yield Reflected(channel)


def test_reflection_lists_the_services(api):
    services = set(api.database.get_services())
    assert {"countersign.v1.AuthService", "countersign.v1.KeyService", "grpc.health.v1.Health"} <= services


def test_from_sign_up_to_a_revoked_key(api):
    email = new_email()
    registered = api.call("AuthService", "Register", {"email": email, "password": PASSWORD, "name": "Ada"})
    signed_in = api.call("AuthService", "Login", {"email": email, "password": PASSWORD})
    assert signed_in["user"] == registered["user"]
    token = signed_in["access_token"]

    def validate(credential: str, *required: str) -> dict:
        return api.call("AuthService", "ValidateCredential", {"credential": credential, "required_scopes": required})

    answer = validate(token)
    assert answer["status"] == "CREDENTIAL_STATUS_VALID"
    assert answer["principal"]["type"] == "PRINCIPAL_TYPE_USER"
    assert answer["principal"]["user_id"] == signed_in["user"]["id"]
    assert answer["principal"]["session_id"].startswith("ses_")
    assert answer["principal"]["scopes"] == SCOPES

    made = api.call("KeyService", "CreateKey", {"name": "agent", "scopes": SCOPES[:1]}, authorization=f"Bearer {token}")
    answer = validate(made["secret"], SCOPES[0])
    assert answer["status"] == "CREDENTIAL_STATUS_VALID"
    assert answer["principal"] == {
        "type": "PRINCIPAL_TYPE_API_KEY",
        "user_id": signed_in["user"]["id"],
        "key_id": made["key"]["id"],
        "scopes": SCOPES[:1],
    }
    answer = validate(made["secret"], *SCOPES)
    assert (answer["status"], answer["missing_scopes"]) == ("CREDENTIAL_STATUS_INSUFFICIENT_SCOPE", SCOPES[1:])

    api.call("KeyService", "RevokeKey", {"key_id": made["key"]["id"]}, authorization=f"Bearer {token}")
    assert validate(made["secret"]) == {"status": "CREDENTIAL_STATUS_REVOKED"}
    assert validate(token)["status"] == "CREDENTIAL_STATUS_VALID"


def test_an_error_carries_its_reason(api):
    with pytest.raises(grpc.RpcError) as caught:
        api.call("AuthService", "GetMe", {})
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(caught.value).details)
    assert (info.reason, info.domain) == ("MISSING_CREDENTIAL", "countersign")


def test_health(api):
    ask, check = api.method("grpc.health.v1.Health", "Check")
    assert json_format.MessageToDict(check(ask(), timeout=30)) == {"status": "SERVING"}
