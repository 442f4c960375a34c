"""comity audit-privacy"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mpc.errors import ComityError
from parties.cli.audit_nodes import (
    CROWD,
    GROUPS,
    ILLNESSES,
    ROWS,
    TAKEN,
    Case,
    Seen,
    Setting,
    Stack,
    cases,
    exact,
    names_of,
    stack,
)
from parties.cli.table import console, counted
from parties.governance.approval import Approval
from parties.node.config import read_config
from parties.wire import identity
from protocols.accounting import micro_rho
from protocols.audit import (
    ALARM,
    Attack,
    Bound,
    Check,
    Values,
    audit,
    best_threshold,
    check_contribution,
    check_deviation,
    check_epsilon,
    check_fact,
    check_independent,
    check_shape,
    check_zeros,
    differenced,
    gaussian_epsilon,
    intersected,
    is_member,
    most_success,
    success,
)
from protocols.planning.explain import REPORTED_DELTA
from protocols.planning.plan import Security
from protocols.planning.privacy import Privacy

OTHERS = ("little", "crowd", "shuffled", "staff_all", "staff_but_leads", "by_postcode", "by_age")
QUICK_SIDE, SIDE = 50, 100


@dataclass(frozen=True)
class Audited:
    """An audit of epsilon: what is claimed, what was seen in `samples` answers on either table, what such a test sees in
    a middling case, and what the best possible one could with any number of answers."""

    what: str
    mechanism: str
    sees: str
    claimed: float
    delta: float
    measured: float
    through_mu: float | None
    middling: float
    best: float
    samples: int


@click.command("audit-privacy")
@click.option(
    "--node", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Take companies, scheme, colluding, epsilon and delta from the spec that this node approved.",
)  # fmt: skip
@click.option("--companies", type=click.IntRange(2, 10), help="How many. [default: 3]")
@click.option("--colluding", type=click.IntRange(1, 9), help="How many of them pool all they know. [default: all but one]")
@click.option("--epsilon", type=click.FloatRange(0.1, 100), help="What the audited queries claim. [default: 1]")
@click.option("--delta", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="At this delta. [default: 1e-6]")
@click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path, dir_okay=False), help="Also draw what was measured.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--quick", is_flag=True, help="A quarter of the answers, fewer queries: sees bugs of a tenth, not of a twentieth.")
def audit_privacy(
    node: Path | None, companies: int | None, colluding: int | None, epsilon: float | None, delta: float | None,
    plot: Path | None, format_: str, quick: bool,
) -> None:  # fmt: skip
    """Measure how much answers with noise give away, on this installation, beside what is claimed.

    Companies with made-up tables run nodes of this installation on this machine, in a folder that is removed at the end: no data, no
    budget and no running node of your company are touched. Some of them collude. Answers on tables that differ by one person give a lower bound on
    epsilon; the noise is compared with its exact distribution; a node is killed and asked again; and released answers are attacked.
    Each test fails without a reason at most once in a million times. Exit status 1 when one fails.
    """
    if plot is not None and not plot.parent.is_dir():
        raise click.BadParameter(f"there is no folder {plot.parent}", param_hint="--plot")
    started = time.monotonic()
    setting = _setting(node, companies, colluding, epsilon, delta, QUICK_SIDE if quick else SIDE)
    say = console(stderr=format_ == "json")
    progress = console(stderr=True)
    with progress.status("starting the nodes") if progress.is_terminal else nullcontext() as status:

        def tell(what: str) -> None:
            if status:
                status.update(f"answered: {what}")

        listed = cases(setting, quick=quick)
        with stack(setting, listed) as running:
            audits, checks, attacks = conclude(setting, listed, running, tell)
    result = {
        "companies": len(setting.security.parties), "colluding": setting.security.colluding, "scheme": setting.security.scheme,
        "epsilon": setting.epsilon, "delta": setting.delta, "audits": [asdict(item) for item in audits],
        "checks": [asdict(item) for item in checks], "attacks": [asdict(item) for item in attacks],
        "passed": all(check.passed for check in checks), "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    if format_ == "json":
        click.echo(json.dumps(result))
    else:
        _print(result, say)
    if plot is not None:
        draw(result, plot)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise ComityError(f"the privacy that is claimed does not hold here: {'; '.join(failed)}")


def _setting(
    node: Path | None, companies: int | None, colluding: int | None, epsilon: float | None, delta: float | None, side: int
) -> Setting:
    """Of the options, then of the node's spec, then the usual."""
    scheme = "additive"
    if node is not None:
        config = read_config(node)
        spec = Approval(node, config.name, identity.load(node)).current().spec
        scheme = spec.security.scheme
        if companies is None:
            companies = len(spec.security.parties)
            colluding = colluding or spec.security.colluding
        asked: list[Privacy] = [plan.query.privacy for plan in spec.plans.values() if plan.query.privacy is not None]
        dearest = max(asked, key=lambda privacy: privacy.micro_rho, default=None)
        if dearest is not None and dearest.epsilon is not None:
            epsilon = epsilon or float(dearest.epsilon)
            delta = delta or (None if dearest.delta is None else float(dearest.delta))
    companies = companies or 3
    most = companies - 1 if scheme == "additive" else (companies - 1) // 2
    if colluding is not None and colluding > most:
        raise ComityError(f"of {companies} companies at most {most} may collude ({scheme})")
    security = Security(names_of(companies), scheme, colluding or most)
    return Setting(security, epsilon or 1.0, delta or REPORTED_DELTA, side)


