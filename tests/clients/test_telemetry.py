"""What an operator's tools get: metrics as Prometheus wants them, traces as a collector takes them, and a log that both lead to."""

import json
import secrets
import subprocess
import threading
from concurrent import futures

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from conftest import PASSWORD, Server, free_port, new_database, new_email, wait_until
from reflected import Reflected


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans, and keeps them."""

    def __init__(self, port: int):
        self.spans = []
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.server.add_insecure_port(f"127.0.0.1:{port}")

    def Export(self, request, _context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace: str) -> list:
        """The spans of a trace."""
        return [span for span in self.spans if span.trace_id.hex() == trace]


def attributes(span) -> dict:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.fixture
def ports():
    return free_port(), free_port()


@pytest.fixture
def service(database, tmp_path, ports):
    """A service of the test's own, which tells everything to a collector that may be there."""
    metrics, collector = ports
    environment = {
        "COUNTERSIGN_SERVER__METRICS_LISTEN": f"127.0.0.1:{metrics}",
        "COUNTERSIGN_TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
        "COUNTERSIGN_TELEMETRY__LOG_LEVEL": "info,countersign::api=debug",
        "COUNTERSIGN_MAIL__TRANSPORT": "file",
    }
    service = Server(database, tmp_path, environment | new_database(database))
    with service.running():
        yield service


@pytest.fixture
def collector(ports):
    collector = Collector(ports[1])
    collector.server.start()
    yield collector
    collector.server.stop(None)


def login(service, email, **headers):
    body = {"email": email, "password": PASSWORD}
    return requests.post(f"{service.base}/api/v1/auth/login", json=body, headers=headers, timeout=60)


def test_metrics_under_load_pass_prometheus_own_check(service, ports):
    email = new_email()
    token = service.register(email)["access_token"]

    def ask():
        for _ in range(20):
            service.me(token)
            service.call("login", {"email": new_email(), "password": "wrong password"})

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    pages = [requests.get(f"http://127.0.0.1:{ports[0]}/metrics", timeout=10) for _ in range(5)]
    for thread in threads:
        thread.join()
    pages.append(requests.get(f"http://127.0.0.1:{ports[0]}/metrics", timeout=10))
    for page in pages:
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/plain; version=0.0.4")
        checked = subprocess.run(["promtool", "check", "metrics"], input=page.text, capture_output=True, text=True)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert 'countersign_requests_total{rpc="AuthService/GetMe",code="OK"} 80' in pages[-1].text
    assert email not in pages[-1].text and token not in pages[-1].text


def test_a_rest_call_is_one_trace_from_the_callers_span_to_sql(service, collector):
    email = new_email()
    service.register(email)
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    answer = login(service, email, traceparent=f"00-{trace}-{caller}-01", **{"x-request-id": "the-request"})
    assert answer.status_code == 200 and answer.headers["x-request-id"] == "the-request"

    wait_until(lambda: any(not span.name.startswith("query") and span.parent_span_id.hex() == caller for span in collector.of(trace)), lambda: f"no trace: {collector.spans}")
    spans = {span.span_id: span for span in collector.of(trace)}
    [root] = [span for span in spans.values() if span.parent_span_id.hex() == caller]
    assert root.name == "POST /api/v1/auth/login"
    assert attributes(root)["http.route"] == "/api/v1/auth/login" and attributes(root)["http.response.status_code"] == 200

    def chain(span) -> list[str]:
        """The names of the spans from the root to this one."""
        return (chain(spans[span.parent_span_id]) if span.parent_span_id in spans else []) + [span.name]

    chains = [chain(span) for span in spans.values()]
    assert all(chain[0] == root.name for chain in chains), chains
    login_rpc = [root.name, "countersign.v1.AuthService/Login", "login"]
    assert login_rpc + ["transaction", "query sessions"] in chains, chains
    assert any(chain[:3] == login_rpc and chain[-1] == "query users" for chain in chains), chains
    [rpc] = [span for span in spans.values() if span.name == login_rpc[1]]
    assert attributes(rpc)["rpc.service"] == "countersign.v1.AuthService" and attributes(rpc)["rpc.method"] == "Login"
    assert attributes(rpc)["rpc.grpc.status_code"] == 0
    systems = {attributes(span).get("db.system.name") for span in spans.values() if span.name == "transaction"}
    assert systems == {"sqlite" if service.database == "sqlite" else "postgresql"}

    # The log's lines lead to it, and S57: nothing in it is anybody's.
    lines = [json.loads(line) for line in service.log.splitlines() if '"request_id":"the-request"' in line]
    assert {line["trace_id"] for line in lines} == {trace} and {line["span_id"] for line in lines} == {root.span_id.hex()}
    assert any(line["message"] == "answered" and line["rpc"] == "AuthService/Login" for line in lines), lines
    told = " ".join(str(span) for span in collector.spans)
    for secret in [email, PASSWORD, answer.json()["access_token"], answer.json()["refresh_token"]]:
        assert secret not in told


