"""The search of all logs for secrets (conftest.py, planted.py) finds what it is to find."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import planted
import pytest
from cryptography.hazmat.primitives import serialization

from parties.wire import identity

SEED = bytes(range(100, 132))
DIGEST = "5f" * 32

LEAKS = {
    "number": f"amount={planted.NUMBER + 2} is beyond",
    "decimal": f"{planted.NUMBER}.47",
    "text": f"Could not convert string '{planted.TEXT}' to INT32",
    "pem": "-----BEGIN PRIVATE KEY-----",
    "seed-hex": f"seed={SEED.hex()}",
    "seed-base64": f"seed={base64.b64encode(SEED).decode()}",
    "seed-bytes": f"seed={bytes(32)!r}",
    "shares": "[ 6148914691236517205   917]",
    "other-digest": "digest=" + "5e" * 32,
}

HARMLESS = f"""\
2026-01-01 00:00:00Z info    listening name=alpha address=127.0.0.1:7101
2026-01-01 00:00:00Z info    approved spec spec=test digest={DIGEST}
2026-01-01 00:00:00Z info    agreed query=total initiator=alpha session=73687878901234ab
2026-01-01 00:00:00Z error   total failed: alpha sent nothing for 20 s at step 0 (share)
{{"time": "2026-01-01T00:00:00.123456Z", "level": "info", "message": "done", "seconds": 0.736}}
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    node = tmp_path / "alpha"
    identity.create(node, "alpha")
    (node / "approved.sha256").write_text(DIGEST + "\n")
    (node / "log").write_text(HARMLESS)
    return node


def say(node: Path, line: str) -> list[str]:
    with (node / "log").open("a") as log:
        log.write(line + "\n")
    return planted.found_in(node.parent)


def test_what_nodes_log_is_harmless(node: Path) -> None:
    assert planted.found_in(node.parent) == []


@pytest.mark.parametrize("line", LEAKS.values(), ids=LEAKS)
def test_a_leak_is_found_and_not_repeated(node: Path, line: str) -> None:
    found = say(node, line)
    assert len(found) >= 1
    assert all(place.startswith(f"{node / 'log'}, line 6: ") for place in found)
    assert not any(line in place or planted.TEXT in place or str(planted.NUMBER) in place for place in found)
    (node / "log").unlink()  # else the search at the end of the run finds it, too


def test_a_key_is_found_in_each_form(node: Path) -> None:
    pem = (node / "key.pem").read_bytes()
    scalar = serialization.load_pem_private_key(pem, None).private_numbers().private_value
    raw = scalar.to_bytes(32, "big")
    for form in (*pem.decode().splitlines()[1:3], raw.hex(), base64.b64encode(raw).decode(), str(raw), str(scalar)):
        (node / planted.SAID).write_text(f"key: {form}\n")
        assert planted.found_in(node.parent) == [f"{node / planted.SAID}, line 1: the key in {node}"]
    (node / planted.SAID).unlink()


def test_a_leak_fails_the_whole_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"]
    done = subprocess.run([*command, str(Path(__file__).parent / "leaking.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"secrets in logs:\n.*comity\.log, line 1: a planted text$", done.stdout, re.MULTILINE), done.stdout
    for log in (tmp_path / "inner").rglob(planted.OWN_LOG):
        log.unlink()
