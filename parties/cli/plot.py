"""A result as a picture: bars, one panel a statistic."""

from pathlib import Path
from typing import Any

from mpc.errors import ComityError


def plot(result: dict[str, Any], file: Path) -> None:
    """Writes `file`. Histograms are drawn over their bins; the two rows outside them are named in the title."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ComityError("plots need matplotlib: pip install 'comity[plot]'") from None
    columns, rows = result["columns"], result["rows"]
    if columns == ["bin_lower", "bin_upper", "count"]:
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.add_subplot()
        inner = rows[1:-1]
        lower = [float(row[0]) for row in inner]
        width = [float(row[1]) - float(row[0]) for row in inner]
        axes.bar(lower, [row[2] for row in inner], width, align="edge", edgecolor="white")
        axes.set_ylabel("count")
        axes.set_title(f"{result['query']} ({rows[0][2]:,} below, {rows[-1][2]:,} above)")
    else:
        keys = [i for i, name in enumerate(columns) if name in result["group_by"]]
        numbers = [i for i in range(len(columns)) if i not in keys]
        labels = [" / ".join("NULL" if row[i] is None else str(row[i]) for i in keys) for row in rows]
        figure = Figure(figsize=(4.5 * len(numbers), 4.5), layout="constrained")
        for panel, i in enumerate(numbers, 1):
            axes = figure.add_subplot(1, len(numbers), panel)
            axes.bar(labels, [0 if row[i] is None else float(row[i]) for row in rows])
            axes.set_title(columns[i])
            if len(labels) > 12:
                axes.tick_params("x", labelrotation=90)
        figure.suptitle(result["query"])
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise ComityError(f"cannot write {file}: {error}") from None
