"""A line of the report: what was done, how long it took, what it cost, and beside what floor of the same run."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mpc.cost import Cost


@dataclass(frozen=True)
class Line:
    """`seconds` of each run; `floor_seconds` of the least that could do the same, in the same processes, or of what else it
    is compared with. `declared` and `measured` are the costs of the party that sends most, where they are counted;
    `peak_mb` is the memory of the largest process."""

    group: str
    name: str
    parties: int
    elements: int
    seconds: Sequence[float]
    floor: str
    floor_seconds: Sequence[float]
    declared: Cost | None = None
    measured: Cost | None = None
    peak_mb: float = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float | None:
        """How many times the floor."""
        return self.median / statistics.median(self.floor_seconds) if self.floor_seconds else None

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "median": self.median,
            "elements_a_second": self.elements / self.median,
            "ratio": self.ratio,
        }


def row(line: Line) -> tuple[str, ...]:
    spread = f"{min(line.seconds) * 1e3:,.1f} to {max(line.seconds) * 1e3:,.1f}"
    cost = _cost(line.measured)
    if line.declared != line.measured:
        cost += f" (declared {_cost(line.declared)})"
    return (
        line.group,
        line.name,
        str(line.parties),
        f"{line.elements:,}",
        f"{line.median * 1e3:,.1f}",
        spread,
        f"{line.elements / line.median / 1e6:,.2f}",
        cost,
        f"{line.peak_mb:,.0f}",
        f"{line.ratio:,.2f} x {line.floor}" if line.ratio is not None else "",
    )


def _cost(cost: Cost | None) -> str:
    return f"{cost.rounds} / {cost.bytes:,}" if cost is not None else ""


HEADINGS = ("", "what", "parties", "elements", "median ms", "ms", "million/s", "rounds / bytes sent", "peak MB", "of the floor")


def peak_mb(pid: int | str = "self") -> float:
    """The most memory that a process had resident so far."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(text.split()[1]) for text in status if text.startswith("VmHWM")) / 1024
