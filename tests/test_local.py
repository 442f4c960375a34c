"""Local privacy: noise that is enough at each company by itself, and randomised response.

Statistical tests say with which probability they fail on sound code, and each is shown to fail on a planted bug.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.algebra import Array
from mpc.randomness import Stream, fresh_seed
from mpc.simulate import simulate
from parties.spec.load import SpecError, loads
from parties.spec.sql import parse_query
from parties.wire import identity
from protocols.planning import randomised_response
from protocols.planning.disclosures import Disclosure, disclosures
from protocols.planning.execute import answer, draw_noise, execute, inputs
from protocols.planning.explain import INTERVAL, expected_errors, guarantee
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Noise, Privacy, Sensitivity, plan_noise
from protocols.planning.query import PlanError
from protocols.planning.randomised_response import WORDS, RandomisedResponse, moved_words, plan_response
from protocols.tables import Column, Table, Unit

COLUMNS = {
    "origin": Column("origin", "category", 0, 2, values=("EWR", "JFK", "LGA")),
    "hour": Column("hour", "integer", 0, 99),
    "day": Column("day", "integer", 0, 99),
    "delay": Column("delay", "integer", -60, 1440, nullable=True),
    "late": Column("late", "boolean", 0, 1, nullable=True),
}
WEATHER = Table(
    "weather", {"hour": COLUMNS["hour"], "rain": Column("rain", "integer", 0, 9)}, 100, ("p0",), owner="p0", key=("hour",)
)
REPLACE = Unit(neighbours="replace")
LOCAL = Privacy("gaussian", 20_000, Fraction(1), Fraction(1, 10**6), local=True)
RESPONSE = Privacy("randomised-response", 500_000, Fraction(1), local=True)
BY_ORIGIN = "SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin"

FALSE_ALARM = 1e-7
"""Of one comparison; no test makes more than ten on sound code."""


def plan(
    sql: str, privacy: Privacy | None = RESPONSE, unit: Unit | None = REPLACE, parties: int = 3, scheme: str = "additive",
    max_rows: int = 1_000_000, triples: str | None = None, **changed: Column,
) -> Plan:  # fmt: skip
    names = tuple(f"p{number}" for number in range(parties))
    flights = Table("flights", COLUMNS | changed, max_rows, names, unit=unit)
    query = parse_query("q", sql, {"flights": flights, "weather": WEATHER}, names[:1])
    colluding = parties - 1 if scheme == "additive" else (parties - 1) // 2
    return plan_query(replace(query, privacy=privacy), Security(names, scheme, colluding, triples))


def run(made: Plan, home: Sequence[Array]) -> list[list[int]]:
    """What the receiver opens, of these vectors at home."""

    def party(ctx: Any, vector: Array) -> Any:
        noise = draw_noise(made, made.security.parties[ctx.me], Stream(fresh_seed()))
        opened = execute(ctx, made, inputs(made, [vector], noise))
        assert ctx.measured == made.cost(ctx.me)
        return opened

    opened, *others = simulate(party, home, made.scheme, triples=None)
    assert others == [None] * len(others)
    return opened  # type: ignore[no-any-return]


def key() -> Array:
    return Stream(fresh_seed()).words((4,))


# --- noise that is enough by itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_all_that_a_unit_is_in_seen_one_by_one_costs_no_more_than_the_budget(mechanism: Any) -> None:
    """Each company's noisy totals without any sharing: m releases, each of what one company holds of the unit."""
    for adding in (1, 2, 3, 5):
        for companies in range(1, adding + 2):
            for twice, neighbours in ((1, "add-remove"), (2, "replace")):
                unit = Unit("person", companies, neighbours=neighbours)  # type: ignore[arg-type]
                privacy = replace(LOCAL, mechanism=mechanism)
                noise: Noise
                (noise,) = plan_noise(privacy, unit, [Sensitivity(4, 3)], [1], adding, 1)
                releases = min(companies, adding)
                if mechanism == "gaussian":
                    variance = noise.parameter / 100**noise.digits
                    assert releases * Fraction(4 * 3**2 * twice**2) / (2 * variance) == Fraction(privacy.micro_rho, 10**6)
                else:
                    assert noise.honest == 1  # one party's is Laplace noise itself
                    assert releases * Fraction(4 * 3 * twice) / noise.parameter == privacy.epsilon
                assert noise.local_deviation == pytest.approx(noise.deviation, rel=5e-3)


