"""gRPC by `grpcio`, knowing nothing of the service but its address: the messages come by reflection, no stubs of ours."""

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from conftest import PASSWORD, SCOPES, new_email


class Reflected:
    """Calls methods with and into dictionaries, as the server describes itself."""

    def __init__(self, channel: grpc.Channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def call(self, service: str, method: str, request: dict, **metadata: str) -> dict:
        descriptor = self.pool.FindServiceByName(f"countersign.v1.{service}").FindMethodByName(method)
        ask, answer = (message_factory.GetMessageClass(d) for d in (descriptor.input_type, descriptor.output_type))
        stub = self.channel.unary_unary(
            f"/countersign.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        headers = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        message = stub(json_format.ParseDict(request, ask()), metadata=headers, timeout=30)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)


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
    descriptor = api.pool.FindServiceByName("grpc.health.v1.Health").FindMethodByName("Check")
    answer = message_factory.GetMessageClass(descriptor.output_type)
    stub = api.channel.unary_unary("/grpc.health.v1.Health/Check", response_deserializer=answer.FromString)
    assert json_format.MessageToDict(stub(b"", timeout=30)) == {"status": "SERVING"}
