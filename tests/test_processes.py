"""Nodes as processes that are killed, stopped, cut off, kept waiting or sent flipped bits, in each phase of a query: all
others say who it was and in which step, no answer is wrong, and the next query is answered by the same nodes.

A proxy stands before alpha's port, and one before the dealer's. Neither reads what passes (it is TLS); but each phase
sends far more than all that is small (greetings, beats, pings), so the number of bytes says which phase it is.
"""

import itertools
import json
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import planted
import pytest
from cluster import Cluster
from proxy import Way

from mpc.errors import ComityError
from parties.cli.run import run_on_node

PARTIES = ("alpha", "beta", "gamma")
ASKING = "beta"
ITEMS = 999
WIDTH = 8 * ITEMS
"""Bytes of one value for each item: 8 kB."""

COLUMNS = f"""
item = {{ type = "integer", lower = 1, upper = {ITEMS} }}
n = {{ type = "integer", lower = 0, upper = 9_999_999 }}
"""

SPEC = f"""
[tables.everybodys]
max_rows = 10_000
[tables.everybodys.columns]
{COLUMNS}
[tables.others]
max_rows = 10_000
holders = ["beta", "gamma"]
[tables.others.columns]
{COLUMNS}
[tables.prices]
owner = "gamma"
key = ["item"]
max_rows = 10_000
[tables.prices.columns]
item = {{ type = "integer", lower = 1, upper = {ITEMS} }}
price = {{ type = "integer", lower = 0, upper = 9 }}
[tables.endless]
max_rows = 10
holders = ["alpha"]
[tables.endless.columns]
n = {{ type = "integer", lower = 0, upper = 9 }}
""" + "".join(
    f'[queries.{name}]\nsql = "{sql}"\nreceivers = ["alpha", "beta", "gamma"]\n'
    for name, sql in {
        "endless": "SELECT SUM(n) FROM endless",
        "everybodys": "SELECT item, SUM(n), COUNT(*), SUM(item) FROM everybodys GROUP BY item",
        "others": "SELECT item, SUM(n), COUNT(*), SUM(item) FROM others GROUP BY item",
        "join": "SELECT SUM(n * price) FROM others JOIN prices USING (item)",
    }.items()
)

ENDLESS = "SELECT n FROM source WHERE (SELECT SUM(a.range * b.range) FROM range(1000000) a, range(1000000) b) > 0"


def held_by(seed: int) -> dict[int, int]:
    """A company's rows: n by item."""
    return {item: item * seed * 7919 % 1_000_003 for item in range(seed, ITEMS + 1, seed)} | {ITEMS: planted.NUMBER + seed}


PRICES = {item: item % 9 + 1 for item in range(1, ITEMS + 1)}


def summed(*holders: dict[int, int]) -> list[list[int]]:
    return [
        [item, sum(rows.get(item, 0) for rows in holders), (n := sum(item in rows for rows in holders)), n * item]
        for item in range(1, ITEMS + 1)
    ]


ALPHAS, BETAS, GAMMAS = held_by(1), held_by(2), held_by(3)
ANSWERS = {
    "everybodys": summed(ALPHAS, BETAS, GAMMAS),
    "others": summed(BETAS, GAMMAS),
    "join": [[sum(rows[item] * PRICES[item] for rows in (BETAS, GAMMAS) for item in rows)]],
}


class Phase(NamedTuple):
    """Of `query`: byte `at` that its victim sends on each of two connections is within the phase, in which beta, who asks,
    gets as far as `beta`. Where `at` is None, the victim computes at home, and sends only beats."""

    query: str
    at: int | None
    beta: str
    victim: str = "alpha"