def test_local_noise_is_no_less_than_what_trusts_the_others() -> None:
    for mechanism, ratio in (("gaussian", math.sqrt(4)), ("laplace", math.sqrt(4))):
        privacy = replace(LOCAL, mechanism=mechanism)
        (alone,) = plan_noise(privacy, Unit(), [Sensitivity(1, 1)], [1], 5, 1)
        (together,) = plan_noise(replace(privacy, local=False), Unit(), [Sensitivity(1, 1)], [1], 5, 1)
        assert alone.deviation / together.deviation == pytest.approx(ratio, rel=2e-2)
        assert together.local_deviation == pytest.approx(alone.deviation, rel=5e-3)
        assert alone.central_deviation == together.central_deviation


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
@pytest.mark.parametrize("scheme", ["additive", "shamir"])
def test_local_noise_is_as_wide_as_planned(scheme: str, mechanism: Any) -> None:
    """10,000 cells: the mean square is off by 5.5 of its standard deviations with probability below 1e-7 for Gaussian noise, and
    so for Laplace with its fourth moment, which the sum of three Laplace terms is well below 6 variances squared of."""
    sql = "SELECT hour, day, COUNT(*) FROM flights GROUP BY hour, day"
    made = plan(sql, replace(LOCAL, mechanism=mechanism), Unit(), scheme=scheme)
    exact = np.arange(made.cells)
    found = answer(made, run(made, [exact, 2 * exact, 3 * exact]))
    errors = np.array([float(row[-1]) for row in found.rows]) - 6 * exact  # type: ignore[arg-type]
    slack = 6 * math.sqrt(5 / made.cells)

    def is_as_planned(noise: Any) -> bool:
        return abs(float((errors**2).mean()) / noise.deviation**2 - 1) < slack

    assert is_as_planned(made.noise[0])
    together = plan(sql, replace(LOCAL, mechanism=mechanism, local=False), Unit(), parties=5, scheme="shamir")
    assert not is_as_planned(together.noise[0])  # planted: noise that leaves a part to others


# --- randomised response: the choice ----------------------------------------------------------------------------------


def bounds_of_exp(epsilon: Fraction) -> tuple[Decimal, Decimal]:
    """Next below and above e^epsilon, in 120 digits."""
    with localcontext() as context:
        context.prec = 120
        exact = (Decimal(epsilon.numerator) / Decimal(epsilon.denominator)).exp()
        return exact * (1 - Decimal(10) ** -110), exact * (1 + Decimal(10) ** -110)


@settings(max_examples=100)
@given(st.fractions(Fraction(1, 10**6), 44, max_denominator=10**6), st.integers(2, 10_000))
def test_no_report_is_more_likely_from_one_cell_than_from_another_by_more_than_e_to_the_epsilon(
    epsilon: Fraction, cells: int
) -> None:
    moved = moved_words(epsilon, cells)
    below, above = bounds_of_exp(epsilon)
    with localcontext() as context:
        context.prec = 120
        assert Decimal(WORDS - (cells - 1) * moved) <= moved * below
        assert moved == 1 or Decimal(WORDS - (cells - 1) * (moved - 1)) > (moved - 1) * above  # and none smaller would do


def test_a_large_epsilon_moves_one_word_in_all() -> None:
    assert moved_words(Fraction(1000), 5) == moved_words(Fraction(45), 5) == 1


def test_a_unit_in_several_companies_is_reported_with_a_part_of_epsilon_by_each() -> None:
    for companies in (1, 2, 3):
        made = plan_response(RESPONSE, Unit("person", companies, neighbours="replace"), 7, 10, 3)
        with localcontext() as context:
            context.prec = 120
            assert (Decimal(made.kept) / made.moved) ** companies <= bounds_of_exp(Fraction(1))[1]
            assert (Decimal(made.kept) / made.moved) ** companies > Decimal(1).exp() - Decimal("1e-15")
    assert plan_response(RESPONSE, Unit("person", 9, neighbours="replace"), 7, 10, 3) == made


@dataclass
class Words:
    """A stream of chosen words."""

    chosen: list[int]

    def words(self, shape: tuple[int, ...]) -> Array:
        assert shape == (len(self.chosen),)
        return np.array(self.chosen, dtype=np.uint64)


