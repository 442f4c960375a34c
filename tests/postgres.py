"""A PostgreSQL server of the tests' own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from parties.cli.local import free_ports

USER, PASSWORD = "comity", "s3cret/?#@ word"
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")


def binaries() -> Path:
    """The folder of `initdb` and `postgres`. Without it the tests are skipped, but in CI they fail."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += [folder for place in PLACES for folder in sorted(Path("/").glob(place[1:]), reverse=True)]
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    why = "no PostgreSQL server is installed (on Debian: apt-get install postgresql)"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def server() -> Iterator[int]:
    """Its port."""
    folder = binaries()
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="comity-postgres-", ignore_cleanup_errors=True) as home:
        as_user = {}
        if os.geteuid() == 0:  # it does not run as root
            nobody = pwd.getpwnam("nobody")
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        data, password, log = Path(home, "data"), Path(home, "password"), Path(home, "log")
        password.write_text(PASSWORD)
        password.chmod(0o644)  # of this test alone
        initdb = [folder / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", password, "-N", "-E", "UTF8"]
        done = subprocess.run([*initdb, "--locale=C"], cwd=home, capture_output=True, text=True, check=False, **as_user)
        assert done.returncode == 0, done.stderr
        options = ["-p", str(port), "-k", home, "-h", "127.0.0.1", "-F"]
        with log.open("w") as file:
            process = subprocess.Popen([folder / "postgres", "-D", data, *options], cwd=home, stderr=file, **as_user)
        try:
            _wait(port, process, log)
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # its fast way to stop
            process.wait(timeout=60)


def connect(port: int) -> psycopg.Connection:
    return psycopg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres", autocommit=True)


def _wait(port: int, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        try:
            return connect(port).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    pytest.fail(f"PostgreSQL did not start: {log.read_text()}")
