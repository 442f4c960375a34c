"""Writes docs/spec.md from the models and tables that the code itself reads: `make docs`."""

import sys
import types
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mpc.correlations import LARGEST_REQUEST
from parties.node.config import BudgetStanza, EngineStanza, NodeFile
from parties.node.config import TableStanza as NodeTable
from parties.spec import models, sql
from protocols.expression import Number
from protocols.statistics import ALL, across, frequent, histogram, quantile, ratio
from protocols.statistics.base import Statistic
from protocols.tables import GROUPABLE_VALUES

KINDS: dict[object, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "`true` or `false`",
    date: "date",
    datetime: "date and time",
}

FILE = Path(__file__).parents[2] / "docs/spec.md"

SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("The file", "All companies share and approve one TOML file.", models.SpecFile),
    ("`[parties.NAME]` and `[dealer]`", "Printed by `comity init`.", models.NodeStanza),
    ("`[security]`", "", models.SecurityStanza),
    ("`[tables.NAME]`", "A table that the companies hold in the same form, or that one of them owns.", models.TableStanza),
    ('`type = "integer"`', "", models.IntegerColumn),
    ('`type = "decimal"`', "", models.DecimalColumn),
    ('`type = "float"`', "", models.FloatColumn),
    ('`type = "date"`', "", models.DateColumn),
    ('`type = "timestamp"`', "", models.TimestampColumn),
    ('`type = "category"`', "", models.CategoryColumn),
    ('`type = "text"`', "", models.TextColumn),
    ('`type = "boolean"`', "", models.BooleanColumn),
    ("`[queries.NAME]`", "", models.QueryStanza),
)
NODE_SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("node.toml", "What is one company's own, in its node's folder. Paths are relative to the file.", NodeFile),
    ("node.toml: `[budget]`", "What `comity budget` shows the use of.", BudgetStanza),
    ("node.toml: `[engine]`", "", EngineStanza),
    ("node.toml: `[tables.NAME]`", "", NodeTable),
)


def markdown() -> str:
    return "\n".join([
        "# Reference: the spec, its SQL, and node.toml",
        "",
        "Generated from the code by `make docs`; a test fails where the two differ. Party names are of the form "
        "`[a-z][a-z0-9-]*`, names of tables, columns and queries `[a-z][a-z0-9_]*`. `comity check SPEC` lists every problem "
        "of a file with its place.",
        "",
        *_sections(SECTIONS),
        *_sql(),
        *_sections(NODE_SECTIONS),
    ])  # fmt: skip


def _sections(sections: Iterable[tuple[str, str, type[BaseModel]]]) -> Iterator[str]:
    for title, lead, model in sections:
        yield from (f"## {title}", "")
        if lead:
            yield from (lead, "")
        yield from ("| key | value | default | meaning |", "|---|---|---|---|")
        for name, info in sorted(model.model_fields.items(), key=lambda field: field[0] != "type"):
            default = "required" if info.default is PydanticUndefined else _default(info.default)
            yield f"| `{name}` | {_kind(info.annotation)} | {default} | {info.description} |".replace("\n", " ")
        yield ""