# --- what is concluded --------------------------------------------------------------------------------------------------


def conclude(
    setting: Setting, listed: Sequence[Case], running: Stack, tell: Callable[[str], object]
) -> tuple[list[Audited], list[Check], list[Attack]]:
    """Asks for everything, and judges it."""
    seen = running.ask([*(name for case in listed for name, _ in case.queries()), *OTHERS], tell)
    audits, checks = audited(setting, listed, seen)
    checks += noise_checks(setting, listed[0], seen)
    checks += other_checks(seen["crowd"], running)
    return audits, checks, attacked(setting, listed[0], seen, *running.secrets)


def residuals(setting: Setting, case: Case, seen: Mapping[str, Seen]) -> tuple[Values, Values]:
    """The answers less what is known without the unit in question: on the table, and on its neighbour, where `shift` is left.
    For a negative shift both with the other sign."""
    companies = len(setting.honest) if case.sees == "coalition" else len(setting.security.parties)
    known, sign = exact(setting, case.select, companies), 1 if case.shift > 0 else -1
    found: dict[str, list[Values]] = {table: [] for table in case.tables}
    for name, table in case.queries():
        answer = seen[name]
        values = answer.unknown if case.sees == "coalition" else answer.answers
        found[table].append(sign * (values - known * answer.one))
    without, having = (np.concatenate(found[table]) for table in case.tables)
    return without, having


def audited(setting: Setting, listed: Iterable[Case], seen: Mapping[str, Seen]) -> tuple[list[Audited], list[Check]]:
    """Each case's lower bound beside its claim."""
    audits, checks = [], []
    for case in listed:
        without, having = residuals(setting, case, seen)
        first = seen[next(case.queries())[0]]
        is_gaussian = case.mechanism == "gaussian"
        noise = first.theirs if case.sees == "coalition" else first.whole
        shift, delta = abs(case.shift) * first.one, setting.delta if is_gaussian else 0.0
        threshold, middling = best_threshold(noise, shift, without.size, delta)
        bound: Bound = audit(without, having, threshold, shift / 2, delta)
        privacy = first.plan.query.privacy
        assert privacy is not None
        rho = privacy.micro_rho / 1e6
        name = f"epsilon of {case.what} ({case.mechanism}, {case.epsilon:g})"
        checks.append(check_epsilon(name, bound, case.epsilon, rho if is_gaussian else None))
        best = gaussian_epsilon(shift / noise.deviation, delta) if is_gaussian else case.epsilon
        audits.append(Audited(
            case.what, case.mechanism, case.sees, case.epsilon, delta, bound.epsilon, bound.through_mu if is_gaussian else None,
            middling, best, without.size,
        ))  # fmt: skip
    return audits, checks


