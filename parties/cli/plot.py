"""A result as a picture: bars, one panel a statistic."""

import math
from pathlib import Path
from typing import Any

from mpc.errors import ComityError
from parties.cli.table import text

_WAYS = {
    "ours": ("ours", "o-"), "central": ("central noise", "s--"), "local": ("local noise", "^--"), "alone": ("one company alone", "k:"),
}  # fmt: skip


def plot(result: dict[str, Any], file: Path) -> None:
    """Writes `file`. Histograms are drawn over their bins; the two rows outside them are named in the title. With noise,
    bars carry their 95 % intervals."""
    Figure = _figures()
    columns, rows, errors = result["columns"], result["rows"], _intervals(result)
    if columns == ["bin_lower", "bin_upper", "count"]:
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.add_subplot()
        inner = rows[1:-1]
        lower = [float(row[0]) for row in inner]
        width = [float(row[1]) - float(row[0]) for row in inner]
        reach = [row[2] for row in errors][1:-1]
        axes.bar(lower, [_height(row[2]) for row in inner], width, align="edge", edgecolor="white")
        if any(reach):
            middle = [start + size / 2 for start, size in zip(lower, width, strict=True)]
            axes.errorbar(middle, [_height(row[2]) for row in inner], reach, fmt="none", ecolor="black", capsize=2)
        axes.set_ylabel("count")
        axes.set_title(f"{result['query']} ({text(rows[0][2])} below, {text(rows[-1][2])} above)")
    else:
        keys = [i for i, name in enumerate(columns) if name in result["group_by"]]
        numbers = [i for i in range(len(columns)) if i not in keys]
        labels = [" / ".join("NULL" if row[i] is None else str(row[i]) for i in keys) for row in rows]
        figure = Figure(figsize=(4.5 * len(numbers), 4.5), layout="constrained")
        for panel, i in enumerate(numbers, 1):
            axes = figure.add_subplot(1, len(numbers), panel)
            reach = [row[i] for row in errors]
            heights = [_height(row[i]) for row in rows]
            axes.bar(labels, heights, yerr=reach if any(reach) else None, capsize=2)
            axes.set_title(columns[i])
            if len(labels) > 12:
                axes.tick_params("x", labelrotation=90)
        figure.suptitle(result["query"])
    _save(figure, file)


def plot_rehearsal(result: dict[str, Any], file: Path) -> None:
    """Writes `file`: errors against epsilon, one panel an output, both axes logarithmic."""
    Figure = _figures()
    lines, outputs = result["errors"], list(result["bounding"])
    epsilons = [line["epsilon"] for line in lines]
    figure = Figure(figsize=(max(6, 4.5 * len(outputs)), 4.5), layout="constrained")
    for panel, output in enumerate(outputs, 1):
        axes = figure.add_subplot(1, len(outputs), panel)
        for way, (label, style) in _WAYS.items():
            errors = [(line["outputs"][output][way] or {}).get("absolute") or math.nan for line in lines]
            axes.plot(epsilons, errors, style, label=label)
        if result["own_epsilon"] is not None:
            axes.axvline(result["own_epsilon"], color="grey", linewidth=0.8, label="the query's own epsilon")
        axes.set(xscale="log", yscale="log", xlabel="epsilon", title=output)
    figure.axes[0].set_ylabel("root-mean-square error")
    figure.axes[-1].legend()
    figure.suptitle(f"{result['query']}, rehearsed")
    _save(figure, file)


def _height(value: Any) -> float:
    """Of a bar; none where there is no value."""
    return math.nan if value is None else float(value)


def _figures() -> Any:
    """matplotlib's class, imported only where something is drawn."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ComityError("plots need matplotlib: pip install 'comity[plot]'") from None
    return Figure


def _save(figure: Any, file: Path) -> None:
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ComityError(f"cannot write {file}: {error}") from None


def _intervals(result: dict[str, Any]) -> list[list[float]]:
    """How far the 95 % interval of each value reaches on either side; 0 without noise."""
    intervals = (result["privacy"] or {}).get("interval") or [[None] * len(result["columns"]) for _ in result["rows"]]
    return [[0.0 if pair is None else (pair[1] - pair[0]) / 2 for pair in row] for row in intervals]
