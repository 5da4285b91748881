"""PostgreSQL and PgBouncer of a test's own, which it may stop, and start again where they were.

Both refuse to run as root, and run in a directory that is theirs.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from conftest import ROOT, free_port, wait_until


class Unprivileged:
    """Runs commands in a directory of their own, by whoever runs the tests; as `postgres`, if that is root."""

    def __init__(self):
        # Others than root may not look into pytest's directories.
        self.directory = Path(tempfile.mkdtemp())
        self.prefix = []
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres")
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env"]

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Cluster(Unprivileged):
    """A PostgreSQL on a port of its own. `url` is a database's."""

    def __init__(self):
        super().__init__()
        find = subprocess.run([ROOT / "scripts/with-postgres", "--find"], check=True, capture_output=True, text=True)
        self.bin = Path(find.stdout.strip())
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self.data = self.directory / "data"
        self.run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as config:
            # It is stopped, but the machine is not: what was written lasts. What nobody waits for is written late.
            config.write(f"""\
listen_addresses = '127.0.0.1'
port = {self.port}
unix_socket_directories = '{self.directory}'
fsync = off
wal_level = minimal
max_wal_senders = 0
wal_writer_delay = 10s
""")

    def start(self):
        self.run("pg_ctl", "-w", "-l", str(self.directory / "log"), "start")

    def stop(self):
        """Without a farewell to anybody; nothing is lost."""
        self.run("pg_ctl", "-m", "immediate", "stop")

    def remove(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        super().remove()

    def run(self, program: str, *arguments: str):
        # The server keeps what it is given as output open, so that is no pipe.
        command = [*self.prefix, self.bin / program, "-D", self.data, *arguments]
        subprocess.run(command, check=True, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class PgBouncer(Unprivileged):
    """PgBouncer in session mode before the database of this URL; `url` leads through it."""

    def __init__(self, url: str):
        super().__init__()
        to = psycopg.conninfo.conninfo_to_dict(url)
        self.port = free_port()
        self.url = f"postgres://{to['user']}@127.0.0.1:{self.port}/{to['dbname']}"
        self.process = None
        (self.directory / "users").write_text(f'"{to["user"]}" ""\n')
        # In session mode a connection to it takes one to the database, so three replicas need as many as they may have together.
        (self.directory / "config").write_text(f"""\
[databases]
{to["dbname"]} = host={to["host"]} port={to["port"]}
[pgbouncer]
pool_mode = session
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {self.directory}/users
default_pool_size = 60
""")

    def start(self):
        with (self.directory / "log").open("ab") as log:
            command = [*self.prefix, shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin"), self.directory / "config"]
            self.process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)
        wait_until(self.answers, lambda: (self.directory / "log").read_text())

    def answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False

    def kill(self):
        """With every connection through it."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def remove(self):
        self.kill()
        super().remove()
