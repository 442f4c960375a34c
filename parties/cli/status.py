"""comity status"""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from parties.cli.options import NODE
from parties.cli.table import console
from parties.governance.stock import megabytes, stocked
from parties.node.config import read_config
from parties.node.preparing import KINDS


@click.command()
@NODE
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(node: Path, format_: str) -> None:
    """What this company's node has in stock, with whom: what `comity prepare` made and no query has used.

    Reads the node's folder, also while it runs. Where another company has used more, or has it no more, queries use less.
    """
    found = read_status(node)
    if format_ == "json":
        click.echo(json.dumps(found))
        return
    out = console()
    out.print(f"stock of {found['node']}: {megabytes(sum(lot['bytes'] for lot in found['stock']))} of {megabytes(found['limit'])}")
    if not found["stock"]:
        out.print("nothing is in stock: `comity prepare` makes triples and bits ahead of queries")
        return
    table = Table()
    for column in ("with", "what", "scheme", "left", "of", "MB", "made"):
        table.add_column(column, justify="right" if column in ("left", "of", "MB") else "left", overflow="fold")
    for lot in found["stock"]:
        made = lot["made"][:16].replace("T", " ") + " UTC" + " (under way)" * lot["under_way"]
        table.add_row(
            ", ".join(lot["with"]), lot["kind"], lot["scheme"], f"{lot['left']:,}", f"{lot['of']:,}", f"{lot['bytes'] / 1e6:,.1f}", made
        )
    out.print(table)


def read_status(node: Path) -> dict[str, Any]:
    """What `comity status --format json` prints."""
    config = read_config(node)
    return {
        "node": config.name,
        "limit": config.stock,
        "stock": [
            {
                "with": [name for name in lot.parties if name != config.name], "kind": lot.kind, "scheme": lot.scheme,
                "left": KINDS[lot.kind].EACH * lot.left, "of": KINDS[lot.kind].EACH * lot.end, "bytes": lot.bytes, "made": lot.made.isoformat(), "under_way": lot.is_open,
            }
            for lot in stocked(node)
        ],
    }  # fmt: skip
