"""The real stack under audit: made-up tables of companies on this machine, their nodes, and what a coalition of them sees.

Of each query the auditor knows the exact answer, so what is left is the noise. All companies but the first few collude: they run
`parties.cli.colluding`, and take their own totals and noise off the answers. What remains, `unknown`, is noise of honest companies alone.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
from numpy.typing import NDArray

from mpc.errors import ComityError
from parties.cli.colluding import CRASH
from parties.cli.local import COMITY, companies, make_interruptible, nodes, wait_for
from parties.cli.run import run_on_node
from parties.governance.ledger import Entry, LedgerView
from parties.spec.load import Spec, load
from protocols.audit import Distribution, Values, gaussian, laplace
from protocols.planning.plan import Plan, Security
from protocols.planning.privacy import Noise

PEOPLE = 2
"""At each company, in each cell."""
LEAST_PAY, MOST_PAY = -7, 2
ROWS, GROUPS, TAKEN = 3, 4, 2
"""A crowd's people have so many rows in so many groups each; of both TAKEN count."""
CROWD = 100_000
"""Rows of the one with the most."""
ILLNESSES = 4
SMALLEST_RHO, LARGE_RHO = "1e-6", "20"


@dataclass(frozen=True)
class Setting:
    """What is audited, and on how many cells: `side` squared in a query."""

    security: Security
    epsilon: float
    delta: float
    side: int = 100

    @property
    def honest(self) -> Sequence[str]:
        return self.security.parties[: len(self.security.parties) - self.security.colluding]

    @property
    def coalition(self) -> Sequence[str]:
        return self.security.parties[len(self.honest) :]

    @property
    def cells(self) -> int:
        return self.side**2

    @property
    def pairs(self) -> int:
        """Groups of two people each, by postcode and by age, for the attack that intersects them."""
        return min(999, self.cells // 2)


@dataclass(frozen=True)
class Case:
    """An audit of epsilon: the query `select` over a table and over its neighbour, `runs` times, with which one unit in each
    cell moves the answer by `shift`, for whom `sees`."""

    name: str
    what: str
    mechanism: str
    epsilon: float
    select: str
    tables: tuple[str, str]
    shift: int
    sees: str = "coalition"
    runs: int = 1

    def queries(self) -> Iterator[tuple[str, str]]:
        """Names, and over which table."""
        for run in range(self.runs):
            for table in self.tables:
                yield f"{self.name}_{run}_{table}", table


def cases(setting: Setting, *, quick: bool) -> list[Case]:
    """The quick ones, and all."""
    size, pair, count = setting.epsilon, ("people", "neighbours"), "COUNT(*)"
    companies = len(setting.security.parties)
    listed = [
        Case("count", "a count", "gaussian", size, count, pair, 1, runs=1 if quick else 2),
        Case("pure", "a count", "laplace", size, count, pair, 1),
        Case("pay", f"a sum of {LEAST_PAY} to {MOST_PAY}, the one paid -10^9", "gaussian", size, "SUM(pay)", pair, LEAST_PAY),
    ]
    if quick:
        return listed
    return [
        *listed,
        Case("everywhere", "a count, a person at all companies", "gaussian", size, count, ("everywhere", "one_more"), companies, "receiver"),
        Case("count_4", "a count", "gaussian", min(4 * size, 1000), count, pair, 1),
        Case("pure_4", "a count", "laplace", min(4 * size, 1000), count, pair, 1),
    ]  # fmt: skip


# --- spec and tables ----------------------------------------------------------------------------------------------------


def spec_of(setting: Setting, audits: Iterable[Case]) -> str:
    security, cells = setting.security, setting.side - 1
    by_cell = f"a = {{ type = 'integer', lower = 0, upper = {cells} }}\nb = {{ type = 'integer', lower = 0, upper = {cells} }}\n"
    pay = f"pay = {{ type = 'integer', lower = {LEAST_PAY}, upper = {MOST_PAY} }}\n"
    ill = "ill = { type = 'integer', lower = 0, upper = 1 }\n"
    everywhere, bounded = f", companies = {len(security.parties)}", f", rows = {TAKEN}, groups = {TAKEN}"
    parts = [
        f"version = 1\nname = 'audit'\n[security]\nscheme = '{security.scheme}'\ncolluding = {security.colluding}\n",
        *(_table(name, by_cell + pay) for name in ("people", "neighbours")),
        *(_table(name, by_cell, everywhere) for name in ("everywhere", "one_more")),
        *(_table(name, by_cell + pay, bounded) for name in ("crowd", "shuffled")),
        _table("staff", by_cell + ill + "lead = { type = 'integer', lower = 0, upper = 1 }\n"),
        _table("patients", "".join(
            f"{name} = {{ type = 'integer', lower = 0, upper = {most} }}\n"
            for name, most in (("postcode", setting.pairs - 1), ("age", setting.pairs - 1), ("illness", ILLNESSES - 1))
        )),
    ]  # fmt: skip
    receiver, privacy = setting.coalition[-1], f"epsilon = {setting.epsilon!r}, delta = {setting.delta!r}"

    def query(name: str, sql: str, noise: str = privacy) -> None:
        parts.append(f'[queries.{name}]\nsql = "{sql}"\nreceivers = ["{receiver}"]\nprivacy = {{ {noise} }}\n')

    for case in audits:
        delta = f", delta = {setting.delta!r}" if case.mechanism == "gaussian" else ""
        for name, table in case.queries():
            noise = f"mechanism = '{case.mechanism}', epsilon = {case.epsilon!r}{delta}"
            query(name, f"SELECT a, b, {case.select} AS x FROM {table} GROUP BY a, b", noise)
    query("little", "SELECT a, b, SUM(pay) AS x FROM people GROUP BY a, b", f"rho = {SMALLEST_RHO}")
    for table in ("crowd", "shuffled"):
        query(table, f"SELECT a, b, COUNT(*) AS x, SUM(pay) AS y FROM {table} GROUP BY a, b", f"rho = {LARGE_RHO}")
    query("again", "SELECT a, COUNT(*) AS x FROM people GROUP BY a")
    query("staff_all", "SELECT a, b, SUM(ill) AS x FROM staff GROUP BY a, b")
    query("staff_but_leads", "SELECT a, b, SUM(ill) AS x FROM staff WHERE lead = 0 GROUP BY a, b")
    for key in ("postcode", "age"):
        query(f"by_{key}", f"SELECT {key}, illness, COUNT(*) AS x FROM patients GROUP BY {key}, illness")
    return "\n".join(parts) + "\n"


def _table(name: str, columns: str, unit: str = "") -> str:
    rows = 10_000_000
    return f"[tables.{name}]\nmax_rows = {rows}\nunit = {{ key = 'person'{unit} }}\n[tables.{name}.columns]\n{columns}"


def views(setting: Setting, company: int) -> dict[str, str]:
    """The company's own rows of each table, made of the cells' numbers. Those that one unit differs by are at the first
    company, which is honest, but for the unit that is at all of them."""
    side, cells, pairs = setting.side, setting.cells, setting.pairs
    cell = f"i // {side} AS a, i % {side} AS b"
    is_first, is_last = company == 0, company == len(setting.security.parties) - 1

    def people(name: str) -> str:
        who = f"'{company if name == 'people' else 'all'}-' || i || '-' || k AS person"
        return f"SELECT {who}, {cell}, (i + k) % 3 AS pay FROM source, range({PEOPLE}) r(k)"

    one = f"SELECT 'one-' || i AS person, {cell}, -1000000000 AS pay FROM source"
    crowd = (
        f"SELECT '{company}-' || i AS person, (i + g) % {cells} // {side} AS a, (i + g) % {cells} % {side} AS b, "
        f"(i * 7 + g * 5 + k * 3) % 20 - 15 AS pay FROM source, range({GROUPS}) r(g), range({ROWS}) s(k) "
        f"UNION ALL SELECT 'crowd-{company}', 0, 0, 1000000000 - k FROM range({CROWD}) r(k)"
    )
    nobody = "" if is_first else " WHERE i < 0"
    return {
        "people": people("people"),
        "neighbours": people("people") + f" UNION ALL {one}" * is_first,
        "everywhere": people("everywhere"),
        "one_more": people("everywhere") + f" UNION ALL {one}",
        "crowd": f"SELECT * FROM ({crowd})" + " WHERE a < 0" * (not is_first and not is_last),
        "shuffled": f"SELECT * FROM ({crowd})" + " WHERE a < 0" * (not is_first and not is_last) + " ORDER BY hash(person, a, b, pay)",
        "staff": f"SELECT i || '-' || k AS person, {cell}, CAST(k = 0 AS INTEGER) AS lead, "
        f"CASE WHEN k = 0 THEN ill ELSE (i + k) % 2 END AS ill FROM source, range({PEOPLE + 1}) r(k){nobody}",
        "patients": f"SELECT i AS person, i // 2 AS postcode, (i // 2 + i % 2 * {pairs // 3}) % {pairs} AS age, illness FROM "
        f"(SELECT * FROM source WHERE i < {2 * pairs}){nobody}",
    }


# --- a run --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """The answers to one query of one statistic, as integers of 10^-digits, and what the coalition knows of them."""

    plan: Plan
    answers: Values
    coalition_home: Values
    coalition_noise: Values

    @property
    def noise(self) -> Noise:
        return _of(self.plan)

    @property
    def one(self) -> int:
        return int(10**self.noise.digits)

    @property
    def unknown(self) -> Values:
        """What honest companies added up to, with their noise."""
        return self.answers - self.coalition_home * self.one - self.coalition_noise

    @cached_property
    def theirs(self) -> Distribution:
        """What the noise of honest companies has to be."""
        noise = self.noise
        if noise.mechanism == "laplace":
            return laplace(float(noise.parameter))
        return gaussian(noise.honest * float(noise.parameter))

    @cached_property
    def whole(self) -> Distribution:
        """What all Gaussian noise has to be."""
        return gaussian(self.noise.adding * float(self.noise.parameter))


@dataclass(frozen=True)
class Again:
    """One query asked for three times, the first of which did not end: what was opened, and each company's ledger before
    the third."""

    opened: Sequence[NDArray[np.int64]]
    ledgers: Sequence[Sequence[Entry]]


class Stack:
    """Nodes that run, and what they answer."""

    def __init__(self, setting: Setting, folders: Sequence[Path], start: Callable[[Path], None], spec: Spec, cells: Path) -> None:
        self.setting, self.spec = setting, spec
        self._folders, self._start, self._cells = folders, start, cells

    @cached_property
    def secrets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which lead is ill, and every patient's illness."""
        found = duckdb.read_parquet(str(self._cells)).order("i").fetchnumpy()
        return found["ill"].astype(np.int64), found["illness"].astype(np.int64)[: 2 * self.setting.pairs]

    def ask(self, names: Sequence[str], tell: Callable[[str], object]) -> dict[str, Seen]:
        """Two at a time: each query waits for its slowest node."""

        def one(name: str) -> Seen:
            result = run_on_node(name, self._folders[-1])
            tell(name)
            plan = self.spec.plans[name]
            column = result["columns"].index("x")
            values = np.array([float(row[column]) for row in result["rows"]]) * 10 ** _of(plan).digits
            colluding = [np.load(folder / f"{name}.npz") for folder in self._folders[len(self.setting.honest) :]]
            home = sum((known["home"][: plan.cells] for known in colluding), np.zeros(plan.cells))
            noise = sum((known["noise"][: plan.cells] for known in colluding), np.zeros(plan.cells))
            return Seen(plan, np.round(values), home, noise)

        with ThreadPoolExecutor(2) as pool:
            return dict(zip(names, pool.map(one, names), strict=True))

    def home(self, name: str) -> NDArray[np.int64]:
        """The exact totals of the last company."""
        found: NDArray[np.int64] = np.load(self._folders[-1] / f"{name}.npz")["home"]
        return found

    def again(self) -> Again:
        """The receiver is killed when it has opened the answer, before it says so to its ledger; then it asks again, twice."""
        folder = self._folders[-1]
        (folder / CRASH).touch()
        try:
            run_on_node("again", folder)
        except ComityError:
            pass
        else:
            raise ComityError("the node that was to crash did not")
        self._start(folder)
        wait_for([folder])
        run_on_node("again", folder)
        ledgers = []
        for each in self._folders:
            with LedgerView(each) as view:
                ledgers.append([entry for entry in view.entries() if entry.query == "again"])
        run_on_node("again", folder)
        lines = (folder / "again.opened").read_text().splitlines()
        return Again([np.array(json.loads(line)[0], dtype=np.int64) for line in lines], ledgers)


@contextmanager
def stack(setting: Setting, audits: Sequence[Case]) -> Iterator[Stack]:
    """The companies' nodes, in a folder that is gone at the end with all that is in it."""
    make_interruptible()
    names = setting.security.parties
    with TemporaryDirectory(prefix="comity-audit-") as root:
        cells = Path(root) / "cells.parquet"
        duckdb.sql(
            f"SELECT i, (hash(i) >> 20) % 2 AS ill, (hash(i) >> 40) % {ILLNESSES} AS illness FROM range({setting.cells}) t(i)"
        ).write_parquet(str(cells))
        configs = {
            name: "".join(
                f'[tables.{table}]\nsource = "{cells}"\nsql = """{view}"""\n' for table, view in views(setting, number).items()
            )
            for number, name in enumerate(names)
        }
        folders = companies(Path(root), names, spec_of(setting, audits), configs)
        honest = {folders[number] for number in range(len(setting.honest))}

        def command(folder: Path) -> Sequence[str]:
            if folder in honest:
                return [*COMITY, "node", str(folder)]
            return [sys.executable, "-m", "parties.cli.colluding", str(folder)]

        with nodes(folders, command) as start:
            wait_for(folders)
            yield Stack(setting, folders, start, load(Path(root) / "comity.toml"), cells)


def exact(setting: Setting, select: str, companies: int) -> Values:
    """Of the people at so many companies, by cell."""
    if select == "COUNT(*)":
        return np.full(setting.cells, float(PEOPLE * companies))
    places = np.arange(setting.cells)
    return companies * sum((((places + k) % 3).astype(np.float64) for k in range(PEOPLE)), np.zeros(setting.cells))


def names_of(count: int) -> tuple[str, ...]:
    """In their order: honest ones first."""
    return tuple(f"company-{number:0{len(str(count))}}" for number in range(1, count + 1))


def _of(plan: Plan) -> Noise:
    """The one noise of a query of the audit."""
    (noise,) = plan.noise[:1]
    assert isinstance(noise, Noise)
    return noise
