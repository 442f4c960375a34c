"""What a query with privacy is made of: its noise, the trees and descents of its quantiles, and groups that nobody declared."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from mpc.correlations import LARGEST_REQUEST
from protocols.expression import Bin, Node
from protocols.planning.descent import Descent, descent_of
from protocols.planning.plan import LARGEST_COMPARED, Security
from protocols.planning.privacy import Noise, Privacy, Sensitivity, plan_noise
from protocols.planning.query import PlanError, Query
from protocols.planning.randomised_response import RandomisedResponse, plan_response
from protocols.planning.rules import ONLY_MINIMUM, Rules
from protocols.planning.task import HomeTask, plain
from protocols.planning.undeclared import Undeclared, threshold
from protocols.statistics.base import Measure, PrivateStatistic
from protocols.statistics.quantile import DISCRETE, FEWEST, MAX, MIN, NAMES, Quantile, Tree, tree_of
from protocols.tables import Unit

LEAST_KEPT = 1 << 24
"""So many more of the 2^64 words must keep a cell than make it any other: with fewer the answer would mean nothing."""


def with_privacy(
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


def tree_for(query: Query, groups: int, known: frozenset[Node]) -> Tree | None:
    """The tree that the quantiles of a query with noise, and the count of the same values, are read from; None if it has none."""
    quantiles = [output for output in query.statistics if isinstance(output.statistic, Quantile)]
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
    for output in query.statistics:
        if output in quantiles:
            if output.arguments != (x,):
                raise PlanError(f"has quantiles of {x} and of {output.text}: write a query for each, which has a budget of its own")
        elif output.function != "COUNT" or [plain(measure, known) for measure in query.measures(output)] != [counted]:
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


def descents_of(query: Query, groups: int) -> dict[Descent, int]:
    """What the query finds on shares with noise, each once, and its part of the budget; or a PlanError."""
    weights: dict[Descent, int] = {}
    if query.privacy is None:
        return weights
    wanted = [(output, output.statistic.p) for output in query.statistics if isinstance(output.statistic, Quantile) and output.function not in NAMES]
    together = len({(output.function, p, output.arguments) for output, p in wanted})
    for output, p in wanted:
        if len(query.tables) > 1:
            raise PlanError(f"{output.function} cannot be had in a join: query one table")
        if query.privacy.mechanism == "randomised-response":
            raise PlanError(f"{output.function} cannot be had by randomised response, which counts groups: take another mechanism")
        if output.function == DISCRETE and p in (0, 1):
            raise PlanError(f"{output.name}: the first and the last value are {MIN} and {MAX}, which with privacy keep away from them")
        (x,) = output.arguments
        descent = descent_of(output.function, p, x, groups, together)
        _check_room(descent.tree, groups, output.function)
        weights[descent] = max(weights.get(descent, 0), query.privacy.weight(output.name))
    return weights


def check_text(query: Query) -> None:
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
    others = [output.function for output in query.statistics if not isinstance(output.statistic, PrivateStatistic)]
    if others:
        raise PlanError(f"{place} takes sums, counts and what is made of them, and {others[0]} is not: declare the values, or ask for it over all rows")
    if query.rules != Rules(query.rules.minimum_group):
        raise PlanError(ONLY_MINIMUM)


def undeclared_of(query: Query, task: HomeTask, opened: Sequence[Measure], noise: Sequence[Noise | RandomisedResponse]) -> Undeclared | None:
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