def noise_checks(setting: Setting, case: Case, seen: Mapping[str, Seen]) -> list[Check]:
    """Of the answers of the first case, a count with Gaussian noise: size, shape and independence of what is random in them."""
    pairs = list(case.queries())
    first, second = seen[pairs[0][0]], seen[pairs[1][0]]
    without, having = residuals(setting, case, seen)
    unknown = np.concatenate([without, having - case.shift * first.one])
    people = len(setting.security.parties), len(setting.honest)
    whole = np.concatenate([
        seen[name].answers - (exact(setting, case.select, people[0]) + (table == case.tables[1])) * first.one for name, table in pairs
    ])  # fmt: skip
    little = seen["little"]
    rest = little.unknown - exact(setting, "SUM(pay)", people[1]) * little.one
    half = without[: setting.cells], having[: setting.cells] - case.shift * first.one
    own = np.concatenate([first.coalition_noise, second.coalition_noise])
    return [
        check_deviation("size of the honest companies' noise", "noise that is too small, a lost share, a wrong divisor", unknown, first.theirs),
        check_deviation("size of all noise", "a lost share, a seed that companies share", whole, first.whole),
        check_shape(unknown, first.theirs),
        check_zeros(rest, little.theirs),
        check_independent("noise of two answers", "noise that is used again", *half),
        check_independent("noise of adjacent cells", "noise shared by cells", unknown[:-1], unknown[1:]),
        check_independent("noise of two companies", "a seed that companies share", np.concatenate(half), own),
    ]


def other_checks(crowd: Seen, running: Stack) -> list[Check]:
    """Contributions, the order of rows, and asking again after a crash."""
    setting, again = running.setting, running.again()
    units = setting.cells * TAKEN * TAKEN + TAKEN
    charges = {entry.charges for ledger in again.ledgers for entry in ledger}
    return [
        check_contribution(crowd.unknown / crowd.one, units, crowd.theirs.deviation / crowd.one),
        check_fact(
            "rows in another order", "a choice of rows that depends on their order",
            f"same totals of {setting.cells:,} units with {ROWS * GROUPS} rows each, one with {CROWD:,}",
            holds=bool(np.array_equal(running.home("crowd"), running.home("shuffled"))),
        ),
        check_fact(
            "killed and asked again", "fresh noise on a retry, which averages away", "the same answer from a node that was killed",
            holds=bool(np.array_equal(again.opened[0], again.opened[1])),
        ),
        check_fact(
            "charged once for both", "a budget that is charged twice, or not at all", "one charge in all ledgers, and the same",
            holds=all(len(ledger) == 1 for ledger in again.ledgers) and len(charges) == 1,
        ),
        check_fact(
            "new noise for a new charge", "noise that is never drawn again, so that differences are exact",
            "another answer once it is charged anew", holds=not np.array_equal(again.opened[1], again.opened[2]),
        ),
    ]  # fmt: skip


def attacked(
    setting: Setting, case: Case, seen: Mapping[str, Seen], ill: NDArray[np.int64], illness: NDArray[np.int64]
) -> list[Attack]:
    """Each attack with all that the coalition knows, and on exact answers, which are those of the rows themselves."""
    price = micro_rho(setting.epsilon, setting.delta)
    one = seen[next(case.queries())[0]].one
    without, having = (values / one for values in residuals(setting, case, seen))
    absent, present = np.zeros(without.size), np.ones(having.size)
    truth = np.repeat([False, True], [without.size, having.size])

    def members(absent: Values, present: Values) -> float:
        return success(is_member(np.concatenate([absent, present]), np.zeros(truth.size)), truth)

    every, rest = (seen[name].unknown / seen[name].one for name in ("staff_all", "staff_but_leads"))
    usual = max(float(np.mean(ill)), 1 - float(np.mean(ill)))
    people = np.arange(2 * setting.pairs)
    places = people // 2, (people // 2 + people % 2 * (setting.pairs // 3)) % setting.pairs

    def patients(tables: Sequence[Values]) -> float:
        first, second = (table.reshape(-1, ILLNESSES)[place] for table, place in zip(tables, places, strict=True))
        return success(intersected(first, second), illness)

    counts = [
        np.bincount(place * ILLNESSES + illness, minlength=setting.pairs * ILLNESSES).astype(np.float64) for place in places
    ]
    commonest = float(np.bincount(illness).max() / illness.size)
    return [
        Attack(
            "membership", "whether somebody is in a count, of whose group all others are known", truth.size, 0.5,
            members(absent, present), members(without, having), most_success(0.5, price, setting.delta),
        ),
        Attack(
            "differencing", "whether a team's lead is ill, from the ill of a team with and without its lead", ill.size, usual,
            success(differenced(ill.astype(np.float64), np.zeros(ill.size)), ill == 1), success(differenced(every, rest), ill == 1),
            most_success(usual, 2 * price, setting.delta),
        ),
        Attack(
            "intersection", f"which of {ILLNESSES} illnesses somebody has, from counts by postcode and by age", illness.size, commonest,
            patients(counts), patients([seen[name].unknown / seen[name].one for name in ("by_postcode", "by_age")]),
            # two answers; and another illness is another unit in the place of one, of which either counts: (1 + 1)^2 times the price
            most_success(commonest, 8 * price, setting.delta),
        ),
    ]  # fmt: skip


