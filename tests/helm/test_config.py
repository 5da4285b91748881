"""The configuration that the chart renders, given to the real program: it is accepted, and it is one that serves."""

import base64
import os
import re
import secrets
import signal
import socket
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from conftest import BINARY, SETS, objects, parsed, rendered, template

POSTGRES = os.environ.get("COUNTERSIGN_TEST_POSTGRES")
PATIENCE = 60
# What stands in the Secrets, by the path at which the service looks for it.
SECRETS = {
    "database_url": "postgres://countersign:secret@db.example.com/countersign?sslmode=verify-full&sslrootcert=/run/secrets/countersign/database_ca.crt",
    "database_direct_url": "postgres://countersign:secret@direct.db.example.com/countersign",
    "master_key": base64.b64encode(secrets.token_bytes(32)).decode(),
    "previous_master_keys": "\n".join(base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2)),
    "smtp_url": "smtps://countersign:secret@mail.example.com",
}


class Pod:
    """The files of a pod's container, under a directory, and a process as it would run there."""

    def __init__(self, values: str, kind: str, root: Path, text: str | None = None, **secrets: str):
        """Of a value set, or of `text`, where something else was rendered."""
        self.root = root
        text = text or rendered(values)
        (workload,) = parsed(text, kind)
        spec = workload["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["args"][1:] == ["--config", "/etc/countersign/countersign.toml"]
        self.command = container["args"][0]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        maps = {document["metadata"]["name"]: document["data"] for document in parsed(text, "ConfigMap")}
        contents = SECRETS | secrets
        for mount in container["volumeMounts"]:
            path, volume = self.path(mount["mountPath"]), volumes[mount["name"]]
            path.parent.mkdir(parents=True, exist_ok=True)
            if "subPath" in mount:
                path.write_text(self.here(maps[volume["configMap"]["name"]][mount["subPath"]]))
                continue
            path.mkdir(exist_ok=True)
            for source in volume.get("projected", {}).get("sources", []):
                for item in source["secret"]["items"]:
                    file = path / item["path"]
                    file.parent.mkdir(exist_ok=True)
                    file.write_text(contents.get(item["path"], "a secret") + "\n")
            for item in volume.get("secret", {}).get("items", []):
                (path / item["path"]).touch()

    def path(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def here(self, text: str) -> str:
        """Its paths, led to this directory."""
        return re.sub(r"(?<![\w.])/(run/secrets|etc/countersign|var/lib/countersign)\b", rf"{self.root}/\1", text)

    @property
    def file(self) -> Path:
        return self.path("/etc/countersign/countersign.toml")

    def run(self, command: str) -> subprocess.CompletedProcess:
        return subprocess.run([BINARY, command, "--config", self.file], cwd=self.root, env={}, capture_output=True, text=True, timeout=PATIENCE)

    def start(self) -> subprocess.Popen:
        assert self.command == "serve"
        return subprocess.Popen([BINARY, "serve", "--config", self.file], cwd=self.root, env={}, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_the_program_accepts_it(values, kind, tmp_path):
    if not objects(values, kind):
        assert (values, kind) in [(name, "Job") for name in ("gateway-tls", "ingress-mail-oauth", "sqlite")]
        return
    done = Pod(values, kind, tmp_path).run("config")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_set_arrives(tmp_path):
    settings = tomllib.loads(Pod("postgres-ha", "Deployment", tmp_path / "ha").run("config").stdout)
    assert settings["database"]["max_connections"] == 32 and settings["database"]["migrate_on_start"] is False
    assert settings["validation"]["cache_entries"] == 1_000_000 and settings["telemetry"]["trace_ratio"] == 0.1
    assert settings["server"]["drain_delay"] == "15s" and settings["server"]["trusted_proxies"] == ["10.0.0.0/8"]
    settings = tomllib.loads(Pod("ingress-mail-oauth", "Deployment", tmp_path / "mail").run("config").stdout)
    assert settings["mail"]["from"] == 'Example "Auth" <noreply@example.com>'
    assert settings["server"]["public_url"] == "https://auth.example.com"
    assert settings["oauth"]["providers"]["my-idp"]["issuer"] == "https://idp.example.com"


def serve_and_end(pod: Pod, config: dict[str, str], meanwhile=lambda: None):
    """Serves until /readyz says so, then ends on SIGTERM as Kubernetes sends it, within the grace period. Between the two it does `meanwhile`."""
    text = pod.file.read_text()
    for old, new in config.items():
        assert old in text
        text = text.replace(old, new)
    pod.file.write_text(text)
    metrics = re.search(r'metrics_listen = "(.*)"', text)[1]
    process = pod.start()
    try:
        end = time.monotonic() + PATIENCE
        while not ready(f"http://{metrics}/readyz"):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end, "it does not become ready"
            time.sleep(0.05)
        meanwhile()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.read() == b"ready\n" or answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ports(host="127.0.0.1") -> dict[str, str]:
    """Ports of their own for this machine, which others share, and no delay that only a load balancer needs."""
    everywhere, family = ("[::]", socket.AF_INET6) if ":" in host else ("0.0.0.0", socket.AF_INET)
    probes = [socket.create_server((host, 0), family=family) for _ in range(2)]
    one, two = (f"[{host}]:{probe.getsockname()[1]}" if ":" in host else f"{host}:{probe.getsockname()[1]}" for probe in probes)
    for probe in probes:
        probe.close()
    return {f"{everywhere}:50051": one, f"{everywhere}:9464": two, '"5s"': '"0s"'}


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_on_sqlite_it_serves_and_keeps_everything_on_the_volume(tmp_path):
    pod = Pod("sqlite", "Deployment", tmp_path)
    before = set(tmp_path.rglob("*"))
    serve_and_end(pod, ports())
    new = {path.relative_to(tmp_path).as_posix() for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert {"var/lib/countersign/countersign.db", "var/lib/countersign/countersign.key"} <= new
    assert all(path.startswith("var/lib/countersign/") for path in new), new


def certificate(pod: Pod):
    """What tls.existingSecret or cert-manager would mount."""
    key, cert = (pod.path(f"/run/secrets/tls/tls.{kind}") for kind in ("key", "crt"))
    name = ["-subj", "/CN=auth-countersign", "-addext", "subjectAltName=DNS:auth-countersign.identity.svc"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *name, "-keyout", key, "-out", cert]
    subprocess.run(new, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("values", "arguments", "host"),
    [
        ("sqlite", [], "127.0.0.1"),
        ("gateway-tls", [], "127.0.0.1"),
        pytest.param("gateway-tls", ["--set", "listenAddress=[::]"], "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")),
    ],
)
def test_helm_test_succeeds_while_it_serves_and_fails_afterwards(values, arguments, host, tmp_path):
    """The Service's variables lead to the service itself; else it is what is rendered, and nothing of the program's configuration is near."""
    text = template("--values", SETS[values], *arguments)
    pod = Pod(values, "Deployment", tmp_path / "pod", text=text)
    if values == "gateway-tls":
        certificate(pod)
    here = ports(host)
    port = next(iter(here.values())).rsplit(":", 1)[1]
    (container,) = parsed(text, "Pod")[0]["spec"]["containers"]
    service = {"AUTH_COUNTERSIGN_SERVICE_HOST": host, "AUTH_COUNTERSIGN_SERVICE_PORT": port}
    command = [re.sub(r"\$\((\w+)\)", lambda name: service[name[1]], word) for word in container["args"]]
    variables = {variable["name"]: variable["value"] for variable in container["env"]} | service
    assert container["workingDir"] == "/"

    def test() -> tuple[int, str]:
        done = subprocess.run([BINARY, *command], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout + done.stderr

    seen = []
    serve_and_end(pod, here, lambda: seen.append(test()))
    assert seen == [(0, "ready\n")]
    code, said = test()
    assert code == 1 and "refused" in said, said


def test_helm_test_is_left_out_only_where_clients_need_a_certificate(values):
    assert len(objects(values, "Pod")) == (values != "mutual-tls")


def test_commands_are_run_where_the_service_is(tmp_path):
    """As `kubectl exec` runs them: in the image's working directory, without a word of the configuration."""
    pod = Pod("sqlite", "Deployment", tmp_path)

    def command(*words: str, stdin="") -> str:
        environment = {"SQLITE_TMPDIR": str(pod.path("/var/lib/countersign"))}
        done = subprocess.run([BINARY, *words], cwd=pod.file.parent, env=environment, input=stdin, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def meanwhile():
        assert command("user", "create", "--email", "admin@example.com", stdin="correct horse battery staple\n").startswith("usr_")
        assert command("user", "grant", "admin@example.com", "countersign:admin") == "countersign:admin\n"

    serve_and_end(pod, ports(), meanwhile)


def test_on_postgres_pods_wait_for_the_job(tmp_path):
    assert POSTGRES, "scripts/with-postgres starts one"
    name = f"helm_{secrets.token_hex(6)}"
    subprocess.run(["psql", "--quiet", "--command", f"CREATE DATABASE {name}", POSTGRES], check=True)
    url = f"{POSTGRES.rsplit('/', 1)[0]}/{name}"
    pod = Pod("postgres", "Deployment", tmp_path / "pod", database_url=url)
    job = Pod("postgres", "Job", tmp_path / "job", database_url=url)
    early = pod.run("serve")
    assert (early.returncode, "migrations are pending" in early.stderr) == (69, True), early.stderr
    done = job.run(job.command)
    assert done.returncode == 0 and "applied" in done.stdout, done.stderr
    again = job.run(job.command)
    assert again.returncode == 0 and "up to date" in again.stdout, "a Job that is tried again must succeed"
    serve_and_end(pod, ports())
