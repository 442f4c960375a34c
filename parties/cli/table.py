"""Results as tables for people, and as CSV."""

import csv
import io
from typing import Any

from rich.console import Console
from rich.table import Table


def text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:,}" if isinstance(value, int) else str(value)


def console(stderr: bool = False) -> Console:
    """Wide where it is no terminal: a log that cuts digits off is worth nothing. Texts of a spec are printed as they
    are: brackets and colons in them mean nothing."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = max(made.width, 160)
    return made


def print_result(result: dict[str, Any], console: Console) -> None:
    """The answer, what was disclosed to whom, the cost, the assumptions."""
    table = Table(title=result["query"], title_justify="left")
    for position, column in enumerate(result["columns"]):
        numeric = all(isinstance(row[position], int | float) or row[position] is None for row in result["rows"])
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row, errors in zip(result["rows"], standard_errors(result), strict=True):
        table.add_row(*(text(value) + ("" if error is None else f" ± {error:.3g}") for value, error in zip(row, errors, strict=True)))
    console.print(table)
    print_privacy(result, console)
    print_disclosed(result, console)
    print_assumptions(result, console)


def standard_errors(result: dict[str, Any]) -> list[list[float | None]]:
    """A place for each value of the answer; None where it has no noise."""
    found: list[list[float | None]] | None = (result["privacy"] or {}).get("standard_error")
    return found or [[None] * len(result["columns"]) for _ in result["rows"]]


def print_privacy(result: dict[str, Any], console: Console) -> None:
    for line in (result["privacy"] or {}).get("guarantee", ()):
        console.print(f"privacy: {line}")


def print_disclosed(result: dict[str, Any], console: Console) -> None:
    """What was left out or clamped, what was disclosed, to whom, and the cost."""
    for item in result["adjusted"]:
        console.print(f"adjusted: {item['count']:,} {item['what']}")
    if result["withheld"] is not None:
        console.print(f"withheld: {result['withheld']:,} of {len(result['rows']):,} rows, by the rules of the query")
    if result["released_totals"]:
        console.print(f"total of what is released: {', '.join(f'{name} {text(value)}' for name, value in result['released_totals'].items())}")
    for item in result["disclosed"]:
        word = "implied" if item["implied"] else "opened"
        console.print(f"{word}: {item['what']} ({counted(item['cells'], 'value')}), to {', '.join(item['to'])}")
    measured, seconds = result["cost"]["measured"], result["cost"]["seconds"]
    phases = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items() if name != "triples" or measured["triples"])
    console.print(
        f"cost: {counted(measured['rounds'], 'round')}, {measured['bytes']:,} bytes sent, "
        f"{counted(measured['triples'], 'triple')}{_from_stock(result['cost'])}; seconds: {phases}"
    )


def _from_stock(cost: dict[str, Any]) -> str:
    """Of the triples, how many were made ahead; nothing where a query needs none, or its triples are never in stock."""
    found, needed = cost.get("from_stock"), cost["measured"]["triples"]
    if found is None or not needed:
        return ""
    return f" ({found:,} of {needed:,} from the stock{', the others made on the fly' * (found < needed)})"


def print_assumptions(result: dict[str, Any], console: Console) -> None:
    console.print(f"{result['scheme']} over {result['algebra']}; parties {', '.join(result['parties'])}; spec {result['digest'][:16]}")
    for line in result["assumptions"]:
        console.print(f"assumes: {line}")


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def as_csv(result: dict[str, Any]) -> str:
    """RFC 4180; NULL is an empty field. With noise, each column of values has one of standard errors after all others."""
    out = io.StringIO()
    writer = csv.writer(out)
    errors = standard_errors(result)
    noisy = [place for place in range(len(result["columns"])) if any(row[place] is not None for row in errors)]
    writer.writerow([*result["columns"], *(f"{result['columns'][place]}_standard_error" for place in noisy)])
    for row, row_errors in zip(result["rows"], errors, strict=True):
        values = [*row, *(row_errors[place] for place in noisy)]
        writer.writerow("" if value is None else text(value) if isinstance(value, bool) else value for value in values)
    return out.getvalue()