def test_each_other_cell_is_reported_for_just_as_many_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first and the last word of each: those between belong to the same, since the number of a cell grows with the word."""
    response = plan(BY_ORIGIN).noise[0]
    assert isinstance(response, RandomisedResponse)
    q = response.moved
    edges = [(0, 1), (q - 1, 1), (q, 2), (2 * q - 1, 2), (2 * q, 0), (WORDS - 1, 0)]
    for own in range(3):
        for word, by in edges:
            monkeypatch.setattr(randomised_response, "Stream", lambda _, word=word: Words([word]))
            counts = np.eye(3, dtype=np.int64)[own]
            assert response.randomise(counts, key()).tolist() == np.eye(3, dtype=int)[(own + by) % 3].tolist()


def test_of_too_many_units_the_first_count_so_that_moving_one_moves_one_at_most() -> None:
    keeping = RandomisedResponse(3, 1, 10, plan(BY_ORIGIN).noise[0].beside)  # type: ignore[union-attr]

    def reported(*counts: int) -> list[int]:
        found: list[int] = keeping.randomise(np.array(counts, dtype=object), key()).tolist()
        return found

    assert reported(2, 3, 4) == [2, 3, 4]
    assert reported(10, 0, 0) == reported(10, 1, 0) == reported(10, 10, 10) == [10, 0, 0]
    assert reported(9, 1, 5) == [9, 1, 0]
    assert reported(0, 1 << 47, 1 << 47) == [0, 10, 0]
    assert reported(0, 0, 0) == [0, 0, 0]


def test_choices_follow_from_the_key_alone() -> None:
    response = plan(BY_ORIGIN).noise[0]
    assert isinstance(response, RandomisedResponse)
    counts, same = np.array([300_000, 200_000, 7]), key()
    assert response.randomise(counts, same).tolist() == response.randomise(counts, same).tolist()
    assert response.randomise(counts, same).tolist() != response.randomise(counts, key()).tolist()


# --- randomised response: what is reported, and what is made of it ----------------------------------------------------


def quantile() -> float:
    """Standard deviations that a Gaussian exceeds with probability FALSE_ALARM; one more for what a binomial of thousands differs."""
    return 5.4 + 1


def are_reported_as_planned(response: RandomisedResponse, randomise: Callable[[Array, Array], Array]) -> bool:
    """A million units of the first cell: each cell is reported as often as its probability says."""
    units = 1_000_000
    reported = randomise(np.array([units] + [0] * (response.cells - 1)), key())
    chances = [Fraction(response.kept, WORDS)] + [Fraction(response.moved, WORDS)] * (response.cells - 1)
    assert reported.sum() == units
    return all(
        abs(count - units * chance) <= quantile() * math.sqrt(units * chance * (1 - chance))
        for count, chance in zip(reported.tolist(), chances, strict=True)
    )


@pytest.mark.parametrize(("epsilon", "cells"), [("1", 3), ("0.1", 2), ("3", 9)])
def test_cells_are_reported_with_their_probabilities(epsilon: str, cells: int) -> None:
    """Ten comparisons at most, of 1e-7 each."""
    privacy = replace(RESPONSE, epsilon=Fraction(epsilon))
    response = plan_response(privacy, REPLACE, cells, 1_000_000, 3)
    assert are_reported_as_planned(response, response.randomise)
    # planted: a threshold that is off by 5 %
    assert not are_reported_as_planned(response, replace(response, moved=response.moved * 105 // 100).randomise)
    assert not are_reported_as_planned(response, replace(response, moved=response.moved * 95 // 100).randomise)

    def uneven(counts: Array, own: Array) -> Array:  # planted: every tenth replacement by the last cell is by the next one instead
        reported = response.randomise(counts, own)
        shift = reported[-1] // 10
        reported[1] += shift
        reported[-1] -= shift
        return reported

    assert cells == 2 or not are_reported_as_planned(response, uneven)


def repeat(response: RandomisedResponse, reading: RandomisedResponse, counts: list[int], times: int) -> Array:
    """(times, cells): estimates from independent reports, in rows their values and standard errors."""
    made = [reading.read(response.randomise(np.array(counts), key()).tolist()) for _ in range(times)]
    return np.array([[(float(cell.number), cell.deviation) for cell in cells] for cells in made])


def is_unbiased(estimates: Array, counts: list[int], deviations: list[float]) -> bool:
    """Their mean: `quantile` standard errors off with probability 1e-7 a cell."""
    means = estimates[:, :, 0].mean(axis=0)
    return all(
        abs(mean - count) <= quantile() * deviation / math.sqrt(len(estimates)) + 0.005
        for mean, count, deviation in zip(means, counts, deviations, strict=True)
    )


def is_as_wide(estimates: Array, deviations: list[float]) -> bool:
    """Their variance: of a nearly Gaussian sample its relative standard error is sqrt(2 / times)."""
    slack = quantile() * math.sqrt(2 / len(estimates))
    return all(abs(variance / deviation**2 - 1) <= slack for variance, deviation in zip(estimates[:, :, 0].var(axis=0), deviations, strict=True))


def test_estimates_are_unbiased_and_as_wide_as_said() -> None:
    """1,500 answers of 1,000 units each, four cells: eight comparisons of 1e-7 each."""
    counts = [0, 50, 250, 700]
    response = plan_response(RESPONSE, REPLACE, 4, 1_000, 3)
    p, q = Fraction(response.kept, WORDS), Fraction(response.moved, WORDS)
    exact = [math.sqrt(c * p * (1 - p) + (1000 - c) * q * (1 - q)) / float(p - q) for c in counts]
    assert [response.deviation(1000, c) for c in counts] == pytest.approx(exact, rel=1e-12)

    estimates = repeat(response, response, counts, 1_500)
    assert is_unbiased(estimates, counts, exact)
    assert is_as_wide(estimates, exact)
    assert np.allclose(estimates[:, :, 0].sum(axis=1), 1000, atol=0.02)  # how many there are stays exact
    # what each answer says of itself, from noisy counts, is nearly that
    assert estimates[:, :, 1].mean(axis=0) == pytest.approx(exact, rel=0.01)

    # planted: a q that is off by 5 % when estimates are made, and reports of all
    wrong = replace(response, moved=response.moved * 105 // 100)
    assert not is_unbiased(repeat(response, wrong, counts, 1_500), counts, exact)
    assert not is_as_wide(repeat(replace(response, moved=response.moved // 2), response, counts, 1_500), exact)


def test_an_interval_holds_the_exact_count_about_as_often_as_it_says() -> None:
    """95 of 100 in the limit; of 500 units in ten cells 93 to 97, by 20,000 answers' cells, which 6.4 standard deviations are 0.01 of."""
    counts = [500, *[0] * 4, *[20] * 5]
    response = plan_response(RESPONSE, REPLACE, 10, 1_000, 3)
    estimates = repeat(response, response, counts, 2_000)
    reach = INTERVAL["randomised-response"] * estimates[:, :, 1]
    covered = (np.abs(estimates[:, :, 0] - counts) <= reach).mean()
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("scheme", ["additive", "shamir"])
@pytest.mark.parametrize(
    ("sql", "home"),
    [
        (BY_ORIGIN, [[30_000, 0, 5], [0, 0, 0], [1, 2_000, 3]]),
        ("SELECT late, COUNT(*) AS n, COUNT(*) AS again FROM flights GROUP BY late", [[9, 0, 40_000]] * 3),
        ("SELECT HISTOGRAM(hour, 0, 50, 2) FROM flights", [[0, 100, 20_000, 0], [1, 1, 1, 1], [0, 0, 0, 0]]),
    ],
)
def test_three_companies_answer_with_estimates_of_their_totals(scheme: str, sql: str, home: list[list[int]]) -> None:
    """At most eight values: 1e-7 each."""
    made = plan(sql, scheme=scheme)
    exact = np.array(home).sum(axis=0)
    opened = run(made, [np.array(vector) for vector in home])
    found = answer(made, opened)
    assert sum(opened[0]) == exact.sum()
    assert opened[0] != exact.tolist()
    for row, errors, count in zip(found.rows, found.standard_error, exact.tolist(), strict=True):
        assert isinstance(errors[-1], float)
        assert abs(float(row[-1]) - count) <= quantile() * errors[-1] + 1  # type: ignore[arg-type]
        assert errors[0] is None
    assert found.error_bound[-1] == 0.005


