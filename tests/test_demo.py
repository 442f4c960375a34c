"""`comity demo` in a process of its own: what it prints and leaves behind, and that no process is among that."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cluster import COMITY

from parties.spec.load import load

QUERIES = ("delays", "delay_histogram", "distances", "late_by_month", "delay_in_rain")
AIRLINES = ["united", "jetblue", "delta"]
NODES = [*AIRLINES, "weather"]
QUICK = (sys.executable, str(Path(__file__).parent / "quick_demo.py"))


def processes_in(folder: Path) -> dict[int, str]:
    """All processes that work in `folder`, and their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue
    return {number: line for number, line in found.items() if line}  # without those that only wait to be buried


class Demo(NamedTuple):
    folder: Path
    stdout: str
    stderr: str
    left: dict[int, str]

    @property
    def out(self) -> Path:
        return self.folder / "out"


def demonstrated(folder: Path, format_: str) -> Demo:
    done = subprocess.run(
        [*COMITY, "demo", "--format", format_], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    left = processes_in(folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return Demo(folder, done.stdout, done.stderr, left)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return demonstrated(tmp_path_factory.mktemp("demo"), "json")


@pytest.fixture(scope="module")
def results(demo: Demo) -> dict[str, dict[str, Any]]:
    return {result["query"]: result for result in json.loads(demo.stdout)["results"]}


def test_the_demo_answers_five_queries_as_the_pooled_data_do(results: dict[str, dict[str, Any]]) -> None:
    assert tuple(results) == QUERIES
    for result in results.values():
        assert result["within_bound"] is True
        assert len(result["rows"]) == len(result["pooled"])
        for difference, bound in zip(result["difference"], result["error_bound"], strict=True):
            assert difference <= bound
            assert bound > 0 or difference == 0
    assert results["delays"]["error_bound"][:2] == [0, 0]
    assert [row[:2] for row in results["delays"]["rows"]] == [["EWR", 56_438], ["JFK", 66_852], ["LGA", 36_619]]
    assert results["delay_histogram"]["difference"] == [0, 0, 0]
    assert results["delay_histogram"]["rows"] == results["delay_histogram"]["pooled"]
    assert results["distances"]["difference"][2] == 0
    assert results["distances"]["rows"][0][2] == results["distances"]["pooled"][0][2] == 207_596_978
    assert [row[0] for row in results["late_by_month"]["rows"]] == list(range(1, 13))
    [[mean]] = results["delay_in_rain"]["rows"]
    assert mean == pytest.approx(28.0439736346516, rel=1e-12)


def test_the_declared_cost_is_the_measured_one(results: dict[str, dict[str, Any]]) -> None:
    for result in results.values():
        assert result["cost"]["declared"] == result["cost"]["measured"]
        assert result["cost"]["measured"]["rounds"] > 0
        assert result["cost"]["measured"]["bytes"] > 0
    triples = {name: result["cost"]["measured"]["triples"] for name, result in results.items()}
    assert triples.pop("delay_in_rain") == 2 * 3 * 8760
    assert set(triples.values()) == {0}


def test_what_is_disclosed_goes_to_the_airlines_alone(results: dict[str, dict[str, Any]]) -> None:
    for result in results.values():
        assert any(not item["implied"] for item in result["disclosed"])
        for item in result["disclosed"]:
            assert set(item["to"]) <= set(AIRLINES)
            assert item["implied"] or item["to"] == AIRLINES
    assert [item["what"] for item in results["delay_in_rain"]["disclosed"] if not item["implied"]] == [
        "COUNT(*) over flights joined with weather", "SUM(dep_delay) over flights joined with weather"
    ]  # fmt: skip


def test_the_companies_approvals_are_seen(demo: Demo) -> None:
    spec = load(demo.out / "demo/comity.toml")
    for name in NODES:
        assert f"$ comity approve out/demo/comity.toml --node out/demo/{name}\n" in demo.stderr
        assert re.search(rf"^{name} approves out/demo/comity\.toml: 4 parties .*\nSHA-256 {spec.digest}$", demo.stderr, re.M)
        assert (demo.out / "demo" / name / "approved.toml").read_bytes() == (demo.out / "demo/comity.toml").read_bytes()


def test_the_demos_spec_is_the_example_and_the_stanzas(demo: Demo) -> None:
    text = (demo.out / "demo/comity.toml").read_text()
    assert text.startswith((Path(__file__).parents[1] / "examples/flights/queries.toml").read_text())
    spec = load(demo.out / "demo/comity.toml")
    assert sorted(spec.parties) == ["delta", "jetblue", "united", "weather"]
    assert spec.dealer is None
    assert tuple(spec.plans) == QUERIES


def test_the_plots_are_pictures(demo: Demo) -> None:
    assert sorted(file.name for file in demo.out.iterdir()) == sorted(["demo", *(f"{name}.png" for name in QUERIES)])
    for name in QUERIES:
        assert (demo.out / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("name", ["jetblue", "delta"])
def test_the_other_receivers_nodes_hold_the_same_answers(
    name: str, demo: Demo, results: dict[str, dict[str, Any]]
) -> None:
    folder = demo.out / "demo" / name / "results"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert len(files) == len(QUERIES)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for file in files:
        written = json.loads(file.read_text())
        result = results[written["query"]]
        assert re.fullmatch(rf"{written['query']}-\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}\.json", file.name)
        for key in written.keys() - {"cost"}:
            assert written[key] == result[key]
        assert written["cost"]["declared"] == written["cost"]["measured"]
    for other in ("united", "weather"):
        assert not (demo.out / "demo" / other / "results").exists()


def test_the_nodes_ended_by_themselves_and_nothing_is_left(demo: Demo) -> None:
    assert demo.left == {}
    for name in NODES:
        log = (demo.out / "demo" / name / "node.log").read_text()
        assert log.splitlines()[-1].endswith("stopped")
        assert "Traceback" not in log


@pytest.mark.slow
def test_as_a_table_the_demo_shows_answers_disclosures_and_costs(tmp_path: Path) -> None:
    done = demonstrated(tmp_path, "table")
    assert done.left == {}
    assert done.stderr == ""
    assert re.search(r"│\s*EWR\s*│\s*56,438\s*│\s*12\.5557\d+\s*│\s*56,438\s*│\s*12\.5557\d+\s*│", done.stdout)
    assert re.search(r"│\s*28\.0439736\d+\s*│\s*28\.0439736\d+\s*│", done.stdout)
    for query in QUERIES:
        assert f"$ comity run {query} --node out/demo/united\n{query}\n" in done.stdout
        assert (tmp_path / f"out/{query}.png").is_file()
    for name in NODES:
        assert f"$ comity node out/demo/{name}\n" in done.stdout
        assert f"\n{name} approves out/demo/comity.toml: " in done.stdout
    assert "flights: greatest difference 0, stated bound 0\n" in done.stdout
    assert "opened: SUM(dep_delay) by origin (3 values), to united, jetblue, delta\n" in done.stdout
    assert "implied: the same values for delta and jetblue together, by taking away united's own" in done.stdout
    assert len(re.findall(r"^cost: \d+ rounds?, [\d,]+ bytes sent, [\d,]+ triples.*; seconds: ", done.stdout, re.M)) == 5
    assert "assumes: Diffie-Hellman on edwards25519 is hard" in " ".join(done.stdout.split())
    assert done.stdout.endswith("all 5 answers equal those on the pooled data, within their bounds\n")


def test_an_answer_that_differs_is_named_and_the_status_is_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [*QUICK, "distances", "delay_histogram"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith("error: differs from the pooled answer by more than its bound: distances\n")
    distances, histogram = json.loads(done.stdout)["results"]
    assert (distances["within_bound"], distances["difference"][2]) == (False, 1)
    assert (histogram["within_bound"], histogram["difference"]) == (True, [0, 0, 0])
    assert processes_in(tmp_path) == {}


def has_started(folder: Path, output: Path) -> bool:
    return bool(output.read_text())


def has_a_node(folder: Path, output: Path) -> bool:
    return any(" node out/demo/" in line for line in processes_in(folder).values())


def asks(folder: Path, output: Path) -> bool:
    return "$ comity run delays" in output.read_text()


def group(process: subprocess.Popen[bytes], number: int) -> None:
    """As a terminal does."""
    os.killpg(process.pid, number)


@pytest.mark.parametrize(
    ("command", "reached", "send", "number"),
    [
        (QUICK, has_a_node, subprocess.Popen.send_signal, signal.SIGINT),
        (QUICK, asks, group, signal.SIGINT),
        (QUICK, asks, subprocess.Popen.send_signal, signal.SIGTERM),
        ((*COMITY, "demo"), has_started, group, signal.SIGINT),
    ],
    ids=["ctrl-c to the demo alone", "ctrl-c to all", "sigterm", "ctrl-c before there are nodes"],
)
def test_a_demo_that_is_interrupted_leaves_no_process_behind(
    command: tuple[str, ...],
    reached: Callable[[Path, Path], bool],
    send: Callable[[subprocess.Popen[bytes], int], None],
    number: int,
    tmp_path: Path,
) -> None:
    folder, output = tmp_path / "here", tmp_path / "output"
    folder.mkdir()
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while not reached(folder, output):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.01)
        send(process, number)
        assert process.wait(60) == 130, output.read_text()
        assert processes_in(folder) == {}
        said = output.read_text()
        assert said.rstrip().endswith("interrupted")
        assert "Traceback" not in said
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def shown_in_the_readme(command: str) -> list[str]:
    """What the README shows below `$ command`, line by line."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    return text.split(f"$ {command}\n")[1].split("\n```")[0].splitlines()


def without_what_varies(lines: list[str]) -> list[str]:
    """But for the seconds, and for the digest of a spec with other certificates in it."""
    return [re.sub(r"seconds: .*|spec [0-9a-f]{16}", "", line).rstrip() for line in lines]


def test_the_readme_shows_what_the_demos_nodes_answer(demo: Demo) -> None:
    explain = "comity explain out/demo/comity.toml delays"
    said = subprocess.run([*COMITY, *explain.split()[1:]], cwd=demo.folder, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == shown_in_the_readme(explain)

    run = "comity run delay_in_rain --node out/demo/united"
    nodes = [
        subprocess.Popen([*COMITY, "node", f"out/demo/{name}"], cwd=demo.folder, stderr=subprocess.DEVNULL) for name in NODES
    ]
    try:
        said = subprocess.run([*COMITY, *run.split()[1:]], cwd=demo.folder, capture_output=True, text=True, check=True)
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(20)
    assert without_what_varies(said.stdout.splitlines()) == without_what_varies(shown_in_the_readme(run))
