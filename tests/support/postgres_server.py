"""A PostgreSQL of its own, for tests and benchmarks.

    with postgres_server() as url: ...     # postgresql://clearbid:PASSWORD@127.0.0.1:PORT/postgres

It needs the programs `initdb` and `postgres`, on PATH or where Debian puts them. They refuse to run as root, so
root starts them as the user `postgres`, or `nobody`. Data is in a temporary directory and goes with it.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

_READY_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
USER = "clearbid"


class PostgresUnavailable(Exception):
    """No PostgreSQL can be started on this machine; the message says why."""


class PostgresServer:
    """A server that can be ended and started again on its data.

    Args:
        directory: where its data is made.
        durable: whether it waits for the disk; without it databases are made and dropped ten times as fast.
    """

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self._settings = [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._programs = _programs()
        self._directory = directory
        self._data = directory / "data"
        self._as = _user()
        self._password = secrets.token_hex(8)
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._as:
            shutil.chown(directory, self._as["user"], self._as["group"])
        self._make()

    @property
    def url(self) -> str:
        """Of its first database, as its owner."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        log = self._directory / "postgres.log"
        command = [
            *(str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self._port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", *self._settings),
        ]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                **self._as,
            )
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline_s:
            with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
                return
            time.sleep(0.05)
        said = log.read_text(errors="replace")[-2000:]
        self.stop()
        raise PostgresUnavailable(f"PostgreSQL did not come up: {said}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: at once but in order (SIGINT), or as a power cut would (SIGQUIT)."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _make(self) -> None:
        secret = self._directory / "password"
        secret.write_text(self._password)
        if self._as:
            shutil.chown(secret, self._as["user"])
        done = subprocess.run(
            [
                *(str(self._programs / "initdb"), "-D", str(self._data), "-U", USER, "--pwfile", str(secret)),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
            ],
            cwd=self._directory, capture_output=True, text=True, check=False, **self._as,
        )  # fmt: skip
        if done.returncode:
            raise PostgresUnavailable(f"initdb ended with {done.returncode}: {done.stderr.strip()[-600:]}")


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Starts a PostgreSQL on a free port of the loopback.

    Raises:
        PostgresUnavailable: its programs are missing, or it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="clearbid-postgres-", ignore_cleanup_errors=True) as name:
        server = PostgresServer(Path(name), durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """An empty database on a server, dropped at the end."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    try:
        yield url.rpartition("/")[0] + f"/{name}"
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def _programs() -> Path:
    """The folder of `initdb` and `postgres`."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresUnavailable("initdb and postgres are not installed: on Debian, apt-get install postgresql")


def _user() -> dict[str, Any]:
    """Who is to run it, where root must not."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise PostgresUnavailable(
        "PostgreSQL must not run as root, and there is neither a user postgres nor nobody"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
