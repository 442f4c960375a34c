"""comity rehearse"""

import json
import math
from contextlib import nullcontext
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from parties.cli.options import NODE
from parties.cli.plot import plot_rehearsal
from parties.cli.table import console, counted
from parties.governance.approval import Approval
from parties.node.config import read_config
from parties.node.rehearsal import MOST_SYNTHETIC, Kind
from parties.node.rehearsal import rehearse as rehearse_query
from parties.wire import identity

LARGEST = 1000
MOST = 20
NOTICEABLE = 1e-9
"""Relative differences below this are those of rounding."""
NOTHING_SPENT = "rehearsed on this machine alone: no peer was asked, nothing left, no budget was charged, no ledger was written"


def _numbers(context: click.Context, parameter: click.Parameter, text: str) -> list[Fraction]:
    try:
        numbers = sorted({Fraction(Decimal(part.strip())) for part in text.split(",")})
    except (InvalidOperation, ValueError, OverflowError):
        numbers = []
    if not numbers or len(numbers) > MOST or numbers[0] < Fraction(1, 10**6) or numbers[-1] > LARGEST:
        raise click.BadParameter(f"takes 1 to {MOST} numbers from 0.000001 to {LARGEST}, such as 0.1,0.3,1,3")
    return numbers


def _probability(context: click.Context, parameter: click.Parameter, text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        number = Fraction(Decimal(text))
    except (InvalidOperation, ValueError, OverflowError):
        number = Fraction(0)
    if not Fraction(1, 10**30) <= number < 1:
        raise click.BadParameter("is a probability between 0 and 1, such as 1e-6")
    return number


@click.command()
@click.argument("query")
@NODE
@click.option(
    "--rows", type=click.Choice(["own", "synthetic"]),
    help="This company's own, or drawn from the declared ranges. [default: its own of each table that it has]",
)  # fmt: skip
@click.option("--epsilons", default="0.1,0.3,1,3", show_default=True, callback=_numbers, help="Budgets to try.")
@click.option("--delta", callback=_probability, help="Where the query has none of its own. [default: 1e-6]")
@click.option(
    "--count", type=click.IntRange(1), help=f"Synthetic rows a company. [default: max_rows, at most {MOST_SYNTHETIC:,}]"
)
@click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the errors.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def rehearse(
    query: str, node: Path, rows: Kind | None, epsilons: list[Fraction], delta: Fraction | None, count: int | None,
    plot: Path | None, format_: str,
) -> None:  # fmt: skip
    """Utility before spending: how far QUERY's answers would be off, at several epsilons.

    Nothing leaves this machine: no peer is asked, no budget is charged, no ledger is written. Stand-ins for all companies, with this
    company's own rows split among them, or with synthetic ones, run the query's real code: home queries, noise, shares, opening.

    Errors are root mean squares over all cells and repetitions, beside those of the same guarantee with one trusted party that
    sees all rows (central), with each company protecting itself (local), and those of one company's rows alone, without noise.
    """
    if plot is not None and not plot.parent.is_dir():
        raise click.BadParameter(f"there is no folder {plot.parent}", param_hint="--plot")
    config = read_config(node)
    spec = Approval(node, config.name, identity.load(node)).current().spec
    progress = console(stderr=True)
    with progress.status("rehearsing") if progress.is_terminal else nullcontext() as status:
        result = rehearse_query(
            spec, query, config.tables, epsilons, kind=rows, delta=delta, count=count,
            tell=lambda doing: status.update(doing) if status else None,
        )  # fmt: skip
    if format_ == "json":
        click.echo(json.dumps(result))
    else:
        _print(result, console())
    if plot is not None:
        plot_rehearsal(result, plot)


def _print(result: dict[str, Any], say: Console) -> None:
    noise = f"{result['mechanism']} noise" + (f", delta {result['delta']:g}" if result["delta"] else "")
    table = Table(title=f"{result['query']}: root-mean-square error ({noise})", title_justify="left")
    for column in ("output", "epsilon", "ours", "central", "local", "one company alone"):
        table.add_column(column, justify="left" if column == "output" else "right", overflow="fold")
    for output in result["bounding"]:
        for number, line in enumerate(result["errors"]):
            errors = line["outputs"][output]
            mark = "*" if line["is_own"] else ""
            table.add_row(
                output if number == 0 else "", f"{mark}{line['epsilon']:.4g}",
                *(_error(errors[way]) for way in ("ours", "central", "local", "alone")),
                end_section=number == len(result["errors"]) - 1,
            )  # fmt: skip
    say.print(table)
    if result["own_epsilon"] is not None:
        say.print("* the query's own budget")
    say.print(
        f"in brackets: relative to the root mean square of the exact values; over {counted(result['cells'], 'cell')}, "
        f"{result['repetitions']} times with fresh noise"
    )
    for output, error in result["bounding"].items():
        if error["missing"] or (error["absolute"] or 0) > NOTICEABLE * _size(error):
            say.print(f"without any noise, {output} is off by {_error(error)}: what bounds on values and on a unit's rows leave out")
    if result["note"]:
        say.print(f"note: {result['note']}")
    for used in result["rows"]:
        say.print(_rows(used))
    say.print(
        f"real: home queries, noise, shares among {len(result['parties'])} parties ({result['colluding']} may collude), opening, as "
        "threads of one process; not there: network, the other companies' nodes, ledgers"
    )
    say.print(NOTHING_SPENT)


def _size(error: dict[str, Any]) -> float:
    """Of the exact values."""
    return float(error["absolute"] / error["relative"]) if error["relative"] else 0.0


def _error(error: dict[str, Any] | None) -> str:
    if error is None:
        return "-"
    if error["absolute"] is None:
        return "no value"
    said = f"{error['absolute']:.3g}"
    if error["relative"] is not None:
        said += f" ({_percent(error['relative'])})"
    return said + (f", {_percent(error['missing'])} of cells without" if error["missing"] else "")


def _percent(part: float) -> str:
    digits = max(0, 1 - math.floor(math.log10(part * 100))) if 0 < part < 1 else 0
    return f"{part * 100:.{min(digits, 4)}f} %"


def _rows(used: dict[str, Any]) -> str:
    counts, companies = used["rows"].values(), len(used["rows"])
    if used["kind"] == "synthetic":
        return (
            f"rows of {used['table']}: {sum(counts):,} synthetic ones, drawn evenly from the declared ranges for {', '.join(used['rows'])}; "
            "real ones are less even"
        )
    if companies == 1:
        return f"rows of {used['table']}: this company's own {sum(counts):,}"
    parts = ", ".join(f"{count:,} as {name}" for name, count in used["rows"].items())
    return (
        f"rows of {used['table']}: this company's own {sum(counts):,}, split at random: {parts}\n"
        "  with all companies' rows there are more of them, so relative errors are smaller; and companies differ by more than such parts do, so "
        "one alone is further off"
    )
