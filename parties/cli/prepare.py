"""comity prepare"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from parties.cli.options import NODE
from parties.cli.run import ask_node
from parties.cli.table import console
from parties.wire.v1 import party_pb2 as pb

EVERY = 10.0
"""Seconds between two lines where no terminal shows a bar."""
FACTORS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}


class _Count(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,12})([kKMG]?)", str(value).replace("_", ""))
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is no count, such as 500000, 500k or 50M", param, ctx)
        return int(found[1]) * FACTORS[found[2]]


KINDS = {
    "triples": "Triples: one for each product of secrets.",
    "ands": "ANDs of secret bits.",
    "squares": "Squares of secrets.",
    "bits": "Random bits, as bits and as numbers.",
    "masks": "Random numbers with their bits.",
}


def _wanted(command: Callable[..., None]) -> Callable[..., None]:
    for kind, what in reversed(KINDS.items()):
        command = click.option(f"--{kind}", type=_Count(), metavar="COUNT", help=what)(command)
    return command


@click.command()
@NODE
@click.option(
    "--with", "partners", type=click.Choice(["all"]), default="all", show_default=True,
    help="With which companies: it is made by all parties of the approved spec together, so there is no other choice.",
)  # fmt: skip
@_wanted
def prepare(node: Path, partners: str, **wanted: int | None) -> None:
    """Make triples ahead of queries, with all other nodes, at a quiet hour; and bits and what else they may use up. Each count is
    what is to be in stock at the end: 500k, 50M. `comity explain` says what a query takes.

    What is in stock already counts: nothing is made where there is enough, and after an interruption (Ctrl-C) the same command goes on.
    """
    out = console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        console=out, disable=not out.is_terminal,
    )  # fmt: skip
    asked = {kind: count for kind, count in wanted.items() if count}
    if not asked:
        raise click.UsageError(f"say how many of what are to be in stock: {', '.join(f'--{kind}' for kind in wanted)}")
    for kind, count in asked.items():
        with bar:
            shown = _Shown(bar, kind, count)
            result = ask_node(pb.RunRequest(prepare=f"{count} {kind}"), node, shown.hear)
        made, there = result["made"], result["wanted"]
        what = f"made {made:,} {kind}" if made else f"no {kind} were missing"
        click.echo(f"{what}; {there:,} or more are in stock with {', '.join(result['with'])}")


class _Shown:
    """The progress: a bar, or a line now and then."""

    def __init__(self, bar: Progress, kind: str, wanted: int) -> None:
        self._bar, self._kind, self._task = bar, kind, bar.add_task(f"making {kind}", total=wanted, rate="")
        self._first: tuple[float, int] | None = None
        self._said = time.monotonic()

    def hear(self, text: str) -> None:
        heard = json.loads(text)
        made, of, now = heard["made"], heard["of"], time.monotonic()
        if self._first is None:
            self._first = now, made
        since, before = self._first
        rate = (made - before) / (now - since) if now > since else 0.0
        self._bar.update(self._task, completed=made, rate=f"{rate:,.0f}/s" if rate else "")
        if self._bar.disable and (now - self._said >= EVERY or made == of):
            self._said = now
            pace = f", {rate:,.0f} a second, {_duration((of - made) / rate)} to go" if rate and made < of else ""
            click.echo(f"{made:,} of {of:,} {self._kind}{pace}", err=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s" if minutes else f"{rest} s"
