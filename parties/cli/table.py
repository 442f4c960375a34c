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


def print_result(result: dict[str, Any], console: Console) -> None:
    """The answer, what was disclosed to whom, the cost, the assumptions."""
    table = Table(title=result["query"], title_justify="left")
    for position, column in enumerate(result["columns"]):
        numeric = all(isinstance(row[position], int | float) or row[position] is None for row in result["rows"])
        table.add_column(column, justify="right" if numeric else "left")
    for row in result["rows"]:
        table.add_row(*map(text, row))
    console.print(table)
    print_footer(result, console)


def print_footer(result: dict[str, Any], console: Console) -> None:
    for item in result["disclosed"]:
        word = "implied" if item["implied"] else "opened"
        values = f"{item['cells']:,} value{'s' * (item['cells'] != 1)}"
        console.print(f"{word}: {item['what']} ({values}), to {', '.join(item['to'])}", highlight=False)
    measured, seconds = result["cost"]["measured"], result["cost"]["seconds"]
    phases = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
    console.print(
        f"cost: {measured['rounds']} rounds, {measured['bytes']:,} bytes sent, {measured['triples']:,} triples; "
        f"seconds: {phases}",
        highlight=False,
    )
    console.print(f"{result['scheme']}; parties {', '.join(result['parties'])}; spec {result['digest'][:16]}", highlight=False)
    for line in result["assumptions"]:
        console.print(f"assumes: {line}", highlight=False)


def as_csv(result: dict[str, Any]) -> str:
    """RFC 4180; NULL is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(result["columns"])
    for row in result["rows"]:
        writer.writerow("" if value is None else text(value) if isinstance(value, bool) else value for value in row)
    return out.getvalue()
