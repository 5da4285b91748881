"""TLS as programs that are not ours speak it, OpenSSL and BoringSSL; and certificates replaced under load."""

import ssl
import threading
from pathlib import Path

import grpc
import pytest
import requests
import trustme

from conftest import PATIENCE, Server, new_email, wait_until
from reflected import Reflected


class Files:
    """Certificate and key of the service, as a Kubernetes volume has them: what is in use is where a symbolic link leads to."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.ca = trustme.CA()
        self.authority = directory / "authority.pem"
        self.ca.cert_pem.write_to_path(str(self.authority))
        self.versions = 0
        self.renew()

    def renew(self) -> bytes:
        """Makes others and swaps them in, both at once; the certificate, in DER."""
        self.versions += 1
        version = self.directory / f"v{self.versions}"
        version.mkdir()
        made = self.ca.issue_cert("localhost", "127.0.0.1")
        made.private_key_pem.write_to_path(str(version / "tls.key"))
        certificate = made.cert_chain_pems[0]
        certificate.write_to_path(str(version / "tls.crt"))
        link = self.directory / "new"
        link.symlink_to(version.name)
        link.rename(self.directory / "data")
        return ssl.PEM_cert_to_DER_cert(certificate.bytes().decode())

    @property
    def environment(self) -> dict[str, str]:
        return {
            "COUNTERSIGN_SERVER__TLS__CERT": str(self.directory / "data/tls.crt"),
            "COUNTERSIGN_SERVER__TLS__KEY": str(self.directory / "data/tls.key"),
        }


class TlsServer(Server):
    """A service that speaks TLS."""

    def __init__(self, directory: Path, environment: dict[str, str], session: requests.Session):
        super().__init__("sqlite", directory, environment)
        self.session = session

    @property
    def base(self) -> str:
        return f"https://{self.address}"

    def answers(self) -> bool:
        try:
            return self.session.get(f"{self.base}/openapi.json", timeout=1).ok
        except requests.RequestException:
            return False

    def served(self) -> bytes:
        """The certificate that a new connection gets, in DER."""
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", self.port), timeout=PATIENCE))


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


def trusting(files: Files) -> requests.Session:
    """A client that keeps its connection. With `trust_env`, REQUESTS_CA_BUNDLE would go before `verify`."""
    session = requests.Session()
    session.trust_env, session.verify = False, str(files.authority)
    return session


@pytest.fixture
def session(files):
    with trusting(files) as session:
        yield session


@pytest.fixture
def server(files, session, tmp_path):
    directory = tmp_path / "service"
    directory.mkdir()
    server = TlsServer(directory, files.environment, session)
    with server.running():
        yield server


def channel(server: Server, files: Files, **certificate: bytes) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(files.authority.read_bytes(), **certificate)
    return grpc.secure_channel(f"localhost:{server.port}", credentials)


def test_rest_and_grpc_are_spoken(server, files, session):
    r = session.post(f"{server.base}/api/v1/auth/register", json={"email": new_email(), "password": "slow copper lantern"})
    assert r.status_code == 200, r.text
    assert r.headers["strict-transport-security"] == "max-age=31536000"
    with channel(server, files) as opened:
        question, validate = Reflected(opened).method("countersign.v1.AuthService", "ValidateCredential")
        assert validate(question(credential=r.json()["access_token"]), timeout=PATIENCE).principal.user_id


def test_certificates_are_replaced_under_load_without_a_failed_call(server, files):
    over = threading.Event()
    calls, wrong = [0, 0, 0], []

    def by_grpc():
        with channel(server, files) as opened:
            question, validate = Reflected(opened).method("countersign.v1.AuthService", "ValidateCredential")
            while not over.is_set():
                validate(question(credential="nonsense"), timeout=PATIENCE)
                calls[0] += 1

    def by_a_connection_that_is_kept():
        with trusting(files) as kept:
            while not over.is_set():
                assert kept.get(f"{server.base}/openapi.json", timeout=PATIENCE).ok
                calls[1] += 1

    def by_a_new_connection_each_time():
        while not over.is_set():
            assert requests.get(f"{server.base}/openapi.json", verify=str(files.authority), timeout=PATIENCE).ok
            calls[2] += 1

    def noting(load):
        try:
            load()
        except Exception as error:
            wrong.append(error)

    kinds = [by_grpc, by_a_connection_that_is_kept, by_a_new_connection_each_time]
    threads = [threading.Thread(target=noting, args=[load]) for load in kinds]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            before = calls.copy()
            expected = files.renew()
            wait_until(lambda: server.served() == expected, lambda: f"the new certificate is not served:\n{server.log}")
            ahead = lambda: wrong or all(now > then + 5 for now, then in zip(calls, before))
            wait_until(ahead, lambda: f"the load stands still: {before}, {calls}")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_client_has_to_show_a_certificate_of_the_authority(files, tmp_path):
    clients, strangers = trustme.CA(), trustme.CA()
    clients.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    made = clients.issue_cert("jobs.example.com")
    made.private_key_and_cert_chain_pem.write_to_path(str(ours))
    strangers.issue_cert("jobs.example.com").private_key_and_cert_chain_pem.write_to_path(str(theirs))
    directory = tmp_path / "service"
    directory.mkdir()
    environment = files.environment | {
        "COUNTERSIGN_SERVER__TLS__CLIENT_CA": str(tmp_path / "clients.pem"),
        "COUNTERSIGN_TELEMETRY__LOG_LEVEL": "info,countersign::api=debug",
    }
    with trusting(files) as session:
        session.cert = str(ours)
        server = TlsServer(directory, environment, session)
        with server.running():
            for certificate in [None, str(theirs)]:
                with pytest.raises(requests.ConnectionError):
                    requests.get(f"{server.base}/openapi.json", verify=session.verify, cert=certificate, timeout=PATIENCE)
            key, chain = made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes()
            with channel(server, files, private_key=key, certificate_chain=chain) as opened:
                question, login = Reflected(opened).method("countersign.v1.AuthService", "Login")
                with pytest.raises(grpc.RpcError) as refused:
                    login(question(email=new_email(), password="nonsense"), timeout=PATIENCE)
                assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            server.wait_for_log("jobs.example.com")
            answered = [line for line in server.log.splitlines() if "AuthService/Login" in line and "answered" in line]
            assert answered and all("jobs.example.com" in line for line in answered), answered