def test_exact_counts_are_never_shared_in_place_of_reports() -> None:
    made = plan(BY_ORIGIN)
    with pytest.raises(ValueError, match="draw_noise comes first"):
        inputs(made, [np.array([1, 2, 3])])


def test_the_largest_table_stays_in_the_proven_range() -> None:
    made = plan(BY_ORIGIN, max_rows=1000)
    (_, exact), (what, noisy) = made.ranges
    assert what == "COUNT(*) with noise"
    assert noisy == exact == 3000
    opened = run(made, [np.array([1000, 1000, 1000])] * 3)
    assert sum(opened[0]) == 3000


# --- what is refused --------------------------------------------------------------------------------------------------


JOIN = "SELECT COUNT(*) FROM flights JOIN weather USING (hour)"
DROPPED = {"hour": replace(COLUMNS["hour"], outside="drop")}


@pytest.mark.parametrize(
    ("sql", "privacy", "unit", "reason", "changed"),
    [
        (JOIN, LOCAL, Unit(), "local privacy cannot be had for a join: companies share exact totals", {}),
        (JOIN, RESPONSE, REPLACE, "local privacy cannot be had for a join", {}),
        (BY_ORIGIN, RESPONSE, Unit(), 'not whether it is there: it asks for tables.flights.neighbours = "replace"', {}),
        (BY_ORIGIN, RESPONSE, Unit("person", 1, 2, 1, "replace"), "tables.flights.unit with rows = 1 and groups = 1", {}),
        (BY_ORIGIN, RESPONSE, Unit("person", 1, 1, 2, "replace"), "tables.flights.unit with rows = 1 and groups = 1", {}),
        (BY_ORIGIN, RESPONSE, None, "nobody says whose", {}),
        ("SELECT COUNT(*) FROM flights", RESPONSE, REPLACE, "it takes COUNT(*) with GROUP BY, or HISTOGRAM", {}),
        ("SELECT origin, COUNT(delay) FROM flights GROUP BY origin", RESPONSE, REPLACE, "and no other statistic", {}),
        ("SELECT origin, COUNT(*), SUM(delay) FROM flights GROUP BY origin", RESPONSE, REPLACE, "and no other statistic", {}),
        ("SELECT origin, AVG(hour) FROM flights GROUP BY origin", RESPONSE, REPLACE, "and no other statistic", {}),
        (BY_ORIGIN, RESPONSE, REPLACE, "it takes COUNT(*)", {"origin": replace(COLUMNS["origin"], upper=0, values=("EWR",))}),
        (BY_ORIGIN.replace("GROUP", "WHERE hour > 3 GROUP"), RESPONSE, REPLACE, "WHERE would say exactly how many meet", {}),
        (BY_ORIGIN, RESPONSE, REPLACE, 'with outside = "drop" of tables.flights.columns.hour', DROPPED),
        ("SELECT HISTOGRAM(delay, 0, 100, 10) FROM flights", RESPONSE, REPLACE, "delay may be NULL, which is in no bin", {}),
        (BY_ORIGIN, replace(RESPONSE, epsilon=Fraction(1, 10**15)), REPLACE, "says nothing at so small an epsilon", {}),
    ],
)  # fmt: skip
def test_what_local_privacy_cannot_be_had_for_is_refused_with_the_reason(
    sql: str, privacy: Privacy, unit: Unit | None, reason: str, changed: dict[str, Column]
) -> None:
    with pytest.raises(PlanError) as refused:
        plan(sql, privacy, unit, triples="dealer", **changed)
    assert reason in str(refused.value)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_against_whom_is_said() -> None:
    together, alone, reported = (
        "\n".join(guarantee(plan(BY_ORIGIN, privacy, unit)))
        for privacy, unit in ((replace(LOCAL, local=False), Unit()), (LOCAL, Unit()), (RESPONSE, REPLACE))
    )
    assert "even together with 2 of the 3 companies" in together
    assert "HKDF" in together
    for text in (alone, reported):
        assert "everybody but the companies that hold the rows: even all other companies together" in text
        assert "whoever breaks the sharing and TLS" in text
        assert "enough by itself" in text
        assert "HKDF" not in text
    assert "is there or not" in alone
    assert "not protected: whether somebody is in flights" in reported
    assert "epsilon = 1 (0.5-zCDP is charged): whether one row is in one group or in another" in reported
    assert "with probability 0.5761, and in each of the others with 0.2119" in reported
    assert "delta" not in reported


