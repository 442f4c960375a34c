"""What a query discloses: every value that is opened, to whom, and what follows from it for those who know something already."""

from collections.abc import Iterator
from dataclasses import dataclass

from protocols.planning.plan import RELEASED, Plan
from protocols.planning.query import StatisticOutput
from protocols.planning.rules import Gate
from protocols.planning.search import Search
from protocols.planning.undeclared import Word
from protocols.statistics.quantile import DISCRETE, QUANTILE, Quantile


@dataclass(frozen=True)
class Disclosure:
    """`cells` values that the parties `to` learn: opened to them, or implied by what is opened."""

    what: str
    cells: int
    to: tuple[str, ...]
    implied: bool = False


def disclosures(plan: Plan) -> tuple[Disclosure, ...]:
    """What is opened, and after it what that implies."""
    receivers, shared, owned = plan.query.receivers, plan.tasks[0].table, plan.tasks[-1].table
    theirs = {key for task in plan.tasks[1:] for key in task.keys if plan.products}  # the shared table may have columns of these names, too
    names = {key: f"{owned.name}.{key.expression}" if key in theirs else str(key.expression) for key in plan.keys}
    suffix = f" by {', '.join(names.values())}" if names else ""
    if plan.products:
        suffix += f" over {shared.name} joined with {owned.name}"
    ungated = suffix
    if plan.noise:
        suffix += ", with noise" if plan.response is None else ", as reported by randomised response"
    if plan.gate is not None:
        suffix += f", where the cell has {plan.gate}"
    if plan.undeclared is not None:
        suffix += f", where it has {plan.undeclared}"
    if plan.tree is not None:
        what = "the number of rows in each of {} intervals of " + f"{plan.tree.argument}{suffix}"
        levels = zip(plan.tree.sizes, plan.sizes, strict=True)
        return tuple(Disclosure(what.format(f"{nodes:,}"), cells, receivers) for nodes, cells in levels)
    listed = [Disclosure(f"{opened}{suffix if opened != RELEASED else ungated}", plan.cells, receivers) for opened in plan.opened if not isinstance(opened, Word)]
    if plan.undeclared is not None:
        listed.append(Disclosure(f"the texts of {plan.undeclared.column.name} that have {plan.undeclared}", plan.undeclared.column.words * plan.cells, receivers))
    if isinstance(plan.gate, Gate):
        what = f"of a withheld cell, that it does not have {plan.query.rules}: for who has many of its rows, how few the others have"
        listed.append(Disclosure(what, plan.cells, receivers, implied=True))
    if plan.response is not None:  # what the guarantee is not about
        listed.append(Disclosure(f"the exact number of rows of {shared.name} that count", 1, receivers, implied=True))
        return (*listed, *_without_own(plan, 1, "the same number"))
    listed += [Disclosure(f"the number of {adjustment}", 1, receivers) for adjustment in plan.adjustments]
    if plan.across:
        listed += _pooled_ranks(plan)
        return tuple(listed)
    if plan.search is not None:
        listed += _searched(plan, plan.search, suffix)
    if not plan.noise:  # what follows from totals with noise, for whomever, is within the guarantee
        listed += _of_exact_totals(plan, ", ".join(names[key] for key in plan.keys if key in theirs))
    return tuple(listed)


def _of_exact_totals(plan: Plan, columns: str) -> Iterator[Disclosure]:
    """What they imply; `columns` are those of the owned table by which a join groups."""
    receivers, shared, owned = plan.query.receivers, plan.tasks[0].table, plan.tasks[-1].table
    if len(shared.holders) == 1:
        what = f"all of this describes rows of {shared.holders[0]} alone"
        yield Disclosure(what, plan.values_opened, receivers, implied=True)
    elif not plan.products and plan.values_opened:
        yield from _without_own_part(plan)
    elif owned.owner in receivers:
        others = [name for name in shared.holders if name != owned.owner]
        yield Disclosure(
            f"the same values of {' and '.join(others)} for just those keys that {owned.owner} has in {owned.name}, "
            "which it alone knows and chooses",
            plan.values_opened,
            (owned.owner,),
            implied=True,
        )
    if plan.products and set(plan.tasks[0].keys[: len(owned.key)]) <= set(plan.keys):
        told = tuple(name for name in receivers if name != owned.owner)
        what = (
            f"which keys {owned.owner} has in {owned.name}, of those in {shared.name}{f', and their {columns}' * bool(columns)}: "
            "each group is of one key"
        )
        if told:
            yield Disclosure(what, plan.cells, told, implied=True)
        if len(shared.holders) > 1:
            yield from _without_own(plan, plan.values_opened)
    elif plan.products and plan.tasks[0].adjustments and len(shared.holders) > 1:
        yield from _without_own(plan, len(plan.tasks[0].adjustments), f"the same numbers of rows and values of {shared.name}")
    if plan.products and plan.tasks[1].adjustments:
        what = f"the number of rows of {owned.name} left out, or of its values clamped, describes {owned.owner} alone"
        yield Disclosure(what, len(plan.tasks[1].adjustments), receivers, implied=True)