PHASES = {
    "agreement": Phase("others", 100, ""),
    "local": Phase("endless", None, "open"),  # beta gets no shares of alpha's, but gamma does
    "share": Phase("everybodys", WIDTH, "open"),
    "compute": Phase("join", WIDTH, "compute"),
    "triples": Phase("join", WIDTH // 2, "compute", "dealer"),
    "open": Phase("others", WIDTH, "open"),
}


AGREEING = r"at the agreement|has ended it"  # the latter where one dials a session that has failed already
AT_WORK = r"at (the home query|step [0-9]+ \((share|triples|multiply|reveal)(, block [0-9]+)?\))$"


class Nodes(Cluster):
    """Running nodes that have to answer again after each fault."""

    def ask(self, query: str) -> Future[dict]:
        """Asks beta's node as `comity run` does."""
        self._before = {name: len(self.log(name)) for name in self.everybody}
        self.phases = phases = [""]
        return self._asking.submit(run_on_node, query, self[ASKING], phases.append)

    def since(self, name: str) -> str:
        """What `name` has logged since the query was asked."""
        return self.log(name)[self._before[name] :]

    def wait_for_phase(self, phase: str) -> None:
        """Until beta is in it."""
        until = time.monotonic() + 60
        while phase not in self.phases:
            assert time.monotonic() < until, f"{self.phases} but not {phase}"
            time.sleep(0.01)

    def wait_for(self, name: str, text: str) -> str:
        """The rest of the line in which `name` has logged `text`, since the query was asked."""
        until = time.monotonic() + 60
        while text not in self.since(name):
            assert time.monotonic() < until, f"{name} has not logged {text!r}:\n{self.log(name)}"
            time.sleep(0.02)
        return self.since(name).split(text, 1)[1].splitlines()[0]

    def answers(self, query: str) -> None:
        assert self.ask(query).result(60)["rows"] == ANSWERS[query]

    def written(self) -> Iterator[tuple[str, list]]:
        """Each answer that a node has written down since it was last asked for, which is removed."""
        for file in self.folder.glob("*/results/*.json"):
            result = json.loads(file.read_text())
            file.unlink()
            yield result["query"], result["rows"]

    def __enter__(self) -> "Nodes":
        self._asking = ThreadPoolExecutor(1)
        return self


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    with Nodes(
        folder, PARTIES, scheme="shamir", triples="dealer", tables=SPEC, deadline=3, proxied=("alpha", "dealer")
    ) as companies:
        tables = {"everybodys": (ALPHAS, BETAS, GAMMAS), "others": (None, BETAS, GAMMAS), "prices": (None, None, PRICES)}
        for table, holdings in tables.items():
            for name, rows in zip(PARTIES, holdings, strict=True):
                if rows is not None:
                    value = "price" if table == "prices" else "n"
                    listed = ", ".join(map(str, rows.items()))
                    companies.hold(name, table, f"SELECT *, '{planted.TEXT}' AS note FROM (VALUES {listed}) t(item, {value})")
        companies.hold("alpha", "endless", "SELECT 1 AS n", ENDLESS)
        companies.approve()
        companies.start()
        for name in companies.everybody:
            companies.wait_for_log(name, "approved spec", 120)
        companies.answers("join")  # all are connected from now on
        yield companies
        assert set(companies.stop().values()) == {0}
        assert not any("Traceback" in companies.log(name) for name in companies.everybody)


@pytest.fixture
def nodes(running: Nodes) -> Iterator[Nodes]:
    """Once the test has done its harm, all is made as it was, and every node must answer."""
    yield running
    for name in running.everybody:
        if name in running.processes:
            running.signal(name, signal.SIGCONT)
        else:
            running.start(name)
    for proxy in running.proxies.values():
        proxy.heal()
    running.answers("join")
    for query, rows in running.written():
        assert rows == ANSWERS[query]


def stop(nodes: Nodes, phase: Phase) -> None:
    nodes.signal(phase.victim, signal.SIGSTOP)


def kill(nodes: Nodes, phase: Phase) -> None:
    nodes.signal(phase.victim, signal.SIGKILL)
    nodes.processes.pop(phase.victim).wait()
    nodes.proxies[phase.victim].cut()  # with what was held of the dead


def cut(nodes: Nodes, phase: Phase) -> None:
    nodes.proxies[phase.victim].cut()


def delay(nodes: Nodes, phase: Phase) -> None:
    """Beyond the deadline: what the proxy holds it goes on holding."""


def flip_sent(nodes: Nodes, phase: Phase) -> None:
    nodes.proxies[phase.victim].flip_next("out")


def flip_received(nodes: Nodes, phase: Phase) -> None:
    nodes.proxies[phase.victim].flip_next("in")


FAULTS = (stop, kill, cut, delay, flip_sent, flip_received)


def others_name_it(nodes: Nodes, phase: Phase, asked: Future[dict], ends: Iterable[str] = ()) -> None:
    """Every other node of the session has ended it, and says who failed, and where: the victim, or one of `ends` at the
    other end of its connections."""
    with pytest.raises(ComityError) as raised:
        asked.result(60)
    for other in [*PARTIES, *(["dealer"] if phase.query == "join" else [])]:
        if other != phase.victim:
            said = nodes.wait_for(other, f"{phase.query} failed: ")
            assert any(name in said for name in {phase.victim, *ends}), (other, said)
            assert re.search(AGREEING if phase is PHASES["agreement"] else AT_WORK, said), (other, said)
            assert other != ASKING or said == str(raised.value)


def reach(nodes: Nodes, phase: Phase) -> Future[dict]:
    """Asks for the query, and waits until it is in the midst of the phase, where it is held."""
    proxy = nodes.proxies[phase.victim]
    if phase.at is not None:
        if phase is PHASES["agreement"]:  # of which the bytes are few
            proxy.wait_until_quiet()
        proxy.hold("out", phase.at)
    asked = nodes.ask(phase.query)
    if phase.at is None:
        for name in PARTIES:  # all have heard of all others, so nothing of the agreement is held
            nodes.wait_for(name, "agreed query=")
        proxy.hold("out", 0)
    proxy.wait_until_held("out", links=2)
    nodes.wait_for_phase(phase.beta)
    return asked


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
def test_all_others_name_the_peer_and_the_step(nodes: Nodes, phase: Phase, fault: Callable[[Nodes, Phase], None]) -> None:
    asked = reach(nodes, phase)
    fault(nodes, phase)
    # a victim that can speak to some says whom it has lost, and they pass it on; alpha can always speak to the dealer
    speaks = fault in (flip_sent, flip_received) or (fault in (cut, delay) and phase is PHASES["compute"])
    others_name_it(nodes, phase, asked, PARTIES if speaks else ())


def test_a_node_that_works_at_home_stops_when_it_is_told_that_the_query_failed(nodes: Nodes) -> None:
    asked = reach(nodes, PHASES["local"])
    nodes.signal("gamma", signal.SIGSTOP)  # which nobody waits for: alpha is busy, beta waits for it
    nodes.proxies["alpha"].heal()
    with pytest.raises(ComityError, match="alpha lost gamma at the home query"):
        asked.result(60)
    assert "gamma sent nothing for 3 s at the home query" in nodes.wait_for("alpha", "endless failed: ")


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "local"])
def test_a_delay_within_the_deadline_changes_nothing(nodes: Nodes, phase: str) -> None:
    asked = reach(nodes, PHASES[phase])
    time.sleep(0.5)
    nodes.proxies[PHASES[phase].victim].heal()
    assert asked.result(60)["rows"] == ANSWERS[PHASES[phase].query]


