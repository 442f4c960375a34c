"""The plan of a query, worked out from the spec alone: what runs at home, what is shared, the ranges proven, the
cost, and every value that will be opened, to whom. Pure: every node makes the same plan, or nobody starts."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from math import prod
from operator import add
from typing import TypeVar

from mpc.algebra import Shape
from mpc.correlations import Kind, Row
from mpc.cost import Cost
from mpc.schemes import PartyId, Scheme
from mpc.schemes.replicated import Replicated
from mpc.triples.named import triple_source
from protocols.expression import Node, Reference
from protocols.gadgets import dot_cost, gaussian_cost, reveal_cost, share_cost
from protocols.planning.descent import Descent, descend_cost
from protocols.planning.joining import Join
from protocols.planning.privacy import Noise
from protocols.planning.query import KeyOutput, Query, StatisticOutput, never_null
from protocols.planning.randomised_response import RandomisedResponse
from protocols.planning.rules import Gate, NoisyGate
from protocols.planning.search import Search
from protocols.planning.task import Adjustment, HomeTask, Key, plain
from protocols.planning.undeclared import Undeclared, Word, find_cost
from protocols.statistics.across import Across, figures_of, opened_cost, secure_cost
from protocols.statistics.base import Measure
from protocols.statistics.frequent import Frequent, Place, arguments_of
from protocols.statistics.frequent import secure_cost as places_cost
from protocols.statistics.quantile import Quantile, Tree
from protocols.statistics.ratio import Ratio
from protocols.statistics.ratio import secure_cost as ratios_cost
from protocols.tables import Table

Kinds = TypeVar("Kinds")
Opened = Measure | Ratio | Place | Across | Descent | Word

RELEASED = Measure("released", None)
"""Whether a cell is released."""
LARGEST_COMPARED = 1 << 21
"""Comparisons of a query."""


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
    opened: tuple[Opened, ...]
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
    def is_of_few(self) -> bool:
        """Whether companies are compared that are so few that figures are given away: every company's node.toml must allow that."""
        return any(output.is_of_few(len(self.holders)) for output in self.across)

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
        return [output.statistic for output in self.query.statistics if isinstance(output.statistic, kind)]

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


def group_cells(plan: Plan) -> Iterator[tuple[int, ...]]:
    """The key codes of each cell of the answer, in order; the last key runs fastest."""
    sizes = [key.size for key in plan.keys]
    for cell in range(prod(sizes)):
        codes = []
        for size in reversed(sizes):
            cell, code = divmod(cell, size)
            codes.append(code)
        yield tuple(reversed(codes))
