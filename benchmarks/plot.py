"""The report as a picture: the protocols as bars, whole queries as curves."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import micro
from benchmarks.measure import Line


def plot(lines: Sequence[Line], file: Path) -> None:
    from matplotlib.figure import Figure

    protocols = [line for line in lines if line.group in micro.GROUPS]
    curves = {
        group: [line for line in lines if line.group == group] for group in ("rows", "cells", "companies")
    }
    curves = {group: found for group, found in curves.items() if found}
    height = max(4.0, 0.3 * len(protocols))
    figure = Figure(figsize=(7 * bool(protocols) + 4 * len(curves), height), layout="constrained")
    widths = ([2] if protocols else []) + [1] * len(curves)
    panels = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
    if protocols:
        axes = panels.pop(0)
        labels = [f"{line.group}: {line.name}, {line.parties} parties" for line in protocols]
        axes.barh(labels, [line.elements / line.median / 1e6 for line in protocols])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("million elements a second")
    for (group, found), axes in zip(curves.items(), panels, strict=True):
        x = {
            "rows": [line.elements // line.parties for line in found],
            "cells": [int(line.name.split(", ")[1].split()[0].replace(",", "")) for line in found],
            "companies": [line.parties for line in found],
        }[group]
        axes.plot(x, [line.median for line in found], marker="o", label="query")
        axes.plot(x, [line.median / line.ratio for line in found if line.ratio], marker=".", label="local queries alone")
        if group != "companies":
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{group}{' at each company' if group == 'rows' else ''}")
        axes.set_ylabel("seconds")
        axes.legend()
    figure.savefig(file)