@pytest.mark.slow
def test_a_query_that_takes_a_minute_at_home_goes_on(nodes: Nodes) -> None:
    asked = reach(nodes, PHASES["local"])
    nodes.proxies["alpha"].heal()
    wait([asked], 60)
    assert not asked.done()
    nodes.proxies["alpha"].cut()
    others_name_it(nodes, PHASES["local"], asked)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["out", "in"])
@pytest.mark.parametrize(("query", "victim"), [*((query, "alpha") for query in ANSWERS), ("join", "dealer")])
def test_wherever_a_connection_is_cut_or_a_bit_flips_no_answer_is_wrong(nodes: Nodes, query: str, way: Way, victim: str) -> None:
    proxy = nodes.proxies[victim]
    places = itertools.chain(range(0, 1_000, 50), range(1_000, 4 * WIDTH, 997))
    for at, fault in itertools.product(places, (proxy.cut, lambda: proxy.flip_next(way))):
        proxy.hold(way, at)
        asked = nodes.ask(query)
        while not asked.done() and not proxy.held(way):
            wait([asked], 0.01)
        fault()
        error = asked.exception(60)
        if error is None:
            assert asked.result()["rows"] == ANSWERS[query]
        else:
            assert isinstance(error, ComityError)
            assert any(name in str(error) for name in nodes.everybody), error
        proxy.heal()
        nodes.answers(query)
