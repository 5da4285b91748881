"""Gateways, with the files of docs/gateways/ as they stand there, but for the ports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import requests

from conftest import PATIENCE, ROOT, free_port, wait_until

BIN = Path(sys.executable).parent


class Gateway:
    """A gateway by the program of this name. `ports` are those that stand in place of the files' own, beside 8080, which is its."""

    def __init__(self, program: str, files: list[str], directory: Path, ports: dict[int, int]):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        ports = {str(documented): str(port) for documented, port in (ports | {8080: self.port}).items()}
        for file in files:
            config = (ROOT / "docs/gateways" / file).read_text()
            (directory / file).write_text(re.sub(rf"\b({'|'.join(ports)})\b", lambda port: ports[port[0]], config))
        command = getattr(self, program)(directory / files[0])
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        self.log = directory / "log"
        with self.log.open("wb") as log:
            # A session of its own, so that what is meant for the tests' terminal does not reach it.
            self.process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True)

    @staticmethod
    def envoy(path):
        return [BIN / "envoy", "--config-path", path, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]

    @staticmethod
    def nginx(path):
        # Where the distribution keeps these only root may write.
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        places = "".join(f"{kind}_temp_path {path.parent}/{kind};" for kind in kinds)
        path.write_text(path.read_text().replace("http {", f"http {{ access_log off; {places}", 1))
        user = "user root;" if os.geteuid() == 0 else ""
        return ["nginx", "-c", path, "-e", "stderr", "-g", f"daemon off; pid {path.parent}/pid; {user}"]

    @staticmethod
    def traefik(path):
        return [BIN / "traefik", f"--configfile={path}"]

    @staticmethod
    def caddy(path):
        return [BIN / "caddy", "run", "--config", path]

    def get(self, path="/", **headers: str) -> requests.Response:
        """`_` in a header's name stands for `-`."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(f"{self.base}{path}", headers=headers, timeout=PATIENCE)

    def answers(self) -> bool:
        try:
            # Before its configuration is read, Traefik finds nothing anywhere.
            return self.get().status_code != 404
        except requests.RequestException:
            return False

    def start(self):
        wait_until(lambda: self.process.poll() is not None or self.answers(), lambda: self.log.read_text())
        assert self.process.poll() is None, self.log.read_text()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