def test_that_their_number_stays_exact_is_disclosed() -> None:
    first, *implied = disclosures(plan(BY_ORIGIN))
    assert first.what == "COUNT(*) by origin, as reported by randomised response"
    assert implied[0] == Disclosure("the exact number of rows of flights that count", 1, ("p0",), True)
    assert implied[1].what == "the same number for p1 and p2 together, by taking away p0's own"
    assert disclosures(plan(BY_ORIGIN, LOCAL)) == (Disclosure("COUNT(*) by origin, with noise", 3, ("p0",)),)


def test_what_local_noise_would_give_stands_beside() -> None:
    def figures(sql: str, privacy: Privacy, unit: Unit, **others: Any) -> list[list[float]]:
        return [[float(text) for text in row[2:] if text] for row in expected_errors(plan(sql, privacy, unit, **others))]

    ours = replace(LOCAL, local=False)
    ((error, central, local),) = figures(BY_ORIGIN, ours, Unit(), parties=5, scheme="shamir")
    assert (error / central, local / central) == pytest.approx((math.sqrt(5 / 3), math.sqrt(5)), rel=1e-3)
    ((error, _, local),) = figures(BY_ORIGIN, LOCAL, Unit())
    assert error == local
    assert len(figures(JOIN, ours, Unit(), triples="dealer")[0]) == 2
    ((error, _, local),) = figures("SELECT HISTOGRAM(hour, 0, 50, 2) FROM flights", ours, Unit())
    assert error == local  # all others may collude
    for error, central, local in figures("SELECT AVG(delay) FROM flights", ours, Unit(), parties=5, scheme="shamir"):
        assert central < error < local

    rows = expected_errors(plan(BY_ORIGIN))
    assert [row[1] for row in rows] == [f"in every cell, of {n} rows spread over all" for n in ("100", "1,000", "10,000")]
    p, q = (chance / (math.e + 2) for chance in (math.e, 1))
    for rows_in_all, (_, _, error, central, local) in zip((100, 1_000, 10_000), rows, strict=True):
        variance = rows_in_all * (p * (1 - p) + 2 * q * (1 - q)) / 3 / (p - q) ** 2
        assert float(error) == pytest.approx(math.sqrt(variance), rel=1e-3)
        assert float(local) == pytest.approx(math.sqrt(3 * 2) * 2, rel=0.02)
        assert float(local) / float(central) == pytest.approx(math.sqrt(3), rel=0.01)


