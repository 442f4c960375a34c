"""`comity bench`, or `python -m benchmarks`: what Comity costs on this machine."""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import micro, privacy, queries, silent
from benchmarks.measure import HEADINGS, Line, row
from benchmarks.peers.beside import WORKS, Peers
from benchmarks.plot import plot
from mpc.errors import ComityError

GROUPS = (*micro.GROUPS, *silent.GROUPS, *privacy.GROUPS, *queries.GROUPS)


def lines(groups: tuple[str, ...], runs: int, quick: bool, peers: Peers) -> Iterator[Line]:
    for measured in (micro, silent, privacy, queries):
        for line in measured.lines(groups, runs, quick):
            yield line
            yield from peers.beside(line, runs)  # at once: a shared machine changes


@click.command(name="bench")
@click.argument("names", nargs=-1, metavar="[NAME ...]", type=click.Choice(GROUPS))
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--quick", is_flag=True, help="Few runs of small sizes: does it all work?")
@click.option("--peers", "with_peers", is_flag=True, help="Also the same work in MPyC, CrypTen and SPU, each where it installs.")
@click.option("--plot", "picture", metavar="FILE.png", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it.")
def bench(names: tuple[str, ...], format_: str, quick: bool, with_peers: bool, picture: Path | None) -> None:
    """Measure what Comity costs here: all of it, or NAMEs alone.

    exchange, share, open, multiply, dot, compare, truncate, histogram, moments, dealer, sum: protocols, among threads and among processes over mutual TLS, beside plain numpy
    and raw TLS sockets. ot: oblivious transfers; silent: what another way to make them would bring. noise, ledger: what privacy costs a company. rows, cells, companies, median, rules: whole queries, beside the same local queries. start: the command and a node.
    """
    peers = Peers(WORKS if with_peers else ())
    say = Console(stderr=True)
    measured = []
    with say.status("measuring") if say.is_terminal else nullcontext() as status:
        for line in lines(names or GROUPS, 2 if quick else 7, quick, peers):
            measured.append(line)
            if status is not None:
                status.update(f"measured {line.group}: {line.name}")
    if picture is not None:
        plot(measured, picture)
    if format_ == "json":
        click.echo(json.dumps([line.as_json() for line in measured]))
    else:
        table = Table(*HEADINGS)
        for line in measured:
            table.add_row(*row(line))
        console = Console()
        console.width = max(console.width, 200)
        console.print(table)
    for reason in peers.absent.values():
        click.echo(reason, err=format_ == "json")
    wrong = [f"{line.group}, {line.name}" for line in measured if line.declared != line.measured]
    if wrong:
        sys.exit(f"costs more or less than declared: {'; '.join(wrong)}")


if __name__ == "__main__":
    try:
        bench(prog_name="comity bench")
    except ComityError as error:
        sys.exit(f"comity bench: {error}")
