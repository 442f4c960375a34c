"""What a plan will do, in words: for the person who decides whether it may."""

from protocols.expression import Number
from protocols.planning.plan import Plan
from protocols.planning.query import StatisticOutput


def assumptions(plan: Plan) -> list[str]:
    """What must hold for the companies' data to stay secret."""
    security, n = plan.security, len(plan.security.parties)
    alone = security.colluding == 1
    together = "no company alone" if alone else f"no {security.colluding} companies together"
    listed = [
        f"{together} (of {n}) learn{'s' * alone} more than the answers they receive imply, unless they break AES, "
        "HKDF-SHA256 or TLS (computational security)",
        "every company follows the protocol (passive security): one that deviates can falsify the answer",
        "that a company's own data are true is not checked, but for their declared bounds",
    ]
    if plan.triples:
        listed.insert(1, "the dealer colludes with no company; it sees no data and nothing that is opened")
    return listed


def at_home(plan: Plan) -> list[tuple[str, str, str]]:
    """(companies, what each of them computes over its own rows, how many values) for each task."""
    described = []
    for task in plan.tasks:
        what = ", ".join(map(str, task.measures))
        keys = ", ".join(str(key.expression) for key in task.keys)
        where = " AND ".join(f"({condition})" if " OR " in str(condition) else str(condition) for condition in task.where)
        text = what + (f" for each {keys}" if keys else "") + f" over {task.table.name}" + (f" where {where}" if where else "")
        text += "".join(
            f"; {column.name} is rounded to multiples of {Number(column.step, column.scale)}"
            for column in task.columns
            if column.kind == "float"
        )
        text += "".join(f"; the number of {adjustment}" for adjustment in task.adjustments)
        described.append((", ".join(task.table.holders), text, f"{task.size:,} numbers"))
    return described


def said_by_statistics(plan: Plan) -> list[str]:
    """What the receivers learn of each selected statistic, beyond the answer."""
    outputs = [output for output in plan.query.select if isinstance(output, StatisticOutput)]
    return [
        f"{output.name}: {output.function}({'*' if output.argument is None else output.argument}) gives the receivers "
        f"{output.statistic.discloses}"
        for output in outputs
    ]


def steps(plan: Plan) -> list[str]:
    """What happens on shares, in order."""
    scheme = plan.scheme
    values = sum(shape[0] for shape in plan.shapes.values())
    listed = [
        f"share: {values:,} numbers in all as {scheme.name} shares over {scheme.algebra.name}; "
        f"any {scheme.privacy_threshold} companies' shares together are random noise"
    ]
    if plan.products:
        how = "Beaver triples from the dealer" if plan.triples else "resharing"
        listed.append(
            f"multiply: {plan.multiplied:,} products of one company's secrets with the others', with {how}; the products are "
            f"added up on shares{', group by group' if plan.keys else ''}"
        )
    else:
        listed.append("add: the companies' numbers are added up on shares, without any message")
    listed.append(f"open: {plan.values_opened:,} numbers, to {', '.join(plan.query.receivers)}")
    return listed