# --- in the spec ------------------------------------------------------------------------------------------------------

SPEC = """
version = 1
name = "local"
{parties}
[security]
scheme = "additive"
colluding = 2
[tables.flights]
max_rows = 1000
unit = {{ key = "person" }}
neighbours = "replace"
[tables.flights.columns]
origin = {{ type = "category", values = ["EWR", "JFK", "LGA"] }}
[queries.q]
sql = "SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin"
receivers = ["p0"]
privacy = {{ {privacy} }}
"""


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("identities")
    lines = [identity.one_line(identity.create(folder / name, name).der) for name in ("p0", "p1", "p2")]
    return "".join(f'[parties.p{i}]\naddress = "localhost:710{i}"\ncertificate = "{line}"\n' for i, line in enumerate(lines))


@pytest.mark.parametrize(
    ("privacy", "expected"),
    [
        ("epsilon = 1, delta = 1e-6, local = true", ("gaussian", Fraction(1), True)),
        ("rho = 0.1, local = false", ("gaussian", None, False)),
        ("rho = 0.1", ("gaussian", None, False)),
        ('mechanism = "laplace", epsilon = 0.3, local = true', ("laplace", Fraction(3, 10), True)),
        ('mechanism = "randomised-response", epsilon = 1', ("randomised-response", Fraction(1), True)),
        ('mechanism = "randomised-response", epsilon = 1, local = true', ("randomised-response", Fraction(1), True)),
    ],
)
def test_a_spec_asks_for_it(parties: str, privacy: str, expected: tuple[str, Fraction | None, bool]) -> None:
    made = loads(SPEC.format(parties=parties, privacy=privacy).encode()).plans["q"]
    asked = made.query.privacy
    assert asked is not None
    assert (asked.mechanism, asked.epsilon, asked.local) == expected
    if asked.mechanism == "randomised-response":
        assert asked.micro_rho == 500_000
        assert made.response is not None


@pytest.mark.parametrize(
    ("privacy", "place", "message"),
    [
        ('mechanism = "randomised-response", rho = 1', "", "randomised response takes epsilon, and neither delta nor rho"),
        (
            'mechanism = "randomised-response", epsilon = 1, delta = 1e-6', "",
            "randomised response takes epsilon, and neither delta nor rho",
        ),
        (
            'mechanism = "randomised-response", epsilon = 1, local = false', ".local",
            "randomised response is local: remove local = false",
        ),
        ('mechanism = "laplace", rho = 1, local = true', "", "laplace noise takes epsilon, and neither delta nor rho"),
    ],
)  # fmt: skip
def test_what_a_spec_may_not_ask_for_is_said(parties: str, privacy: str, place: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        loads(SPEC.format(parties=parties, privacy=privacy).encode())
    assert [(problem.place, problem.message) for problem in refused.value.problems] == [(f"queries.q.privacy{place}", message)]
