"""The object that a query ends in: the answer, what was disclosed to whom, and what it cost."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from math import isfinite
from operator import add
from pathlib import Path
from typing import Any

from mpc.cost import Cost
from protocols.planning.disclosures import disclosures
from protocols.planning.execute import Answer, answer, withheld_cells
from protocols.planning.explain import INTERVAL, assumptions, guarantee
from protocols.planning.plan import Plan
from protocols.planning.query import KeyOutput
from protocols.statistics.base import Value

FOLDER = "results"


def report(
    plan: Plan,
    spec_digest: str,
    opened: Sequence[Sequence[int]],
    declared: Cost,
    measured: Cost,
    seconds: Mapping[str, float],
    from_stock: int | None = None,
) -> dict[str, Any]:
    """JSON-ready. Decimals become strings with all digits, an error without a bound null; bytes are the payload this node handed to its channels. What is
    declared is the cost where nothing comes from the stock; `from_stock` triples did, None where there can be none."""
    table = answer(plan, opened)
    return {
        "query": plan.query.name,
        "digest": spec_digest,
        "columns": list(table.columns),
        "group_by": [output.name for output in plan.query.select if isinstance(output, KeyOutput)],
        "rows": [[_plain(value) for value in row] for row in table.rows],
        "error_bound": [bound if isfinite(bound) else None for bound in table.error_bound],
        "adjusted": [
            {"what": str(item), "kind": item.what, "columns": [column.name for column in item.columns], "count": count}
            for item, [count] in zip(plan.adjustments, opened[len(plan.opened) : len(plan.opened) + len(plan.adjustments)], strict=True)
        ],
        "withheld": len(withheld_cells(plan, opened)) if plan.gate is not None else None,
        "released_totals": _released_totals(plan, table),
        "disclosed": [
            {"what": item.what, "cells": item.cells, "to": list(item.to), "implied": item.implied}
            for item in disclosures(plan)
        ],
        "cost": {
            "declared": _cost(declared),
            "measured": _cost(measured),
            "from_stock": from_stock,
            "seconds": {phase: round(value, 6) for phase, value in seconds.items()},
        },
        "parties": list(plan.security.parties),
        "scheme": plan.scheme.name,
        "algebra": plan.scheme.algebra.name,
        "assumptions": assumptions(plan),
        "privacy": _privacy(plan, table),
    }


def _released_totals(plan: Plan, table: Answer) -> dict[str, Any] | None:
    """Of a query by groups whose rules withhold cells, the totals of those that are released: of each COUNT and SUM. A full total would say what was withheld."""
    if plan.gate is None or plan.noise or not plan.query.group_by:
        return None
    totals: dict[str, Any] = {}
    for output in plan.query.statistics:
        if output.function in ("COUNT", "SUM"):
            place = table.columns.index(output.name)
            values = [value for row in table.rows if isinstance(value := row[place], int | float | Decimal)]
            totals[output.name] = _plain(reduce(add, values)) if values else None
    return totals


def _privacy(plan: Plan, table: Answer) -> dict[str, Any] | None:
    """The guarantee, and how far values may lie from the exact ones: `standard_error` and `interval` (95 %) have a place for
    each value of `rows`. None where nobody in the tables is declared to be protected."""
    if plan.query.privacy is None:
        return {"guarantee": guarantee(plan), "mechanism": None} if plan.exact_over else None
    privacy = plan.query.privacy
    reach = INTERVAL[privacy.mechanism]
    return {
        "guarantee": guarantee(plan),
        "mechanism": privacy.mechanism,
        "rho": privacy.micro_rho / 1e6,
        "standard_error": [list(row) for row in table.standard_error],
        "interval": [
            [
                None if error is None or value is None else [float(value) - reach * error, float(value) + reach * error]
                for value, error in zip(row, errors, strict=True)
            ]
            for row, errors in zip(table.rows, table.standard_error, strict=True)
        ],
    }


def _plain(value: Value) -> Any:
    return format(value, "f") if isinstance(value, Decimal) else value


def _cost(cost: Cost) -> dict[str, int]:
    return {"rounds": cost.rounds, "bytes": cost.bytes, "triples": cost.triples}


def write(result: dict[str, Any], directory: Path, session: bytes) -> Path:
    """Puts `result` into the node's folder of results, readable by the company alone."""
    folder = directory / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{result['query']}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{session.hex()[:8]}.json"
    draft = file.with_suffix(".part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(result, out, indent=1)
        out.write("\n")
    draft.replace(file)
    return file
