"""gRPC by `grpcio` without stubs of ours: the server is asked by reflection what its messages are."""

import functools

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Reflected:
    """Calls methods with and into dictionaries, as the server describes itself."""

    def __init__(self, channel: grpc.Channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    @functools.cache
    def method(self, service: str, method: str) -> tuple[type, grpc.UnaryUnaryMultiCallable]:
        """What it is asked with, and the call."""
        descriptor = self.pool.FindServiceByName(service).FindMethodByName(method)
        ask, answer = (message_factory.GetMessageClass(d) for d in (descriptor.input_type, descriptor.output_type))
        return ask, self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    def message(self, service: str, method: str, request: dict) -> bytes:
        """What is sent to ask this."""
        ask, _ = self.method(f"countersign.v1.{service}", method)
        return json_format.ParseDict(request, ask()).SerializeToString()

    def call(self, service: str, method: str, request: dict, **metadata: str) -> dict:
        ask, stub = self.method(f"countersign.v1.{service}", method)
        headers = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        message = stub(json_format.ParseDict(request, ask()), metadata=headers, timeout=30)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
