"""The plan of a query, worked out from the spec alone: what runs at home, what is shared, the ranges proven, the
cost, and every value that will be opened, to whom. Pure: every node makes the same plan, or nobody starts."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from math import comb, prod
from operator import add
from typing import TypeVar

from mpc.algebra import Shape
from mpc.correlations import LARGEST_REQUEST, Kind, Row
from mpc.cost import Cost
from mpc.noise import gaussian_steps_count
from mpc.schemes import PartyId, Scheme
from mpc.schemes.named import schemes
from mpc.schemes.replicated import Replicated
from mpc.triples.named import triple_source
from protocols.expression import (
    Arithmetic,
    Bin,
    Case,
    Comparison,
    Membership,
    Node,
    Number,
    Reference,
    aligned,
    magnitude,
)
from protocols.gadgets import dot_cost, gaussian_cost, reveal_cost, share_cost
from protocols.planning.descent import Descent, descend_cost, descent_of, with_noise
from protocols.planning.filters import parts_of
from protocols.planning.joining import Join, join_tasks
from protocols.planning.privacy import Noise, Privacy, Sensitivity, plan_noise
from protocols.planning.query import KeyOutput, PlanError, Query, StatisticOutput, never_null
from protocols.planning.randomised_response import RandomisedResponse, plan_response
from protocols.planning.rules import COALITIONS, Gate, NoisyGate, Rules
from protocols.planning.search import Search, search_of
from protocols.planning.task import Adjustment, HomeTask, Key, index_of, plain
from protocols.planning.undeclared import NONE, Undeclared, Word, find_cost, threshold
from protocols.statistics import BY_NAME
from protocols.statistics.across import FEWEST as FEWEST_COMPANIES
from protocols.statistics.across import NAMES as ACROSS
from protocols.statistics.across import Across, figures_of, opened_cost, secure_cost
from protocols.statistics.base import Measure, PrivateStatistic
from protocols.statistics.frequent import Frequent, Place, arguments_of, compared
from protocols.statistics.frequent import secure_cost as places_cost
from protocols.statistics.quantile import DISCRETE, FEWEST, MAX, MIN, NAMES, QUANTILE, Quantile, Tree, tree_of
from protocols.statistics.ratio import AVG_ONLY, Ratio
from protocols.statistics.ratio import FEWEST as FEWEST_PARTS
from protocols.statistics.ratio import secure_cost as ratios_cost
from protocols.tables import Table, Unit

Kinds = TypeVar("Kinds")
Wanted = tuple[str, Fraction, Node]
"""A quantile that is found on shares with noise: its SQL name, p and argument."""

HOME_LIMIT = 1 << 126
"""Integers at home are exact below this (an engine's 128-bit integers)."""


RELEASED = Measure("released", None)
"""Whether a cell is released."""
_ONLY_MINIMUM = (
    "of the release rules only minimum_group goes with privacy, of the count of all companies with its noise: the others are about single "
    "companies' own counts, which no noise covers"
)
LARGEST_COMPARED = 1 << 21
"""Pairs of figures, or of numbers and the least that they may be."""
LEAST_KEPT = 1 << 24
"""So many more of the 2^64 words must keep a cell than make it any other: with fewer the answer would mean nothing."""


@dataclass(frozen=True)
class Security:
    """`parties` in the order of their names. `triples` is how secrets are multiplied: "ot", "dealer", or None for resharing, and for replicated
    shares always.
    Additive shares cannot be reshared: where nothing else is asked for they take "ot", which trusts nobody."""

    parties: tuple[str, ...]
    scheme: str
    colluding: int
    triples: str | None = None

    def __post_init__(self) -> None:
        if self.triples is None and self.scheme == "additive":
            object.__setattr__(self, "triples", "ot")


@dataclass(frozen=True)
class Disclosure:
    """`cells` values that the parties `to` learn: opened to them, or implied by what is opened."""

    what: str
    cells: int
    to: tuple[str, ...]
    implied: bool = False


@dataclass(frozen=True)
class Plan:
    """`opened` are the totals that are opened, one value a cell; `uses` gives for each selected statistic the indices
    of those it is made of. `keys` are the group keys of the answer, the last of which runs fastest. In a join,
    `products[k]` are the measures of the two tasks whose cells are multiplied and added up to `opened[k]`: the tasks'
    first keys are the joined one, and all others groups, or columns that a condition compares with the other table's; those beyond `opened` are for release rules. `ranges` are the proven largest magnitudes, in words and as
    numbers. Where the query asks for privacy, `noise[k]` is added to `opened[k]`; or `opened` is one count, and `noise`
    one randomised response by which all are reported that it counts. Where it asks for MEDIAN or QUANTILE_CONT with noise, `opened[k]` is level k of
    `tree`, group by group; MIN, MAX and QUANTILE_DISC are `descents`, whose noise, level by level, comes after that of the totals, and for each argument of theirs there is a task, after the first, that counts its values by leaf. `search` is what is searched for over the one task, whose measures begin with `opened`: the others are
    not opened. Ratios are divided on shares, of totals that are not opened, and come after those that are. Where it asks how companies stand
    among one another, all of `opened` say so. The most frequent values come after the ratios; for each argument of theirs there is a task, after the first, that counts the
    rows by its values. With release rules `gate` has them, and the
    last of `opened` is whether a cell is released. Of a key without declared values `undeclared` says how its groups are found: their cells are places, the first of
    which are taken, and the words of its texts come after the totals."""

    query: Query
    security: Security
    scheme: Scheme
    keys: tuple[Key, ...]
    tasks: tuple[HomeTask, ...]
    opened: tuple[Measure | Ratio | Place | Across | Descent | Word, ...]
    uses: tuple[tuple[int, ...], ...]
    products: tuple[tuple[int, int], ...]
    ranges: tuple[tuple[str, int], ...]
    noise: tuple[Noise | RandomisedResponse, ...] = ()
    tree: Tree | None = None
    gate: Gate | NoisyGate | None = None
    search: Search | None = None
    undeclared: Undeclared | None = None

    @property
    def response(self) -> RandomisedResponse | None:
        """By which the counts of each company are made, if any."""
        return next((noise for noise in self.noise if isinstance(noise, RandomisedResponse)), None)

    @property
    def cells(self) -> int:
        """Cells of the answer: of groups that are found as many as there is room for."""
        return self.undeclared.places if self.undeclared is not None else prod(key.size for key in self.keys)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each of `opened` has."""
        if self.tree is not None:
            return tuple(self.cells * nodes for nodes in self.tree.sizes)
        return (self.cells,) * len(self.opened)

    @property
    def noise_sizes(self) -> tuple[int, ...]:
        """How many values each of `noise` has."""
        return self.sizes if self.tree is not None else (self.cells,) * len(self.noise)

    @property
    def layout(self) -> tuple[Key, ...]:
        """The group keys in the order of the cells on shares: as in the tasks, the last runs fastest."""
        return tuple(dict.fromkeys(key for task in self.tasks for key in task.keys if key in self.keys))

    @cached_property
    def join(self) -> Join | None:
        if not self.products:
            return None
        shared, owned = self.tasks
        return Join(shared, owned, len(owned.table.key), self.keys, self.conditions, self.products)

    @property
    def conditions(self) -> tuple[Node, ...]:
        """Those that are about columns of both tables."""
        return tuple(condition for condition in self.query.where if len(condition.tables) > 1)

    @property
    def parts(self) -> int:
        """So many companies' parts of a join are formed apart, as release rules need them; else all together."""
        return len(self.holders) if isinstance(self.gate, Gate) else 1

    @property
    def multiplied(self) -> int:
        """How many products of secrets: in each cell of a joined key, every group of the one side times every one of the other."""
        return self.parts * self.join.outputs * self.join.length if self.join is not None else 0

    @property
    def rows(self) -> int:
        """At most so many count, over all companies: a row of a shared table joins one row."""
        table = self.tasks[0].table
        return len(table.holders) * table.max_rows

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """What is opened besides: how many rows were dropped, and how many values clamped."""
        return tuple(adjustment for task in self.tasks for adjustment in task.adjustments)

    @property
    def values_opened(self) -> int:
        return sum(self.sizes) + len(self.adjustments)

    @property
    def across(self) -> tuple[Across, ...]:
        """What is opened, where companies are compared with one another."""
        return tuple(opened for opened in self.opened if isinstance(opened, Across))

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        """What is opened and divided on shares."""
        return tuple(opened for opened in self.opened if isinstance(opened, Ratio))

    @property
    def places(self) -> tuple[Place, ...]:
        """What is opened of the most frequent values."""
        return tuple(opened for opened in self.opened if isinstance(opened, Place))

    @property
    def descents(self) -> tuple[Descent, ...]:
        """What is opened and found on shares with noise."""
        return tuple(opened for opened in self.opened if isinstance(opened, Descent))

    @property
    def cut(self) -> HomeTask | None:
        """The task, the last one, that counts the parts into which other queries' filters cut the rows."""
        return self.tasks[-1] if isinstance(self.gate, Gate) and self.gate.parts else None

    @property
    def is_once(self) -> bool:
        """Whether asking again for what may have been opened is another release: where noise is shared apart from what it is added to, which could be another thing the second time."""
        return self.is_apart

    @property
    def is_apart(self) -> bool:
        """Whether noise is shared beside the totals, and added to what is made of them on shares."""
        return bool(self.products or self.descents or self.undeclared is not None)

    @property
    def counted(self) -> dict[Reference, int]:
        """Whose values are counted, and how many places are opened of each: each by a task, after the first."""
        return arguments_of(self.outputs(Frequent))

    def outputs(self, kind: type[Kinds]) -> list[Kinds]:
        """The selected statistics of this kind."""
        return [o.statistic for o in self.query.select if isinstance(o, StatisticOutput) and isinstance(o.statistic, kind)]

    @property
    def totals(self) -> tuple[Measure, ...]:
        """What is opened as it is."""
        return tuple(opened for opened in self.opened if isinstance(opened, Measure) and opened != RELEASED)

    @property
    def indices(self) -> tuple[Ratio, ...]:
        """Of these those for which every company shares the square of its total, after its totals."""
        return tuple(ratio for ratio in self.ratios if ratio.is_of_companies)

    @property
    def is_of_companies(self) -> bool:
        """Whether each company is one observation, in all that is opened."""
        return 0 < len(self.across) + len(self.indices) == len(self.opened)

    def place(self, ratio: Ratio) -> tuple[int, ...]:
        """Where the totals of a ratio are among the measures of the one task."""
        known = never_null(self.query.tables, self.query.where)
        return tuple(self.tasks[0].measures.index(plain(measure, known)) for measure in ratio.measures)

    @property
    def triples(self) -> str | None:
        """The source of triples that the query uses, if any. Comparisons take more than resharing can give, but not of replicated shares."""
        if isinstance(self.scheme, Replicated):
            return None
        if self.across or self.ratios or self.places or self.descents or self.joint or self.gate is not None or self.search is not None or self.undeclared is not None:
            return self.security.triples or "ot"
        return self.security.triples if self.products else None

    def party(self, name: str) -> PartyId:
        return self.security.parties.index(name)

    @property
    def receivers(self) -> tuple[PartyId, ...]:
        return tuple(sorted(map(self.party, self.query.receivers)))

    @property
    def holders(self) -> tuple[PartyId, ...]:
        """Of the (first) table."""
        return tuple(sorted(map(self.party, self.tasks[0].table.holders)))

    @property
    def revealed(self) -> int:
        """How many numbers are opened at the end: with the fractions of a search."""
        return self.values_opened + (len(self.search.fractions) * self.cells if self.search is not None else 0)

    @property
    def adding(self) -> tuple[str, ...]:
        """Who adds noise (or randomises): the holders, to their totals before they share them; in a join all parties, to the
        products."""
        if not self.noise or self.joint:
            return ()
        return self.security.parties if self.products else self.tasks[0].table.holders

    @property
    def joint(self) -> tuple[tuple[Fraction, int], ...]:
        """Of noise that is drawn inside the computation: the variances, and how many values of each."""
        return tuple((noise.parameter, size) for noise, size in zip(self.noise, self.noise_sizes, strict=True) if isinstance(noise, Noise) and noise.joint)

    @property
    def exact_over(self) -> tuple[Table, ...]:
        """The tables with a protected unit whose totals the query opens without noise."""
        return () if self.noise else tuple(table for table in self.query.tables if table.unit is not None)

    @property
    def shapes(self) -> dict[PartyId, Shape]:
        """How many values each party shares: the vectors of its tasks, end to end, and in a join its noise; or the levels of
        a tree."""
        widths: dict[PartyId, int] = {}
        for task in self.tasks:
            for holder in task.table.holders:
                party = self.party(holder)
                if self.across:
                    widths[party] = len(figures_of(self.across)) * self.cells + len(self.adjustments)
                    continue
                widths[party] = widths.get(party, 0) + (task.size if self.tree is None else self.values_opened)
                widths[party] += len(self.indices) * self.cells
                if self.gate is not None:
                    widths[party] += self.gate.extra * self.cells
        apart = sum(descent.levels for descent in self.descents) if self.descents else len(self.noise) * self.is_apart
        for party in map(self.party, self.adding):
            widths[party] = widths.get(party, 0) + apart * self.cells
        return {party: (widths[party],) for party in sorted(widths)}

    def cost(self, me: PartyId) -> Cost:
        """What the query costs party `me`, in messages of the protocol."""
        source = triple_source(self.triples)
        made = [source.cost(self.scheme, me, kind) for kind in self.needed] if source is not None else []
        return reduce(add, made, self._cost(me, _Counting()))

    @cached_property
    def needed(self) -> tuple[Row, ...]:
        """What is taken from the source of triples, of each kind: asked for before anything else."""
        counting = _Counting()
        self._cost(0, counting)
        return tuple(replace(kind, count=count) for kind, count in counting.counts.items()) if self.triples is not None else ()

    def _cost(self, me: PartyId, counting: "_Counting") -> Cost:
        """Without what the source of triples takes to make them."""
        source = None if self.triples is None else counting
        cost = share_cost(self.scheme, me, self.shapes)
        if self.join is not None:
            cost += dot_cost(self.scheme, me, source, self.parts * self.join.outputs, self.join.length)
        if self.joint:
            cost += gaussian_cost(self.scheme, me, source, self.joint)
        if self.across:
            companies = len(self.tasks[0].table.holders)
            cost += secure_cost(self.scheme, me, source, self.across, companies, self.cells)
            return cost + opened_cost(self.scheme, me, len(self.across), len(self.adjustments), self.receivers, self.cells)
        if self.ratios:
            cost += ratios_cost(self.scheme, me, source, self.ratios, self.cells)
        if self.places:
            cost += places_cost(self.scheme, me, source, self.counted, self.cells)
        if self.descents:
            cost += descend_cost(self.scheme, me, source, self.descents, self.cells)
        if self.undeclared is not None:
            cost += find_cost(self.scheme, me, source, self.undeclared)
        if self.gate is not None:
            searched = len(self.search.counts) if self.search is not None else 0
            cost += self.gate.cost(self.scheme, me, source, self.cells, (len(self.opened) - 1 + searched) * self.cells)
            if searched:  # whether a cell is released is known before it is searched in
                cost += reveal_cost(self.scheme, me, self.receivers, self.cells)
        if self.search is not None:
            cost += self.search.cost(self.scheme, me, source, self.holders, self.receivers)
        return cost + reveal_cost(self.scheme, me, self.receivers, self.revealed) if self.revealed else cost

    @cached_property
    def disclosures(self) -> tuple[Disclosure, ...]:
        receivers, shared, owned = self.query.receivers, self.tasks[0].table, self.tasks[-1].table
        theirs = {key for task in self.tasks[1:] for key in task.keys if self.products}  # the shared table may have columns of these names, too
        names = {key: f"{owned.name}.{key.expression}" if key in theirs else str(key.expression) for key in self.keys}
        suffix = f" by {', '.join(names.values())}" if names else ""
        if self.products:
            suffix += f" over {shared.name} joined with {owned.name}"
        ungated = suffix
        if self.noise:
            suffix += ", with noise" if self.response is None else ", as reported by randomised response"
        if self.gate is not None:
            suffix += f", where the cell has {self.gate}"
        if self.undeclared is not None:
            suffix += f", where it has {self.undeclared}"
        if self.tree is not None:
            what = "the number of rows in each of {} intervals of " + f"{self.tree.argument}{suffix}"
            levels = zip(self.tree.sizes, self.sizes, strict=True)
            return tuple(Disclosure(what.format(f"{nodes:,}"), cells, receivers) for nodes, cells in levels)
        listed = [Disclosure(f"{opened}{suffix if opened != RELEASED else ungated}", self.cells, receivers) for opened in self.opened if not isinstance(opened, Word)]
        if self.undeclared is not None:
            listed.append(Disclosure(f"the texts of {self.undeclared.column.name} that have {self.undeclared}", self.undeclared.column.words * self.cells, receivers))
        if isinstance(self.gate, Gate):
            what = f"of a withheld cell, that it does not have {self.query.rules}: for who has many of its rows, how few the others have"
            listed.append(Disclosure(what, self.cells, receivers, implied=True))
        if self.response is not None:  # what the guarantee is not about
            listed.append(Disclosure(f"the exact number of rows of {shared.name} that count", 1, receivers, implied=True))
            return (*listed, *self._without_own(1, "the same number"))
        listed += [Disclosure(f"the number of {adjustment}", 1, receivers) for adjustment in self.adjustments]
        if self.across:
            listed += self._pooled_ranks()
            return tuple(listed)
        if self.search is not None:
            listed += self._searched(self.search, suffix)
        if self.noise:
            return tuple(listed)  # what follows from them, for whomever, is within the guarantee
        if len(shared.holders) == 1:
            what = f"all of this describes rows of {shared.holders[0]} alone"
            listed.append(Disclosure(what, self.values_opened, receivers, implied=True))
        elif not self.products and self.values_opened:
            listed += self._without_own_part()
        elif owned.owner in receivers:
            others = [name for name in shared.holders if name != owned.owner]
            listed.append(Disclosure(
                f"the same values of {' and '.join(others)} for just those keys that {owned.owner} has in {owned.name}, "
                "which it alone knows and chooses",
                self.values_opened,
                (owned.owner,),
                implied=True,
            ))
        if self.products and set(self.tasks[0].keys[: len(owned.key)]) <= set(self.keys):
            told = tuple(name for name in receivers if name != owned.owner)
            columns = ", ".join(names[key] for key in self.keys if key in theirs)
            what = (
                f"which keys {owned.owner} has in {owned.name}, of those in {shared.name}{f', and their {columns}' * bool(columns)}: "
                "each group is of one key"
            )
            if told:
                listed.append(Disclosure(what, self.cells, told, implied=True))
            if len(shared.holders) > 1:
                listed += self._without_own(self.values_opened)
        elif self.products and self.tasks[0].adjustments and len(shared.holders) > 1:
            listed += self._without_own(len(self.tasks[0].adjustments), f"the same numbers of rows and values of {shared.name}")
        if self.products and self.tasks[1].adjustments:
            what = f"the number of rows of {owned.name} left out, or of its values clamped, describes {owned.owner} alone"
            listed.append(Disclosure(what, len(self.tasks[1].adjustments), receivers, implied=True))
        return tuple(listed)

    def _pooled_ranks(self) -> Iterator[Disclosure]:
        """What companies that pool their ranks or figures make of them."""
        holders, receivers = len(self.tasks[0].table.holders), self.query.receivers
        if any(output.quarter == 0 for output in self.across):
            yield Disclosure("how many companies have a larger figure than it, by its own rank", self.cells, receivers, implied=True)
        if any(output.quarter for output in self.across):
            what = "on which side of a quartile its own figure lies, and so how many of the others' are on either side"
            yield Disclosure(what, self.cells, receivers, implied=True)
        if self.security.colluding > 1:
            what = f"how many of the others' figures lie between theirs, where {min(self.security.colluding, holders - 1)} companies pool what they know"
            yield Disclosure(what, self.cells, receivers, implied=True)
        if self.adjustments and holders > 1:
            yield from self._without_own(len(self.adjustments), f"the same numbers of rows and values of {self.tasks[0].table.name}")

    def _searched(self, search: Search, suffix: str) -> Iterator[Disclosure]:
        """What a search opens, and what it implies."""
        receivers, table = self.query.receivers, self.tasks[0].table
        places: set[int] = set()
        for output in self.query.select:
            if isinstance(output, StatisticOutput) and isinstance(output.statistic, Quantile):
                of = dict(search.uses)[output.name]
                yield Disclosure(f"{_named(output)}{suffix}: {search.discloses(output)}", (len(of) + (of in search.fractions)) * self.cells, receivers)
                places.update(of)
        yield Disclosure(
            f"whether there is any value of {' and of '.join(map(str, search.arguments))}, and in each of {len(search.compared)} steps which "
            "of some public numbers are below the values found: that follows from them",
            sum(search.compared),
            receivers,
        )
        for receiver in receivers:
            others = [name for name in table.holders if name != receiver]
            if receiver in table.holders and others:
                yield Disclosure(
                    f"of these values, those that {receiver} does not have itself are of rows of {' or '.join(others)}; and from how many of its "
                    "own are below each, bounds on how many of theirs are",
                    len(places) * self.cells,
                    (receiver,),
                    implied=True,
                )

    def _without_own_part(self) -> Iterator[Disclosure]:
        """Of what is opened over one table, beside what they know of their own rows."""
        cells = self.values_opened - (len(self.ratios) + len(self.places) + (self.gate is not None)) * self.cells
        if cells:
            yield from self._without_own(cells)
        if self.ratios:
            what = "one equation between the sums, or counts, of the others, from each ratio and its own sum and count"
            yield from self._to_holders(what, len(self.ratios) * self.cells)
        if self.places:
            what = "that the others have as many more rows of a value at least as it has fewer than of one that comes after, for all values"
            yield from self._to_holders(what, len(self.places) * self.cells)

    def _to_holders(self, what: str, cells: int) -> Iterator[Disclosure]:
        """What each receiver that has rows makes of them."""
        for receiver in self.query.receivers:
            if receiver in self.tasks[0].table.holders:
                yield Disclosure(what, cells, (receiver,), implied=True)

    def _without_own(self, cells: int, what: str = "the same values") -> Iterator[Disclosure]:
        """What is left of values over the shared table when receivers that hold a part of it take their own away."""
        receivers, holders = self.query.receivers, self.tasks[0].table.holders
        for receiver in receivers:
            others = [name for name in holders if name != receiver]
            if receiver in holders:
                yield Disclosure(
                    f"{what} for {' and '.join(others)}{' together' if len(others) > 1 else ''}, "
                    f"by taking away {receiver}'s own",
                    cells,
                    (receiver,),
                    implied=True,
                )
        is_held_by_receivers = not set(holders).isdisjoint(receivers)
        pooling = min(self.security.colluding - (not is_held_by_receivers), len(holders) - 1)
        if pooling > is_held_by_receivers:
            left = len(holders) - pooling
            yield Disclosure(
                f"{what} for {'one of them alone' if left == 1 else f'{left} of them together'}, where {pooling} of "
                f"{', '.join(holders)} pool their own{'' if is_held_by_receivers else ' with a receiver'}",
                cells,
                receivers,
                implied=True,
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the nodes must agree on to compute the same thing."""
        outputs = [(output.name, *_use(output)) for output in self.query.select]
        return hashlib.sha256(repr((
            "comity plan 1", self.query.name, self.security, self.scheme.name, self.scheme.algebra.name, self.keys, self.tasks,
            self.opened, self.uses, self.products, self.conditions, outputs, self.query.receivers, self.query.privacy, self.noise, self.tree,
            self.search, self.gate, self.undeclared,
        )).encode()).hexdigest()  # fmt: skip


class _Counting:
    """A source of triples that costs nothing, and counts what is taken of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[Row] = Counter()

    def cost(self, scheme: Scheme, me: PartyId, kind: Kind) -> Cost:
        assert isinstance(kind, Row)
        self.counts[replace(kind, count=1)] += kind.count
        return Cost()


def _use(output: KeyOutput | StatisticOutput) -> tuple[str, str]:
    if isinstance(output, KeyOutput):
        return "", f"{output.key.table}.{output.key}"
    if isinstance(output.statistic, Quantile):
        return output.function, f"{output.text}, {output.statistic.p}"
    if isinstance(output.statistic, Across):
        return output.function, f"{output.statistic.figure}, {output.statistic.quarter}"
    if isinstance(output.statistic, Ratio):
        return output.function, f"{output.text}, {output.statistic.step}"
    if isinstance(output.statistic, Frequent):
        return output.function, f"{output.text}, {output.statistic.k}"
    return output.function, output.text


def _named(output: StatisticOutput) -> str:
    """The statistic with its argument, whatever the output is called."""
    assert isinstance(output.statistic, Quantile)
    p = f", {output.statistic.p}" if output.function in (QUANTILE, DISCRETE) else ""
    return f"{output.function}({output.text}{p})"


def plan_query(query: Query, security: Security) -> Plan:
    """The plan, or a PlanError that says which bound, table or setting to change."""
    _check_text(query)
    known = never_null(query.tables, query.where)
    if any(isinstance(output.statistic, Across) for output in query.select if isinstance(output, StatisticOutput)):
        return _plan_across(query, security)
    opened: list[Measure] = []
    uses = []
    ratios, frequent = _ratios(query), _frequent(query)
    weights: dict[int, int | Fraction] = {}
    keys = tuple(Key(reference, reference.nullable(known) and reference.column.kind != "text") for reference in query.group_by)
    groups = prod(key.size for key in keys)
    tree, wanted = _tree(query, groups, known), _wanted(query)
    descents = tuple(descent_of(*of, groups, len(wanted)) for of in wanted)
    for descent in descents:
        _check_room(descent.tree, groups, descent.function)
    for output in query.select:
        if isinstance(output, StatisticOutput) and tree is None:
            listed = () if isinstance(output.statistic, Quantile | Ratio | Frequent) else _measures(query.privacy, output)
            uses.append(tuple(index_of(opened, plain(measure, known)) for measure in listed))
            weight = 1 if query.privacy is None else query.privacy.weight(output.name)
            weights |= {place: max(weights.get(place, 0), weight) for place in uses[-1]}
    if query.histogram is not None:
        opened, weights, keys = [Measure("count", None)], {0: 1}, (Key(query.histogram),)
    if tree is not None:
        opened = [Measure("count", None)] * len(tree.sizes)
        uses = [tuple(range(len(opened))) for output in query.select if isinstance(output, StatisticOutput)]
        weights = dict.fromkeys(range(len(opened)), 1)
    measures = list(opened)
    for descent in descents:
        index_of(measures, plain(Measure("count", descent.tree.argument), known))
    for measure in (measure for ratio in ratios for measure in ratio.measures):
        index_of(measures, plain(measure, known))
    for ranked in frequent:
        index_of(measures, plain(ranked.count, known))
    search = _search(query, groups, lambda x: index_of(measures, plain(Measure("count", x), known)))
    products: list[tuple[int, int]] = []
    gated = _counted(query, known) if query.rules and query.privacy is None else []
    measured = [*measures, *(measure for measure in gated if measure not in measures)]
    if len(query.tables) == 2:
        tasks, products = join_tasks(query, keys, measured, known)
    elif tree is not None:
        tasks = (HomeTask(query.tables[0], query.where, (*keys, Key(tree.leaf)), (opened[0],)),)
    else:
        ordered = search.arguments if search is not None else ()
        by_value = (
            HomeTask(query.tables[0], query.where, (*keys, key), (Measure("count", None),), adjusts=False)
            for key in (*map(Key, arguments_of(frequent)), *dict.fromkeys(Key(descent.tree.leaf) for descent in descents))
        )
        parts = parts_of(query.beside, gated) if query.beside else ()
        cut = (HomeTask(query.tables[0], (), keys, parts, adjusts=False),) if parts else ()
        tasks = (HomeTask(query.tables[0], query.where, keys, tuple(measured), ordered=ordered), *by_value, *cut)
    noise: tuple[Noise | RandomisedResponse, ...] = ()
    if query.privacy is not None:
        by_level = [Fraction(weight, descent.levels) for descent, weight in zip(descents, wanted.values(), strict=True) for _ in range(descent.levels)]
        tasks, noise = _private(query.privacy, security, tasks, products, [*(weights[k] for k in range(len(opened))), *by_level], descents)
        descents = with_noise(descents, [added for added in noise[len(opened) :] if isinstance(added, Noise)])
    for task in tasks:
        _check_home(task)
    gate: Gate | NoisyGate | None = None
    undeclared = _undeclared(query, tasks[0], opened, noise)
    if query.rules and undeclared is None:
        gate = _gate(query, security, tasks[0], measured, gated) if query.privacy is None else _noisy_gate(query, opened, noise, tree, known)
    ranges = _ranges(tasks, products, measured)
    exact = ranges[-len(measured) :] if products else ranges[: len(tasks[0].measures)]
    noisy = list(_noisy_ranges(opened, noise[: len(opened)], exact[: len(opened)] if tree is None else exact * len(opened)))
    ranges += noisy
    ranges += [(f"what is compared in {descent}", descent.reach(len(tasks[0].table.holders), tasks[0].table.max_rows)) for descent in descents]
    if search is not None:
        rows = len(tasks[0].table.holders) * tasks[0].table.max_rows
        what = f"{' and '.join(search.names)}: the number of rows and one more, times {search.factor:,}, the denominator of p"
        ranges.append((what, search.factor * (rows + 1)))
    ranges += [(f"{ratio}, in dividing", ratio.range(tasks[0].largest, len(tasks[0].table.holders))) for ratio in ratios]
    places = list(dict.fromkeys(place for output in frequent for place in output.places))
    all_opened: list[Measure | Ratio | Place | Across | Descent | Word] = [*opened, *ratios, *places, *descents]
    if undeclared is not None:
        ranges += [(f"{opened[undeclared.count]} with noise, less what it must reach", dict(ranges)[f"{opened[undeclared.count]} with noise"] + undeclared.threshold)]
        ranges += [(f"the hash of {undeclared.column.name}", NONE)]
        all_opened += [Word(undeclared.column, number) for number in range(undeclared.column.words)]
    if isinstance(gate, Gate):
        companies = len(tasks[0].table.holders)
        ranges += gate.ranges([largest // companies for _, largest in exact])
    elif gate is not None:
        ranges += [(f"{what}, less the minimum", largest + least) for (what, largest), least in zip(map(noisy.__getitem__, gate.counts), gate.least, strict=True)]
    if gate is not None:
        all_opened.append(RELEASED)
    scheme = _smallest(security, ranges)
    outputs = [output for output in query.select if isinstance(output, StatisticOutput)]
    uses = [
        tuple(map(all_opened.index, _opened(output, dict(zip(wanted, descents, strict=True))))) or of
        for output, of in zip(outputs, uses, strict=True)
    ]
    plan = Plan(
        query, security, scheme, keys, tasks, tuple(all_opened), tuple(uses), tuple(products), tuple(ranges), noise, tree,
        search=search, gate=gate, undeclared=undeclared,
    )
    if plan.join is not None and plan.conditions and max(plan.join.added, plan.tasks[1].cells) > LARGEST_REQUEST:
        used = dict.fromkeys(node for of in plan.conditions for node in of.walk() if isinstance(node, Reference))
        columns = ", ".join(f"tables.{node.table}.columns.{node}" for node in used)
        raise PlanError(f"the conditions over both tables add {plan.join.added:,} numbers up, and a query at most {LARGEST_REQUEST:,}: narrow the bounds of {columns}")
    if plan.multiplied > LARGEST_REQUEST:
        raise PlanError(
            f"the join multiplies {plan.multiplied:,} pairs, and a query at most {LARGEST_REQUEST:,}: select fewer sums, "
            f"{'group by less, ' if keys else ''}or narrow the bounds of the key"
        )
    if ratios and len(ratios) * plan.cells * 15 * max(ratio.digits for ratio in ratios) > LARGEST_COMPARED:
        raise PlanError(f"its ratios are divided in more than {LARGEST_COMPARED:,} comparisons: group by less, or name a larger step")
    drawn = sum(gaussian_steps_count(variance) * size for variance, size in plan.joint)
    if drawn > LARGEST_COMPARED:
        raise PlanError(
            f"its joint noise is drawn by {drawn:,} comparisons, and a query has at most {LARGEST_COMPARED:,}: group by less, spend more, or take "
            'mechanism = "gaussian", which costs nothing and errs more'
        )
    among = sum(compared(x.column.size, wanted, plan.cells) for x, wanted in plan.counted.items())
    if among > LARGEST_COMPARED:
        names = " and ".join(map(str, plan.counted))
        raise PlanError(f"it takes {among:,} comparisons to find the most frequent values of {names}, and a query at most {LARGEST_COMPARED:,}: group by less")
    return plan


def below(plan: Plan, floor: Rules) -> str:
    """By what the release rules of a query are weaker than `floor`, as a spec has it; empty where they are not, and where it opens no
    exact totals over groups of rows."""
    return "" if plan.noise or plan.is_of_companies else plan.query.rules.weaker(floor)


def gives_away(withholding: Plan, other: Plan) -> bool:
    """Whether what `withholding` withholds may follow from `other`: an exact query over the same table whose rules are weaker, or
    one of the same rows that has other cells or rules, whatever it measures."""
    if other is withholding or withholding.noise or other.noise or other.is_of_companies or withholding.tasks[0].table not in other.query.tables:
        return False
    if other.query.rules.weaker(withholding.query.rules):
        return True
    theirs, mine = (frozenset(key.expression for key in plan.keys) for plan in (other, withholding))
    return set(other.query.where) == set(withholding.query.where) and (theirs != mine or other.query.rules != withholding.query.rules)


def _counted(query: Query, known: frozenset[Node]) -> list[Measure]:
    """The numbers of rows that go into each output."""
    counted: list[Measure] = []
    for output in query.select:
        if isinstance(output, StatisticOutput):
            if any(isinstance(node, Case) for argument in output.arguments for node in argument.walk()):
                raise PlanError(f"{output.name}: CASE chooses among the rows of a cell, which release rules do not see: write WHERE instead, or remove them")
            if isinstance(output.statistic, Frequent | Quantile):
                index_of(counted, plain(Measure("count", *output.arguments), known))
                continue
            totals = output.statistic.measures if isinstance(output.statistic, Ratio) else _measures(None, output)
            index_of(counted, plain(_count(output, totals), known))
    return counted or [Measure("count", None)]


def _count(output: StatisticOutput, totals: Sequence[Measure]) -> Measure:
    """The number of rows that go into an output that is made of `totals`."""
    counts = [measure for measure in totals if measure.kind == "count"]
    return counts[0] if counts else Measure("count", *output.arguments)


def _gate(query: Query, security: Security, task: HomeTask, measures: Sequence[Measure], counted: Sequence[Measure]) -> Gate:
    """The release rules of a query, or a PlanError."""
    rules, companies = query.rules, len(task.table.holders)
    if companies == 1:
        raise PlanError(f"release rules take away a company's own rows, and all of {task.table.name} are of {task.table.holders[0]}")
    if rules.minimum_contributors > companies:
        raise PlanError(f"minimum_contributors = {rules.minimum_contributors} releases nothing: {task.table.name} has {companies} companies")
    if rules.maximum_share * companies < 1:
        raise PlanError(f"maximum_share = {float(rules.maximum_share):g} releases nothing: one of {companies} companies has more")
    taken = min(security.colluding, companies - 1)
    if rules.against == "coalition" and comb(companies, taken) > COALITIONS:
        raise PlanError(f"there are {comb(companies, taken):,} coalitions of {taken} of {companies} companies, and rules are for at most {COALITIONS:,}")
    summed = {Measure("sum", *output.arguments) for output in query.select if isinstance(output, StatisticOutput) and output.function in ("SUM", "AVG", AVG_ONLY)}
    sums = tuple(k for k, measure in enumerate(measures) if measure in summed)
    parts = len(parts_of(query.beside, counted)) if query.beside else 0
    gate = Gate(rules, companies, taken, tuple(map(measures.index, counted)), sums, len(query.tables) > 1, parts)
    cells = prod(key.size for key in task.keys if key.expression in query.group_by) if gate.is_joined else task.cells
    compared = gate.compared(cells)
    if compared > LARGEST_COMPARED:
        raise PlanError(f"its rules take {compared:,} comparisons, and a query at most {LARGEST_COMPARED:,}: group by less, or select fewer sums")
    return gate


def _check_text(query: Query) -> None:
    """PlanError where a key without declared values is not found as it could be."""
    column = next((key.column for key in query.group_by if key.column.kind == "text"), None)
    if column is None:
        return
    privacy, place = query.privacy, f"GROUP BY {column.name}, of which no values are declared,"
    if len(query.group_by) > 1 or len(query.tables) > 1:
        raise PlanError(f"{place} is of this column alone, and of one table: leave the others out, or declare the values")
    if privacy is None or privacy.mechanism not in ("gaussian", "joint") or privacy.local:
        raise PlanError(
            f'{place} takes `privacy` with mechanism = "gaussian" or "joint", and not local: noise protects whether a value is there. Add it, or declare the values (type = "category")'
        )
    others = [output.function for output in query.select if isinstance(output, StatisticOutput) and not isinstance(output.statistic, PrivateStatistic)]
    if others:
        raise PlanError(f"{place} takes sums, counts and what is made of them, and {others[0]} is not: declare the values, or ask for it over all rows")
    if query.rules != Rules(query.rules.minimum_group):
        raise PlanError(_ONLY_MINIMUM)


def _undeclared(query: Query, task: HomeTask, opened: Sequence[Measure], noise: Sequence[Noise | RandomisedResponse]) -> Undeclared | None:
    """How groups without declared values are found, or a PlanError; None where all values are declared."""
    column, rows = task.text, Measure("count", None)
    if column is None:
        return None
    if rows not in opened:
        raise PlanError(f"GROUP BY {column.name}, of which no values are declared, takes COUNT(*), by which they are found: select it as well")
    added, counted = [each for each in noise if isinstance(each, Noise)], opened.index(rows)
    assert task.unit is not None
    least = threshold(task.unit, added[counted], query.rules.minimum_group)
    found = Undeclared(column, len(task.table.holders), tuple(each.factor for each in added), counted, least)
    if found.compared > LARGEST_COMPARED or found.multiplied > LARGEST_REQUEST:
        raise PlanError(
            f"it takes {found.compared:,} comparisons and {found.multiplied:,} products to find the values of {column.name}, and a query has at most {LARGEST_COMPARED:,} and {LARGEST_REQUEST:,}: "
            f"lower keys or length of tables.{task.table.name}.columns.{column.name}"
        )
    return found


def _noisy_gate(
    query: Query, opened: Sequence[Measure], noise: Sequence[Noise | RandomisedResponse], tree: Tree | None, known: frozenset[Node]
) -> NoisyGate:
    """The release rules of a query with noise, or a PlanError."""
    rules, kinds = query.rules, [added for added in noise if isinstance(added, Noise)]
    if rules != Rules(rules.minimum_group):
        raise PlanError(_ONLY_MINIMUM)
    if tree is not None or len(kinds) < len(noise):
        names = " and ".join(NAMES) if tree is not None else "randomised response"
        raise PlanError(f"minimum_group is compared with the count of a group, and {names} {'have' if tree is not None else 'has'} none of its own: remove it")
    needed: list[Measure] = []
    for output in query.select:
        if isinstance(output, StatisticOutput):
            totals = () if isinstance(output.statistic, Quantile) else _measures(query.privacy, output)
            count = plain(_count(output, totals), known)
            if count not in opened:
                raise PlanError(f"minimum_group is compared with counts that have noise, and of {output.name} none is opened: select {count} as well")
            index_of(needed, count)
    counts = tuple(opened.index(count) for count in needed or opened[:1])
    return NoisyGate(rules, counts, tuple(rules.minimum_group * kinds[k].factor for k in counts))


def _plan_across(query: Query, security: Security) -> Plan:
    """The plan of a query that compares the companies' own figures."""
    (table,), known = query.tables, never_null(query.tables, query.where)
    outputs: list[Across] = []
    for output in query.select:
        if isinstance(output, StatisticOutput):
            if not isinstance(output.statistic, Across):
                raise PlanError(
                    f"{output.name} is over all rows, and {', '.join(ACROSS)} compare companies: write a query of its own for each"
                )
            if len(table.holders) < FEWEST_COMPANIES[output.function]:
                raise PlanError(
                    f"{output.function} takes {FEWEST_COMPANIES[output.function]} companies or more, and {table.name} has "
                    f"{len(table.holders)}: with fewer it would give their figures away"
                )
            if output.statistic.quarter == 0 and (outside := set(query.receivers) - set(table.holders)):
                raise PlanError(f"{output.function} tells each company its own rank, and {sorted(outside)[0]} has no part of {table.name}")
            outputs.append(output.statistic)
    if query.rules:
        raise PlanError(f"{outputs[0].function} is about companies, and release rules about groups of rows: remove them")
    if query.privacy is not None:
        raise PlanError(f"{outputs[0].function} cannot be had with privacy: how far one unit moves it is not bounded")
    opened = tuple(dict.fromkeys(outputs))
    measures: list[Measure] = []
    for figure in figures_of(opened):
        for measure in figure.measures:
            index_of(measures, plain(measure, known))
    keys = tuple(Key(reference, reference.nullable(known)) for reference in query.group_by)
    task = HomeTask(table, query.where, keys, tuple(measures))
    _check_home(task)
    at_one = f"at one company ({table.max_rows:,} rows)"
    ranges = [(f"{measure} over {table.name} {at_one}", task.largest(measure)) for measure in measures]
    ranges += [(f"{figure} {at_one}", figure.largest(task.largest)) for figure in figures_of(opened)]
    ranges += [(f"{output}, times 4" if output.quarter else str(output), output.largest(task.largest, len(table.holders))) for output in opened]
    ranges += [(f"the number of {adjustment}", len(table.holders) * table.max_rows) for adjustment in task.adjustments]
    uses = tuple((opened.index(output),) for output in outputs)
    plan = Plan(query, security, _smallest(security, ranges), keys, (task,), opened, uses, (), tuple(ranges))
    compared = len(table.holders) ** 2 * len(figures_of(opened)) * plan.cells
    if compared > LARGEST_COMPARED:
        raise PlanError(f"it compares {compared:,} pairs of figures, and a query at most {LARGEST_COMPARED:,}: group by less")
    return plan


def _ratios(query: Query) -> list[Ratio]:
    """What is divided on shares, each once, or a PlanError."""
    found: list[Ratio] = []
    for output in query.select:
        if isinstance(output, StatisticOutput) and isinstance(output.statistic, Ratio):
            holders = query.tables[0].holders
            if query.privacy is not None:
                raise PlanError(f"{output.function} cannot be had with privacy: noise is added to totals. Select AVG, of which they are opened with noise")
            if output.statistic.is_of_companies and len(holders) < FEWEST_PARTS:
                raise PlanError(
                    f"{output.function} takes {FEWEST_PARTS} companies or more, and {query.tables[0].name} has {len(holders)}: with fewer it would give their parts away"
                )
            if output.statistic.is_of_companies and query.rules:
                raise PlanError(f"{output.function} is about companies, and release rules about groups of rows: write a query of its own for each")
            if output.statistic not in found:
                found.append(output.statistic)
    return found


def _frequent(query: Query) -> list[Frequent]:
    """Those outputs that are most frequent values, or a PlanError."""
    found = []
    for output in query.select:
        if isinstance(output, StatisticOutput) and isinstance(output.statistic, Frequent):
            if query.privacy is not None:
                raise PlanError(f"{output.function} cannot be had with privacy: GROUP BY {output.statistic.argument} gives the counts, with noise")
            if len(query.tables) > 1:
                raise PlanError(f"{output.function} cannot be had in a join: query one table")
            found.append(output.statistic)
    return found


def _key(output: StatisticOutput, quantile: Quantile) -> Wanted:
    (argument,) = output.arguments
    return output.function, quantile.p, argument


def _opened(output: StatisticOutput, descents: Mapping[Wanted, Descent]) -> tuple[Ratio | Place | Descent, ...]:
    """What is opened of it, but for totals."""
    match output.statistic:
        case Ratio():
            return (output.statistic,)
        case Frequent():
            return output.statistic.places
        case Quantile() if descents:
            return (descents[_key(output, output.statistic)],)
    return ()


def _measures(privacy: Privacy | None, output: StatisticOutput) -> tuple[Measure, ...]:
    """The totals that an output is made of."""
    assert not isinstance(output.statistic, Quantile | Across | Ratio | Frequent)  # they are planned otherwise
    if privacy is None:
        return output.statistic.measures(output.function, output.arguments)
    if not isinstance(output.statistic, PrivateStatistic):
        raise PlanError(
            f"{output.function} cannot be had with privacy: there is no estimate of it from totals with noise. With privacy "
            f"there are {', '.join(name for name, statistic in BY_NAME.items() if isinstance(statistic, PrivateStatistic))}"
        )
    return output.statistic.private_measures(output.function, output.arguments)


def _tree(query: Query, groups: int, known: frozenset[Node]) -> Tree | None:
    """The tree that the quantiles of a query with noise, and the count of the same values, are read from; None if it has none."""
    outputs = [output for output in query.select if isinstance(output, StatisticOutput)]
    quantiles = [output for output in outputs if isinstance(output.statistic, Quantile)]
    if query.privacy is None or not any(output.function in NAMES for output in quantiles):
        return None
    for output in quantiles:
        if output.function not in NAMES:
            raise PlanError(
                f"with privacy {output.function} is found on shares, and {' and '.join(NAMES)} are read from counts that are opened: write a query for each, which has a budget of its own"
            )
    name, (x,) = quantiles[0].function, quantiles[0].arguments
    if len(query.tables) > 1:
        raise PlanError(f"{name} is not supported in a join")
    counted = plain(Measure("count", x), known)
    for output in outputs:
        if output in quantiles:
            if output.arguments != (x,):
                raise PlanError(f"has quantiles of {x} and of {output.text}: write a query for each, which has a budget of its own")
        elif output.function != "COUNT" or [plain(measure, known) for measure in _measures(query.privacy, output)] != [counted]:
            raise PlanError(
                f"{output.name} has nothing in common with the counts that {name} is read from: beside quantiles of {x} there can "
                f"be quantiles of it and COUNT({x}); write a query of its own, which has a budget of its own"
            )
    if query.privacy.split:
        raise PlanError(f"privacy.split divides nothing here: {', '.join(NAMES)} and COUNT are read from the same counts")
    tree = tree_of(x, groups)
    _check_room(tree, groups, name)
    return tree


def _check_room(tree: Tree, groups: int, name: str) -> None:
    if tree.values > 1 and tree.leaves < FEWEST:
        raise PlanError(f"{groups:,} groups are too many for {name}: the bounds of {tree.argument} would be cut into {tree.leaves} intervals; group by less")


def _wanted(query: Query) -> dict[Wanted, int]:
    """What the query finds on shares with noise, and its part of the budget; or a PlanError."""
    wanted: dict[Wanted, int] = {}
    if query.privacy is None:
        return wanted
    for output in query.select:
        if isinstance(output, StatisticOutput) and isinstance(output.statistic, Quantile) and output.function not in NAMES:
            if len(query.tables) > 1:
                raise PlanError(f"{output.function} cannot be had in a join: query one table")
            if query.privacy.mechanism == "randomised-response":
                raise PlanError(f"{output.function} cannot be had by randomised response, which counts groups: take another mechanism")
            if output.function == DISCRETE and output.statistic.p in (0, 1):
                raise PlanError(f"{output.name}: the first and the last value are {MIN} and {MAX}, which with privacy keep away from them")
            of = _key(output, output.statistic)
            wanted[of] = max(wanted.get(of, 0), query.privacy.weight(output.name))
    return wanted


def _search(query: Query, cells: int, count: Callable[[Node], int]) -> Search | None:
    """What the query searches for in each of `cells`; `count` gives the place of the number of an argument's values among the measures."""
    search = None
    if query.privacy is None:
        search = search_of([output for output in query.select if isinstance(output, StatisticOutput)], count, cells)
    if search is None:
        return None
    names = ", ".join(sorted({o.function for o in query.select if isinstance(o, StatisticOutput) and isinstance(o.statistic, Quantile)}))
    if len(query.tables) > 1:
        raise PlanError(f"{names} cannot be had in a join: query one table")
    compared = max(search.compared)
    if compared > LARGEST_COMPARED:
        raise PlanError(f"{names}: it takes {compared:,} comparisons in a step of the search, and a query at most {LARGEST_COMPARED:,}: group by less")
    table = query.tables[0]
    missing = [holder for holder in table.holders if holder not in query.receivers]
    if missing:
        raise PlanError(
            f"{names} without `privacy` is searched for by all that hold {table.name}, and in searching they learn the answer: add "
            f"{', '.join(missing)} to its receivers"
        )
    return search


def _private(
    privacy: Privacy,
    security: Security,
    tasks: tuple[HomeTask, ...],
    products: Sequence[tuple[int, int]],
    weights: Sequence[int | Fraction],
    descents: Sequence[Descent],
) -> tuple[tuple[HomeTask, ...], tuple[Noise | RandomisedResponse, ...]]:
    """The tasks with their units, and the noise of each opened total."""
    protected, *others = tasks
    unit = protected.table.unit
    for other in others if products else ():
        if other.table.unit is not None:
            raise PlanError(
                f"privacy cannot be had for {other.table.name}, an owned table with a unit: one of its rows is joined with any "
                "number of the other table's, so how far it moves the answer is not bounded"
            )
    if unit is None:
        raise PlanError(f"asks for privacy, but nobody says whose: add tables.{protected.table.name}.unit")
    if privacy.micro_rho * min(weights) < sum(weights):
        raise PlanError(f"privacy is too small a budget: a millionth of rho for each of {len(weights)} parts is the least")
    if privacy.local and descents:
        raise PlanError(f"local privacy cannot be had for {descents[0].function}: companies share exact counts, and noise is added as they are compared. Remove local = true")
    if privacy.local and products:
        raise PlanError(
            "local privacy cannot be had for a join: companies share exact totals, and noise is added to their products, so "
            "nothing but the sharing protects them. Remove local = true, or query one table"
        )
    if privacy.mechanism == "joint" and privacy.local:
        raise PlanError("joint noise is drawn by all together, and local noise by each company alone: remove local = true")
    if privacy.mechanism == "randomised-response":
        return (replace(protected, unit=unit),), (_response(privacy, unit, protected),)
    cells = min(unit.groups, protected.groups)
    sensitivities = []
    for place in range(len(weights) - sum(descent.levels for descent in descents)):
        left, right = products[place] if products else (min(place, len(protected.measures) - 1), None)
        most = unit.rows * (protected.largest(protected.measures[left]) // protected.table.max_rows)
        if right is not None:
            (owned,) = others
            most *= owned.largest(owned.measures[right]) // owned.table.max_rows
        sensitivities.append(Sensitivity(cells, max(most, 1), is_spread=not products))
    sensitivities += [Sensitivity(cells, unit.rows * descent.most) for descent in descents for _ in range(descent.levels)]
    adding = len(security.parties if products else protected.table.holders)
    try:
        noise = plan_noise(privacy, unit, sensitivities, weights, adding, security.colluding)
        for added in noise:
            _ = added.bound
    except ValueError as error:
        raise PlanError(f"its noise cannot be drawn: {error}. Narrow the bounds of its columns, or spend more") from None
    keys = {name for other in others for name in other.table.key} if products else set()
    # a clamped key would be another's
    columns = {n: replace(c, outside="drop") if n in keys else c for n, c in protected.table.columns.items()}
    table = replace(protected.table, columns=columns)
    return tuple(replace(task, table=table, unit=unit) if task.table == protected.table else task for task in tasks), noise


def _response(privacy: Privacy, unit: Unit, task: HomeTask) -> RandomisedResponse:
    """Randomised response, where each unit that counts has one cell, and no choice of the query says which ones count."""
    table = task.table
    place, said = f"tables.{table.name}", "randomised response "
    (key, *_) = task.keys or (None,)
    dropping = [column.name for column in task.columns if column.outside == "drop"]
    if task.measures != (Measure("count", None),) or key is None or task.cells < 2 or task.groups != task.cells:
        raise PlanError(said + "reports in which group each unit is: it takes COUNT(*) with GROUP BY, or HISTOGRAM, and no other statistic")
    if unit.neighbours != "replace":
        raise PlanError(
            said + f'hides in which group a unit is, not whether it is there: it asks for {place}.neighbours = "replace"'
        )
    if (unit.rows, unit.groups) != (1, 1):
        raise PlanError(said + f"reports one row of each unit: it asks for {place}.unit with rows = 1 and groups = 1")
    if task.where:
        raise PlanError(
            said + "opens exactly how many rows count, so WHERE would say exactly how many meet its conditions: GROUP BY them "
            "instead, so that each row is in a group"
        )
    if dropping:
        raise PlanError(
            said + f'opens exactly how many rows count, and with outside = "drop" of {place}.columns.{dropping[0]} that says how many '
            "lie within its bounds: let values outside be clamped, or refused"
        )
    if isinstance(key.expression, Bin) and key.expression.operand.nullable():
        raise PlanError(
            said + f"opens exactly how many rows count, and {key.expression.operand} may be NULL, which is in no bin: take a column "
            "without NULL"
        )
    response = plan_response(privacy, unit, task.cells, table.max_rows, len(table.holders))
    if response.kept - response.moved < LEAST_KEPT:
        raise PlanError(said + f"of {task.cells:,} groups says nothing at so small an epsilon: give a larger one")
    return response


def _noisy_ranges(
    opened: Sequence[Measure], noise: Sequence[Noise | RandomisedResponse], exact: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, int]]:
    """Those of the opened totals with their noise, so that nothing wraps; `exact` are those without."""
    for measure, added, (_, largest) in zip(opened, noise, exact, strict=bool(noise)):
        yield f"{measure} with noise", added.reach(largest)


def _check_home(task: HomeTask) -> None:
    """Every intermediate value at home must be exact in the engine's integers."""
    for expression in task.expressions:
        for node in expression.walk():
            if _reaches(node) >= HOME_LIMIT:
                raise PlanError(f"{node} may reach {_size(_reaches(node))} at home, beyond 2^126: {_advice(task, node)}")
    for measure in task.measures:
        if task.largest(measure) >= HOME_LIMIT:
            raise PlanError(
                f"{measure} may reach {_size(task.largest(measure))} at one company ({task.table.max_rows:,} rows), "
                f"beyond 2^126: {_advice(task, measure.expression)}"
            )


def _reaches(node: Node) -> int:
    """The largest magnitude that evaluating the node itself comes by."""
    if isinstance(node, Comparison | Membership):
        return _aligned_reach(node.children)
    if isinstance(node, Case):
        return max(magnitude(node), _aligned_reach(node.values))
    if isinstance(node, Arithmetic) and node.operator != "*":
        return max(magnitude(node), _aligned_reach(node.children))
    if isinstance(node, Bin):
        span = Number(max(abs(node.start), abs(node.stop)), node.digits)
        return (aligned(magnitude(node.operand), node.operand, span) + span.value) * node.bins
    return magnitude(node)


def _aligned_reach(nodes: Sequence[Node]) -> int:
    """The same of putting numbers at their finest scale: of the factors, too, even for zero."""
    finest = max(nodes, key=lambda node: node.scale)
    return max(max(aligned(magnitude(node), node, finest), aligned(1, node, finest)) for node in nodes)


def _ranges(
    tasks: Sequence[HomeTask], products: Sequence[tuple[int, int]], measures: Sequence[Measure]
) -> list[tuple[str, int]]:
    """The largest magnitude of every value that is shared, computed or opened."""
    ranges = []
    for task in tasks:
        companies = len(task.table.holders)
        for measure in task.measures:
            ranges.append((
                f"{measure} over {task.table.name} ({companies} x {task.table.max_rows:,} rows)",
                companies * task.largest(measure),
            ))
        ranges += [(f"the number of {adjustment}", companies * task.table.max_rows) for adjustment in task.adjustments]
    for measure, (left, right) in zip(measures, products, strict=bool(products)):
        shared, owned = tasks
        # at most one row of the owned table meets each row of the shared one
        per_row = owned.largest(owned.measures[right]) // owned.table.max_rows
        largest = len(shared.table.holders) * shared.largest(shared.measures[left]) * per_row
        ranges.append((f"{measure} over the join", largest))
    return ranges


def _smallest(security: Security, ranges: Sequence[tuple[str, int]]) -> Scheme:
    what, largest = max(ranges, key=lambda item: item[1])
    candidates = schemes(security.scheme, len(security.parties), security.colluding)
    for scheme in candidates:
        if largest <= scheme.algebra.bound:
            return scheme
    raise PlanError(
        f"{what} may reach {_size(largest)}, beyond {_size(candidates[-1].algebra.bound)} of the widest domain, "
        f"{candidates[-1].algebra.name}: lower max_rows or the bounds of its columns"
    )


def _advice(task: HomeTask, node: Node | None) -> str:
    columns = sorted({n.column.name for n in node.walk() if isinstance(n, Reference)}) if node is not None else []
    places = [f"tables.{task.table.name}.columns.{name}" for name in columns]
    return f"lower tables.{task.table.name}.max_rows" + (f" or the bounds of {', '.join(places)}" if places else "")


def _size(x: int) -> str:
    return f"{x:,}" if x < 10**15 else f"2^{x.bit_length() - 1}"


def group_cells(plan: Plan) -> Iterator[tuple[int, ...]]:
    """The key codes of each cell of the answer, in order; the last key runs fastest."""
    sizes = [key.size for key in plan.keys]
    for cell in range(prod(sizes)):
        codes = []
        for size in reversed(sizes):
            cell, code = divmod(cell, size)
            codes.append(code)
        yield tuple(reversed(codes))