def _pooled_ranks(plan: Plan) -> Iterator[Disclosure]:
    """What companies that pool their ranks or figures make of them."""
    holders, receivers = len(plan.tasks[0].table.holders), plan.query.receivers
    if any(output.quarter == 0 for output in plan.across):
        yield Disclosure("how many companies have a larger figure than it, by its own rank", plan.cells, receivers, implied=True)
    if any(output.quarter for output in plan.across):
        what = "on which side of a quartile its own figure lies, and so how many of the others' are on either side"
        yield Disclosure(what, plan.cells, receivers, implied=True)
    if plan.is_of_few:
        what = f"of {holders} companies, so few that between two quartiles there is hardly one: figures of single ones, or narrow bounds on them, by who knows the market"
        yield Disclosure(what, plan.cells, receivers, implied=True)
    if plan.security.colluding > 1:
        what = f"how many of the others' figures lie between theirs, where {min(plan.security.colluding, holders - 1)} companies pool what they know"
        yield Disclosure(what, plan.cells, receivers, implied=True)
    if plan.adjustments and holders > 1:
        yield from _without_own(plan, len(plan.adjustments), f"the same numbers of rows and values of {plan.tasks[0].table.name}")


def _searched(plan: Plan, search: Search, suffix: str) -> Iterator[Disclosure]:
    """What a search opens, and what it implies."""
    receivers, table = plan.query.receivers, plan.tasks[0].table
    places: set[int] = set()
    for output in plan.query.statistics:
        if isinstance(output.statistic, Quantile):
            of = dict(search.uses)[output.name]
            yield Disclosure(f"{_named(output)}{suffix}: {search.discloses(output)}", (len(of) + (of in search.fractions)) * plan.cells, receivers)
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
                len(places) * plan.cells,
                (receiver,),
                implied=True,
            )


def _without_own_part(plan: Plan) -> Iterator[Disclosure]:
    """Of what is opened over one table, beside what they know of their own rows."""
    cells = plan.values_opened - (len(plan.ratios) + len(plan.places) + (plan.gate is not None)) * plan.cells
    if cells:
        yield from _without_own(plan, cells)
    if plan.ratios:
        what = "one equation between the sums, or counts, of the others, from each ratio and its own sum and count"
        yield from _to_holders(plan, what, len(plan.ratios) * plan.cells)
    if plan.places:
        what = "that the others have as many more rows of a value at least as it has fewer than of one that comes after, for all values"
        yield from _to_holders(plan, what, len(plan.places) * plan.cells)


def _to_holders(plan: Plan, what: str, cells: int) -> Iterator[Disclosure]:
    """What each receiver that has rows makes of them."""
    for receiver in plan.query.receivers:
        if receiver in plan.tasks[0].table.holders:
            yield Disclosure(what, cells, (receiver,), implied=True)


def _without_own(plan: Plan, cells: int, what: str = "the same values") -> Iterator[Disclosure]:
    """What is left of values over the shared table when receivers that hold a part of it take their own away."""
    receivers, holders = plan.query.receivers, plan.tasks[0].table.holders
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
    pooling = min(plan.security.colluding - (not is_held_by_receivers), len(holders) - 1)
    if pooling > is_held_by_receivers:
        left = len(holders) - pooling
        yield Disclosure(
            f"{what} for {'one of them alone' if left == 1 else f'{left} of them together'}, where {pooling} of "
            f"{', '.join(holders)} pool their own{'' if is_held_by_receivers else ' with a receiver'}",
            cells,
            receivers,
            implied=True,
        )


def _named(output: StatisticOutput) -> str:
    """The statistic with its argument, whatever the output is called."""
    assert isinstance(output.statistic, Quantile)
    p = f", {output.statistic.p}" if output.function in (QUANTILE, DISCRETE) else ""
    return f"{output.function}({output.text}{p})"