def _default(value: object) -> str:
    if value in (None, {}, "") or isinstance(value, BaseModel):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(annotation: Any) -> str:
    """In words."""
    origin = get_origin(annotation)
    if hasattr(annotation, "__metadata__"):
        return _kind(annotation.__origin__)
    if origin is Literal:
        return " or ".join(f"`{value!r}`".replace("'", '"') for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        kinds = [_kind(part) for part in get_args(annotation) if part is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is list:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "table"
    return KINDS[annotation]


def _sql() -> Iterator[str]:
    yield from ("## SQL", "", *(
        "One SELECT in DuckDB's dialect over one agreed table, or over a shared table joined with one company's table. "
        "The text is parsed, checked and rendered anew; it never reaches an engine.",
        "",
        "- Row expressions, computed at home: columns, literals, `+ - *`, comparisons, `IN`, `BETWEEN`, `IS NULL`, `AND`, `OR`, `NOT`, "
        "`CASE`. All arithmetic is exact.",
        "- Dates and timestamps are compared with each other and with values written out (`day >= '2013-06-01'`, `DATE '2013-06-01'`, "
        "`TIMESTAMP '2013-06-01 12:00:00'`); a date less a date is a number of days.",
        "- `WHERE` takes a condition on rows.",
        "- `GROUP BY` may name one column of `type = \"text\"`, of which no values are declared, in a query over one table with `privacy` (gaussian or joint), `COUNT(*)` and sums and what is made of them: the answer has those groups that have rows enough by a count "
        "with noise, in the order of their texts; no others are opened, nor how many there are.",
        f"- Else `GROUP BY` names columns: categories, booleans, and integers and dates of fewer than {GROUPABLE_VALUES:,} values. Every combination of "
        "declared values is in the answer, in declared order, `false` before `true`; a nullable key adds a NULL group, last. "
        f"An answer has at most {sql.CELLS:,} cells.",
        "- `JOIN table USING (key)` joins a shared table with one that has `owner` and `key`, on all of its key. Each "
        f"factor of a product uses columns of one of the two; {', '.join(sql.IN_JOIN)} are possible. The key has at most "
        f"{sql.JOIN_CELLS:,} combinations of declared values.",
        f"- A condition may compare columns of both, such as that may be group keys (`WHERE bought <= sent AND (gift OR way = 'letter')`). The shared side's are then told apart as "
        f"groups are, which multiplies the pairs; and their values, times the cells of the owned side, are at most {LARGEST_REQUEST:,}.",
        "- `GROUP BY` with a join names columns of either table, the joined ones under either's name; a joined key is never NULL. A query "
        "multiplies a pair for each opened measure, combination of the key, and combination of the groups that are not part of it: at "
        f"most {LARGEST_REQUEST:,} pairs.",
        "",
    ))  # fmt: skip
    yield from ("| aggregate | what the receivers learn | over no values |", "|---|---|---|")
    for statistic in ALL:
        for name in statistic.names:
            forms = [f"`{name}({_ARGUMENTS[count]})`" for count in sorted(statistic.takes, reverse=True)]
            yield f"| {', '.join(forms)} | {statistic.discloses} | {_over_nothing(statistic, name)} |"
    yield f"| `{quantile.MIN}(x)`, `{quantile.MAX}(x)`, `{quantile.DISCRETE}(x, p)` | the value, which is that of a row | NULL |"
    yield f"| `{quantile.MEDIAN}(x)`, `{quantile.QUANTILE}(x, p)` | the two neighbouring values, each of a row; where they differ, how far between them it lies, which gives the number of values modulo the denominator of p | NULL |"
    yield f"| `{quantile.MEDIAN}`, `{quantile.QUANTILE}` with `privacy` | {quantile.Quantile.discloses} | NULL, or noise |"
    yield f"| `{quantile.MIN}`, `{quantile.MAX}`, `{quantile.DISCRETE}` with `privacy` | the value alone, whose rank has noise; of the ends, one that some rows lie beyond, `comity explain` says how many | NULL, or noise |"
    for name in across.NAMES:
        quarter = 0 if name == across.RANK else 2
        discloses = across.Across(name, across.Figure("COUNT", None), quarter).discloses
        yield f"| `{name}(SUM(x))`, of {', '.join(across.FIGURES)} | {discloses} | the figure is 0; nobody can answer of an AVG |"
    yield f"| `{ratio.AVG_ONLY}(x)`, `{ratio.AVG_ONLY}(x, step)` | the average alone, to the nearest step; how many rows may follow from it, `comity explain` says | NULL |"
    yield f"| `{ratio.HHI}(x)` | the index alone, to {float(ratio.INDEX_STEP):g}; near 1, that one company has nearly all | NULL, too, where all totals are 0 |"
    yield f"| `{frequent.MODE}(x)`, `{frequent.TOP_K}(x, k)` | {frequent.Frequent.discloses} | NULL |"
    yield f"| `{histogram.NAME}(x, lower, upper, bins)` | the count of each bin | 0 |"
    yield from ("", *(
        "`VAR_SAMP` and `STDDEV_SAMP` are NULL over a single value, too.",
        "",
        "Aggregates of (y, x) take the rows in which neither is NULL, of one table, and are exact alone: with `privacy` there are none. NULL is what is "
        "undefined: `COVAR_SAMP` over a single row, the regressions where x is constant, `CORR` where x or y is (DuckDB says NaN for some of these). "
        "Where y is constant, and x is not, `REGR_R2` is 1.",
        "",
        "Where a column hardly varies, rounding floats to their `step` can change `CORR` and `REGR_R2` to any other value, and of x `REGR_SLOPE` and "
        "`REGR_INTERCEPT` by any amount; so with floats the `error_bound` of the first two is 2 and 1, and with a float x that of the others is null.",
    ))  # fmt: skip
    yield from ("", *(
        f"`{histogram.NAME}` stands alone in its SELECT, and gives the columns {', '.join(f'`{c}`' for c in histogram.COLUMNS)}: a row a bin "
        "(`[a, b)`, the last one closed), and a first and a last row for what lies outside. NULLs are not counted.",
        "",
        f"{', '.join(f'`{name}`' for name in quantile.ALL_NAMES)} (p from 0 to 1) are exact without `privacy`: all that hold the table search for the value "
        "together, in every group, and must be receivers; other aggregates may stand beside them. In a group that release rules withhold nothing is searched for.",
        "",
        f"With `privacy` `{quantile.MEDIAN}` and `{quantile.QUANTILE}` are read from counts with noise, by groups, too: beside them a query may have more quantiles of the same x, "
        f"and `COUNT(x)`. `{quantile.MIN}`, `{quantile.MAX}` and `{quantile.DISCRETE}` are found on shares, and stand beside any others. x is told apart in up to {quantile.LEAVES:,} steps between its bounds, {quantile.ALL_LEAVES:,} in all groups together.",
        "",
        f"`{across.RANK}`, `{across.MEDIAN}` and `{across.QUARTILES}` compare the companies: each has one figure, of its own rows in the group, and "
        f"nothing else can be selected beside them. A rank, 1 for the largest, goes to its own company alone, and equal figures have the same; quartiles lie between "
        f"two figures in proportion, as in QUANTILE_CONT; `{across.QUARTILES}` gives three columns, `NAME_1` to `NAME_3`. They take at least "
        f"{across.FEWEST[across.RANK]}, {across.FEWEST[across.MEDIAN]} and {across.FEWEST[across.QUARTILES]} companies: of fewer they would give figures away. "
        f"`{across.QUARTILES}` of {across.FEWEST_AGREED[across.QUARTILES]} to {across.FEWEST[across.QUARTILES] - 1} is answered where `quartiles_of_few = true` stands in every company's node.toml. An average is rounded "
        f"to {across.DIGITS} more digits than x has.",
        "",
        f"`{ratio.AVG_ONLY}` and `{ratio.HHI}` are divided and rounded before anything is opened. The step is a thousandth of the width of x's bounds, unless you name one; "
        f"halves are rounded up. `{ratio.HHI}(x)` is the sum over the companies of the squares of their parts of SUM(x), 1 / n where n companies have the same; x must not be negative, "
        f"and there must be {ratio.FEWEST} companies. Not in a join, and not with `privacy`; release rules are for `{ratio.AVG_ONLY}` alone.",
        "",
        f"`{frequent.MODE}` and `{frequent.TOP_K}` (k up to {frequent.MOST}) are of a column that may be a group key. Of values that are as frequent the one declared first comes first; "
        f"`{frequent.TOP_K}` is one text, values that occur separated by commas. Not in a join, and not with `privacy`.",
        "",
        "What is not supported is refused with its place; some of it with the nearest thing that is:",
        "",
    ))  # fmt: skip
    for hint in sorted({*sql.HINTS.values(), *sql.NODE_HINTS.values()}):
        yield "- " + hint.replace("*", "\\*")
    yield ""


_ARGUMENTS = ("*", "x", "y, x")


def _over_nothing(statistic: Statistic, name: str) -> str:
    answer = statistic.reference(name, (Number(0),) * max(statistic.takes), [])
    return "NULL" if answer is None else str(answer)


if __name__ == "__main__":
    FILE.write_text(markdown(), encoding="utf-8")
    sys.stdout.write(f"wrote {FILE}\n")