# --- for people ---------------------------------------------------------------------------------------------------------


def _print(result: Mapping[str, Any], say: Console) -> None:
    say.print(
        f"{result['companies']} companies, of which {result['colluding']} collude ({result['scheme']}); epsilon {result['epsilon']:g} "
        f"at delta {result['delta']:g}; made-up rows, nodes of this installation"
    )
    table = Table(title="epsilon: what was seen, beside what is claimed", title_justify="left")
    for name in ("query", "noise", "seen by", "claimed", "at least", "if Gaussian", "such a test sees", "the best test sees", "answers"):
        table.add_column(name, justify="left" if name in ("query", "noise", "seen by") else "right", overflow="fold")
    for item in result["audits"]:
        mu = "" if item["through_mu"] is None else f"{item['through_mu']:.3f}"
        table.add_row(
            item["what"], item["mechanism"], item["sees"], f"{item['claimed']:g}", f"{item['measured']:.3f}", mu,
            f"{item['middling']:.3f}", f"{item['best']:.3f}", f"2 x {item['samples']:,}",
        )  # fmt: skip
    say.print(table)
    table = Table(title="checks", title_justify="left")
    for name in ("check", "would catch", "measured", "expected", "false alarms", ""):
        table.add_column(name, overflow="fold")
    for item in result["checks"]:
        alarm = f"{item['alarm']:g}" if item["alarm"] else "none"
        table.add_row(item["name"], item["catches"], item["measured"], item["expected"], alarm, "ok" if item["passed"] else "FAILED")
    say.print(table)
    table = Table(title="attacks: how often they are right", title_justify="left")
    for name in ("attack", "learns", "guessing", "exact answers", "with noise", "at most"):
        table.add_column(name, justify="left" if name in ("attack", "learns") else "right", overflow="fold")
    for item in result["attacks"]:
        rates = (f"{100 * item[name]:.1f}%" for name in ("guessing", "exact", "noisy", "most"))
        table.add_row(item["name"], f"{item['learns']} ({counted(item['targets'], 'target')})", *rates)
    say.print(table)
    failed = sum(not item["passed"] for item in result["checks"])
    verdict = "all passed" if not failed else f"{failed} FAILED"
    say.print(f"{counted(len(result['checks']), 'check')}, each with false alarms of {ALARM:g} at most: {verdict}; {result['seconds']:g} s")


def draw(result: Mapping[str, Any], file: Path) -> None:
    """Epsilon measured beside claimed, and what attacks reach."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ComityError("plots need matplotlib: pip install 'comity[plot]'") from None
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    audits = sorted(result["audits"], key=lambda item: item["claimed"])
    most = 1.1 * max(item["claimed"] for item in audits)
    left.plot([0, most], [0, most], color="black", linewidth=1, label="claimed")
    for mechanism, marker in (("gaussian", "o"), ("laplace", "s")):
        items = [item for item in audits if item["mechanism"] == mechanism]
        claimed = [item["claimed"] for item in items]
        left.plot(claimed, [item["measured"] for item in items], marker, label=f"{mechanism}, at least")
        if mechanism == "gaussian":
            left.plot(claimed, [item["through_mu"] for item in items], "^", label="gaussian, if its shape is one")
            left.plot(claimed, [item["best"] for item in items], "_", markersize=14, label="gaussian, the best test")
    left.set_xlabel("epsilon claimed")
    left.set_ylabel("epsilon measured (lower bound)")
    left.legend()
    places, width = np.arange(len(result["attacks"])), 0.2
    for step, (name, label) in enumerate((("guessing", "guessing"), ("noisy", "with noise"), ("most", "at most, by the claim"), ("exact", "exact answers"))):
        right.bar(places + (step - 1.5) * width, [100 * item[name] for item in result["attacks"]], width, label=label)
    right.set_xticks(places, [item["name"] for item in result["attacks"]])
    right.set_ylabel("attacker right, %")
    right.set_ylim(0, 130)
    right.legend(ncols=2)
    figure.suptitle(f"{result['companies']} companies, {result['colluding']} colluding, epsilon {result['epsilon']:g}")
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ComityError(f"cannot write {file}: {error}") from None