def test_a_trace_that_its_caller_does_not_keep_is_not_sent(service, collector):
    email = new_email()
    service.register(email)
    dropped, kept = secrets.token_hex(16), secrets.token_hex(16)
    assert login(service, email, traceparent=f"00-{dropped}-{secrets.token_hex(8)}-00").ok
    assert login(service, email, traceparent=f"00-{kept}-{secrets.token_hex(8)}-01").ok
    wait_until(lambda: collector.of(kept), lambda: "no trace")
    assert not collector.of(dropped)


def kept() -> tuple[str, str]:
    """A trace that its caller keeps, and the header that says so."""
    trace = secrets.token_hex(16)
    return trace, f"00-{trace}-{secrets.token_hex(8)}-01"


def test_grpc_metadata_name_the_trace_that_a_call_is_part_of(service, collector):
    email = new_email()
    service.register(email)
    (by_login, login_parent), (by_validation, validation_parent) = kept(), kept()
    with grpc.insecure_channel(service.address) as channel:
        calls = Reflected(channel)
        credential = calls.call("AuthService", "Login", {"email": email, "password": PASSWORD}, traceparent=login_parent)["access_token"]
        validate = {"credential": credential}
        assert calls.call("AuthService", "ValidateCredential", validate, traceparent=validation_parent)["status"] == "CREDENTIAL_STATUS_VALID"
    for trace, parent, method in [(by_login, login_parent, "Login"), (by_validation, validation_parent, "ValidateCredential")]:
        name = f"countersign.v1.AuthService/{method}"
        wait_until(lambda: any(span.name == name for span in collector.of(trace)), lambda: f"no trace: {collector.spans}")
        [root] = [span for span in collector.of(trace) if span.name == name]
        assert root.parent_span_id.hex() == parent.split("-")[2]


@pytest.mark.parametrize("door", ["grpc", "grpc-web"])
def test_no_trace_begins_with_a_validation(service, collector, door):
    token = service.register(new_email())["access_token"]
    trace, parent = kept()
    calls_with = [{"traceparent": parent[:-1] + "0"}, {}, {"traceparent": parent}]
    with grpc.insecure_channel(service.address) as channel:
        calls = Reflected(channel)
        for number, headers in enumerate(calls_with):
            # A new key, so that the database is asked; and an id, so that there are lines.
            made = requests.post(f"{service.base}/api/v1/keys", json={"name": "test"}, headers={"authorization": f"Bearer {token}"}, timeout=60)
            headers["x-request-id"] = f"validation-{number}"
            if door == "grpc":
                answer = calls.call("AuthService", "ValidateCredential", {"credential": made.json()["secret"]}, **headers)
                assert answer["status"] == "CREDENTIAL_STATUS_VALID"
            else:
                message = calls.message("AuthService", "ValidateCredential", {"credential": made.json()["secret"]})
                body = b"\0" + len(message).to_bytes(4, "big") + message
                headers["content-type"] = "application/grpc-web+proto"
                url = f"{service.base}/countersign.v1.AuthService/ValidateCredential"
                assert b"grpc-status:0" in requests.post(url, data=body, headers=headers, timeout=60).content
            service.wait_for_log(f'"request_id":"validation-{number}"')
    wait_until(lambda: collector.of(trace), lambda: "no trace")
    [validation] = [span for span in collector.spans if "ValidateCredential" in span.name]
    assert validation.trace_id.hex() == trace and validation.parent_span_id.hex() == parent.split("-")[2]
    assert any(span.name.startswith("query") for span in collector.of(trace))
    roots = {span.name for span in collector.spans if not span.parent_span_id}
    # The other is reflection.
    assert roots <= {"POST /api/v1/auth/register", "POST /api/v1/keys", "GET", "other"}, roots


def test_what_a_client_makes_up_neither_names_a_span_nor_swells_it(service, collector):
    (trace, parent) = kept()
    headers = {"traceparent": parent, "tracestate": "c4n4ry=" + "x" * 15_000}
    answer = requests.request("C4N4RY", f"{service.base}/api/v1/auth/login", headers=headers, timeout=60)
    assert answer.status_code == 405
    wait_until(lambda: collector.of(trace), lambda: f"no trace: {collector.spans}")
    [span] = collector.of(trace)
    assert span.name == "HTTP" and attributes(span)["http.request.method"] == "_OTHER"
    assert "c4n4ry" not in str(collector.spans).lower() and not span.trace_state


def test_what_happens_without_a_request_is_no_trace(service, collector):
    service.register(new_email())
    wait_until(lambda: collector.spans, lambda: "no trace")
    roots = {span.name for span in collector.spans if not span.parent_span_id}
    assert roots <= {"POST /api/v1/auth/register", "GET"}, roots


def test_without_its_collector_the_service_works_and_says_so_once(service):
    email = new_email()
    service.register(email)
    service.wait_for_log("traces are lost")
    assert login(service, email).ok
    service.stop()
    assert service.log.count("traces are lost") == 1
    service.start()


def test_a_request_without_an_id_gets_one_that_its_lines_have(service):
    answer = login(service, new_email())
    made = answer.headers["x-request-id"]
    assert answer.status_code == 401 and len(made) == 32
    service.wait_for_log(f'"request_id":"{made}"')
