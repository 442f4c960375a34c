"""comity check, explain, approve: what happens to a spec before anything runs."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from mpc.errors import ComityError
from parties.cli.options import NODE, SPEC
from parties.cli.table import counted
from parties.governance.approval import approve as approve_spec
from parties.governance.approval import membership
from parties.governance.stock import stocked
from parties.node.config import NodeFile, read_config
from parties.node.preparing import KINDS, group
from parties.spec.load import Spec, load
from parties.spec.models import SpecFile, json_schema
from parties.spec.problems import nearest
from parties.wire import identity
from protocols.planning.disclosures import disclosures
from protocols.planning.explain import assumptions, at_home, expected_errors, guarantee, said_by_statistics, steps
from protocols.planning.plan import Plan


@click.command()
@SPEC
def check(spec: Path) -> None:
    """Is SPEC valid? If not, lists every problem with its place."""
    loaded = load(spec)
    click.echo(f"{spec} is valid: {_summary(loaded)}")


@click.command()
@SPEC
@click.argument("query")
@click.option(
    "--node", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="The node's folder: says also what of its stock the query would use.",
)  # fmt: skip
def explain(spec: Path, query: str, node: Path | None) -> None:
    """What QUERY would do: at home, on shares, what it opens to whom, what that implies, and what it costs."""
    loaded = load(spec)
    if query not in loaded.plans:
        raise ComityError(f"{spec} has no query {query!r}: {nearest(query, loaded.plans)}")
    click.echo("\n".join(_explained(loaded, loaded.plans[query], node)))


@click.command()
@click.option("--node-file", is_flag=True, help="Of node.toml instead of the spec.")
def schema(node_file: bool) -> None:
    """A JSON Schema of the spec, for editors.

    One that knows TOML completes keys with it, and marks mistakes. Write it to a file, and name that in the spec's first line: #:schema ./comity.schema.json
    """
    model = NodeFile if node_file else SpecFile
    click.echo(json.dumps(json_schema(model), indent=1))


@click.command()
@SPEC
@NODE
def approve(spec: Path, node: Path) -> None:
    """This company agrees to exactly this SPEC: its node takes part in the queries of this file alone."""
    config = read_config(node)
    own = identity.load(node)
    loaded = approve_spec(spec, node, config.name, own)
    me = membership(loaded, config.name, own).me
    click.echo(f"{me} approves {spec}: {_summary(loaded)}")
    click.echo(f"SHA-256 {loaded.digest}")
    for table in loaded.tables.values():
        if me in table.holders and table.name not in config.tables:
            click.echo(f"note: {me} holds part of {table.name}: say where in {node}/node.toml, [tables.{table.name}]", err=True)


def _summary(spec: Spec) -> str:
    queries = ", ".join(spec.plans) or "none"
    return f"{len(spec.parties)} parties ({', '.join(spec.parties)}), queries {queries}"


def _explained(spec: Spec, plan: Plan, node: Path | None) -> Iterable[str]:
    scheme, parties = plan.scheme, plan.security.parties
    yield f"{plan.query.name}\n"
    yield from (f"    {line.strip()}" for line in spec.sql[plan.query.name].strip().splitlines())
    yield "\nAt home, each company by itself"
    for holders, what, count in at_home(plan):
        yield f"  {holders}: {what} ({count} each)"
    yield "\nAmong the companies"
    yield from (f"  {number}. {step}" for number, step in enumerate(steps(plan), 1))
    yield "\nDisclosed"
    for item in disclosures(plan):
        word = "implied" if item.implied else "opened"
        yield f"  {word}: {item.what}: {counted(item.cells, 'value')}, to {', '.join(item.to)}"
    yield from (f"  {line}" for line in said_by_statistics(plan))
    if guarantee(plan):
        yield "\nPrivacy"
        yield from (f"  - {line}" for line in guarantee(plan))
    if plan.noise:
        yield "\nExpected error (standard error, known before anything is spent; in brackets what else the same budget would give)"
        for name, where, error, central, local in expected_errors(plan):
            yield f"  {name}: {error} {where} (a trusted party: {central}; {f'local noise: {local}' if local else 'no local noise in joins'})"
    yield f"\nProven ranges (greatest magnitude; {scheme.algebra.name} is used up to {scheme.algebra.bound:,})"
    yield from (f"  {what}: {largest:,}" for what, largest in plan.ranges)
    yield "\nCost (payload a party hands to its channels)"
    for number, name in enumerate(parties):
        cost = plan.cost(number)
        yield f"  {name}: {counted(cost.rounds, 'round')}, {cost.bytes:,} bytes, {cost.triples:,} triples"
    if plan.triples == "ot" and plan.products:
        yield f"  {_of_stock(spec, plan, node)}"
    yield "\nTrust assumptions"
    yield from (f"  - {line}" for line in assumptions(plan))


def _of_stock(spec: Spec, plan: Plan, node: Path | None) -> str:
    """What triples, and other correlations, the query would use."""
    needed = {kind.name: kind.count * kind.EACH for kind in plan.needed}
    if node is None:
        return (
            f"of {' and '.join(_of_kind(name, count) for name, count in needed.items())}, those that are in stock (`comity prepare`) cost "
            "nothing; the others are made on the fly. --node says how many are there"
        )
    config = read_config(node)
    member = membership(spec, config.name, identity.load(node))
    if member.is_dealer:
        return "the dealer keeps no stock"
    mine = group(member, plan.scheme).id
    there = Counter[str]()
    for lot in stocked(node):
        there[lot.kind] += KINDS[lot.kind].EACH * lot.left * (lot.group == mine)
    said = [f"{min(there[name], count):,} of {_of_kind(name, count)}" for name, count in needed.items()]
    return f"{', '.join(said)} would come from the stock of {member.me}, as far as the others have them, and cost nothing; the others are made on the fly"


def _of_kind(name: str, count: int) -> str:
    return f"the {count:,} {name.removesuffix('s') if count == 1 else name}"
