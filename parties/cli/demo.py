"""comity demo: three airlines and a weather company, each a node of its own, on this machine."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mpc.errors import ComityError
from parties.cli.local import COMITY, free_ports, make_interruptible, nodes
from parties.cli.plot import plot
from parties.cli.run import run_on_node
from parties.cli.table import console, print_assumptions, print_disclosed, text
from parties.data.home import TableSource
from parties.data.pooled import PooledValue, differences, pooled_answer
from parties.spec.load import Spec, load

HOLDERS = {"united": "flights", "jetblue": "flights", "delta": "flights", "weather": "weather"}
NODES = tuple(HOLDERS)
ASKING = "united"


@click.command()
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def demo(format_: str) -> None:
    """Run the flights example: four nodes, five queries, each answer beside the one on the pooled data.

    Writes out/demo (the companies' folders, the spec) and out/*.png. Exit status 1 when an answer differs by more than
    its stated bound.
    """
    make_interruptible()
    out = Path("out")
    folder = out / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say = console(stderr=format_ == "json")
    results = []
    spec = _prepare(folder, _example(), say)
    sources = {
        name: {table: TableSource(folder / name / f"{name}.parquet", None)} for name, table in HOLDERS.items()
    }
    say.print("\n4. Each company starts its node", style="bold")
    for name in NODES:
        say.print(f"$ comity node {folder / name}")
    with nodes([folder / name for name in NODES], lambda node: [*COMITY, "node", str(node)]):
        for query in spec.plans:
            result, differ = _compare(query, spec, folder / ASKING, sources, say)
            results.append({**result, **differ})
            if format_ == "table":
                _print(result, differ, say)
    print_assumptions(results[-1], say)
    for result in results:
        plot(result, out / f"{result['query']}.png")
    say.print(f"plots: {', '.join(str(out / f'{name}.png') for name in spec.plans)}")
    say.print(f"the other receivers' nodes hold the same answers: {folder}/jetblue/results, {folder}/delta/results")
    if format_ == "json":
        click.echo(json.dumps({"results": results}))
    wrong = [result["query"] for result in results if not result["within_bound"]]
    if wrong:
        raise ComityError(f"differs from the pooled answer by more than its bound: {', '.join(wrong)}")
    say.print(f"all {len(results)} answers equal those on the pooled data, within their bounds")


def _example() -> Path:
    """examples/flights: beside the packages in a checkout, within them when installed."""
    packages = Path(__file__).parents[1]
    for place in (packages.parent / "examples/flights", packages / "examples/flights"):
        if (place / "queries.toml").is_file():
            return place
    raise ComityError("the files of examples/flights are missing from this installation")


def _prepare(folder: Path, example: Path, say: Console) -> Spec:
    """Identities, the spec, each company's approval: by the commands that the companies would use."""
    say.print("1. Each company makes its node's folder, with a key and a certificate of its own", style="bold")
    ports = free_ports(len(NODES))
    commands = [
        ("init", folder / name, "--name", name, "--address", f"localhost:{port}")
        for name, port in zip(NODES, ports, strict=True)
    ]
    stanzas = _all(commands, say)
    for name, table in HOLDERS.items():
        shutil.copy(example / "data" / f"{name}.parquet", folder / name)
        with (folder / name / "node.toml").open("a") as config:
            config.write(f'\n[tables.{table}]\nsource = "{name}.parquet"\n')

    say.print("\n2. All put their stanzas beside the tables and queries they agreed on, and check the spec", style="bold")
    file = folder / "comity.toml"
    file.write_text((example / "queries.toml").read_text() + "\n\n" + "\n".join(stanzas))
    say.print(_all([("check", file)], say)[0].strip())

    say.print("\n3. Each company approves exactly this file", style="bold")
    for line in _all([("approve", file, "--node", folder / name) for name in NODES], say):
        say.print(line.strip())
    return load(file)


def _all(commands: Sequence[Sequence[object]], say: Console) -> list[str]:
    """Runs commands of comity, side by side, and returns what each printed."""

    def one(command: Sequence[object]) -> str:
        done = subprocess.run([*COMITY, *map(str, command)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ComityError(f"comity {' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout

    for command in commands:
        say.print(f"$ comity {' '.join(map(str, command))}")
    with say.status("working"), ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, commands))


def _compare(
    query: str, spec: Spec, asking: Path, sources: dict[str, dict[str, TableSource]], say: Console
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer from the nodes, and how far it is from the one on the pooled data."""
    say.print(f"\n$ comity run {query} --node {asking}")
    with say.status("asking the node") as status:
        tell: Callable[[str], object] = lambda phase: status.update(f"{query}: {phase}")  # noqa: E731
        result = run_on_node(query, asking, tell)
        status.update(f"{query}: the same on the pooled data")
        pooled = pooled_answer(spec.plans[query].query, sources)
    difference = differences(result["rows"], pooled)
    within = all(bound is None or d <= bound for d, bound in zip(difference, result["error_bound"], strict=True))
    return result, {
        "pooled": [[_plain(value) for value in row] for row in pooled],
        "difference": difference,
        "within_bound": within,
    }


def _plain(value: PooledValue) -> str | int | float | bool | None:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def _print(result: dict[str, Any], differ: dict[str, Any], say: Console) -> None:
    table = Table(title=result["query"], title_justify="left")
    for column in result["columns"]:
        table.add_column(column, justify="right", overflow="fold")
    answers = [name for name in result["columns"] if name not in (*result["group_by"], "bin_lower", "bin_upper")]
    for column in answers:
        table.add_column(f"pooled {column}", justify="right", style="dim", overflow="fold")
    for row, pooled in zip(result["rows"], differ["pooled"], strict=True):
        beside = [pooled[result["columns"].index(column)] for column in answers]
        table.add_row(*map(text, row), *map(text, beside))
    say.print(table)
    for column, difference, bound in zip(result["columns"], differ["difference"], result["error_bound"], strict=True):
        if column in answers:
            say.print(f"{column}: greatest difference {difference:g}, stated bound {'none' if bound is None else f'{bound:g}'}")
    print_disclosed(result, say)
