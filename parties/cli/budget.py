"""comity budget"""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from parties.cli.options import NODE
from parties.cli.table import console
from parties.governance.ledger import Cap, LedgerView
from parties.node.config import Config, read_config
from protocols.accounting import epsilon

DELTA = 1e-6
"""What epsilon is shown at where a node has no budget."""


@click.command()
@NODE
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def budget(node: Path, format_: str) -> None:
    """What this company's node has spent of its privacy budget, and what is left, by account and by query.

    Reads the node's ledger, also while the node runs. Counted are whole micro-rho; epsilon is what they are worth at the budget's
    delta, each for itself: epsilons do not add up.
    """
    found = read_budget(read_config(node))
    if format_ == "json":
        click.echo(json.dumps(found))
    else:
        _print(found, console())


def read_budget(config: Config) -> dict[str, Any]:
    """What `comity budget --format json` prints. LedgerError where the ledger is damaged or foreign."""
    cap, accounts, queries = config.cap, [], []
    delta = cap.delta if cap else DELTA
    if LedgerView.exists(config.directory):
        with LedgerView(config.directory) as ledger:
            for balance in ledger.accounts(lambda account: cap):
                amounts = {"spent": balance.spent, "reserved": balance.reserved, "left": balance.left}
                accounts.append({**balance.account._asdict(), **_priced(amounts, delta)})
            for entry in ledger.entries():
                charges = [
                    {**charge.account._asdict(), **_priced({"price": charge.micro_rho}, delta)} for charge in entry.charges
                ]
                queries.append({
                    "time": entry.made.isoformat(), "id": entry.id.hex(), "query": entry.query, "state": entry.state,
                    "charges": charges,
                })  # fmt: skip
    return {"node": config.name, "delta": delta, "budget": _cap(cap), "accounts": accounts, "queries": queries}


def _cap(cap: Cap | None) -> dict[str, Any] | None:
    return {"micro_rho": cap.micro_rho, "epsilon": epsilon(cap.micro_rho, cap.delta), "renew": cap.renew} if cap else None


def _priced(amounts: dict[str, int | None], delta: float) -> dict[str, dict[str, Any] | None]:
    return {
        name: None if amount is None else {"micro_rho": amount, "epsilon": epsilon(amount, delta)}
        for name, amount in amounts.items()
    }


def _print(found: dict[str, Any], out: Console) -> None:
    cap = found["budget"]
    period = {"never": "", "yearly": " a calendar year (UTC)", "monthly": " a calendar month (UTC)"}
    limit = f"{_amount(cap)} for each table and unit{period[cap['renew']]}" if cap else "none in node.toml: nothing is refused"
    out.print(f"budget of {found['node']}: {limit}; in micro-rho (epsilon at delta {found['delta']:g})")
    if not found["queries"]:
        out.print("nothing was spent yet")
        return
    accounts = Table(title="by account", title_justify="left")
    for column in ("table", "unit", "spent", "reserved", "left"):
        accounts.add_column(column, justify="left" if column in ("table", "unit") else "right", overflow="fold")
    for row in found["accounts"]:
        accounts.add_row(row["table"], row["unit"], *(_amount(row[name]) for name in ("spent", "reserved", "left")))
    out.print(accounts)
    queries = Table(title="by query", title_justify="left")
    for column in ("time", "id", "query", "state", "table", "unit", "price"):
        queries.add_column(column, justify="right" if column == "price" else "left", overflow="fold")
    for row in found["queries"]:
        for charge in row["charges"]:
            queries.add_row(
                row["time"], row["id"][:8], row["query"], row["state"], charge["table"], charge["unit"], _amount(charge["price"])
            )
    out.print(queries)


def _amount(amount: dict[str, Any] | None) -> str:
    return "no cap" if amount is None else f"{amount['micro_rho']:,} ({amount['epsilon']:.4g})"
