"""`comity bench --peers` without a network: what installs is run and compared, what does not is said, and nothing else is lost."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import companies, queries
from benchmarks.cases import cases
from benchmarks.measure import Line, row
from benchmarks.peers import beside
from benchmarks.peers.beside import Peer, Peers, Work

OURS = Line("multiply", "ours", 2, 1000, [0.5, 1.0, 1.5], "raw TLS", [0.1])

PARTY = """
import json, sys
from benchmarks.peers.party import job, report

mine = job()
print("a line of the peer's own log")
if mine.how == "fails" and mine.me == 1:
    sys.exit("the second party\\nsaid why")
if mine.how == "fails":
    sys.stdin.read()  # waits for the other
report(mine, lambda: None, lambda: None)
"""


def peer(name: str, *packages: str) -> Peer:
    return Peer(name, (packages,) if packages else (), "peer_party")


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "peer_party.py").write_text(PARTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(companies, "LONGEST", 60)
    return tmp_path / "peers"


def lines(works: Sequence[Work], folder: Path) -> tuple[list[Line], list[str]]:
    among = Peers(works, folder)
    found = list(among.beside(OURS, runs=3))
    return found, list(among.absent.values())


def test_a_peer_that_does_not_install_or_run_is_said_and_the_others_go_on(peers: Path) -> None:
    work = Work(peer("Runs 1"), "multiply", 2, "", "its way", "ours")
    works = [
        replace(work, peer=peer("Missing 1", "--no-index", "no-such-package==1")),
        replace(work, peer=peer("Failing 1"), how="fails"),
        work,
        replace(work, parties=3),  # Comity's line has two
    ]
    (line,), absent = lines(works, peers)
    assert line.name == "Runs 1, its way"
    assert absent == [
        "Missing 1: does not install here: ERROR: Could not find a version that satisfies the requirement "
        "no-such-package==1 (from versions: none)",
        "Failing 1: does not run here: said why",
    ]


def test_what_a_peer_reports_becomes_a_line_beside_ours(peers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each run the slowest party counts; the ratio is that of the medians, by the element; what is installed is kept."""
    said = iter([
        'a log\n{"seconds": [1.0, 2.0, 3.0], "peak_mb": 7}\n', '{"seconds": [2.5, 1.0, 2.0], "peak_mb": 9}\na log\n'
    ])  # fmt: skip
    monkeypatch.setattr(beside, "outputs", lambda commands, folder: [next(said) for _ in commands])
    (line,), absent = lines([Work(peer("Runs 1"), "multiply", 2, "", "its way", "ours", part=4)], peers)
    assert not absent
    assert (line.seconds, line.peak_mb, line.elements) == ([2.5, 2.0, 3.0], 9, 250)
    assert line.ratio == 2.5 / (1.0 / 4)
    assert row(line)[-3:] == ("", "9", "10.00 x Comity's")
    assert (line.declared, line.measured) == (None, None)
    assert (peers / "Runs 1" / "bin" / "python").exists()


def test_every_work_of_a_peer_has_its_line_of_ours() -> None:
    ours = {(case.group, case.parties, f"{case.name}, gRPC") for case in cases(quick=True)}
    ours |= {
        ("median", 3, queries.described(queries.ROWS[0], 1, queries.MEDIAN, "", scheme))
        for scheme in ("additive", "replicated")
    }
    for work in beside.WORKS:
        assert (work.group, work.parties, work.beside) in ours
        assert (beside.ROOT / f"{work.peer.module.replace('.', '/')}.py").exists()
