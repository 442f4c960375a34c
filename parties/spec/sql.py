"""The SQL subset: a query's text becomes a checked tree over declared tables and columns, or a problem with its place.

sqlglot parses DuckDB's dialect; everything in its tree that is not expressly taken here is refused. The text itself
goes no further.
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from math import prod
from typing import Literal, NoReturn

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from mpc.errors import ComityError
from parties.spec.problems import nearest
from protocols.expression import (
    Arithmetic,
    ArithmeticOperator,
    Bin,
    Case,
    Comparison,
    ComparisonOperator,
    ExpressionError,
    IsNull,
    Logic,
    Membership,
    Moment,
    Node,
    Not,
    Number,
    Reference,
    Text,
    Truth,
)
from protocols.planning.query import KeyOutput, Query, StatisticOutput, never_null
from protocols.planning.task import Key
from protocols.statistics import BY_NAME, across, frequent, histogram, quantile, ratio
from protocols.tables import GROUPABLE_VALUES, Table, days, microseconds

DIALECT = "duckdb"
LONGEST, DEEPEST = 10_000, 100
NODES = 30_000
"""More than the longest query needs: some texts make the parser try the same part over and over."""
CELLS, JOIN_CELLS = 10_000, 100_000
DIGITS = 38

NAMES: dict[type[exp.Expr], str] = {
    exp.Count: "COUNT",
    exp.Sum: "SUM",
    exp.Avg: "AVG",
    exp.Variance: "VAR_SAMP",
    exp.VariancePop: "VAR_POP",
    exp.Stddev: "STDDEV_SAMP",
    exp.StddevSamp: "STDDEV_SAMP",
    exp.StddevPop: "STDDEV_POP",
    exp.CovarSamp: "COVAR_SAMP",
    exp.CovarPop: "COVAR_POP",
    exp.Corr: "CORR",
    exp.RegrSlope: "REGR_SLOPE",
    exp.RegrIntercept: "REGR_INTERCEPT",
    exp.RegrR2: "REGR_R2",
    exp.Median: quantile.MEDIAN,
    exp.PercentileCont: quantile.QUANTILE,
    exp.PercentileDisc: quantile.DISCRETE,
    exp.Min: quantile.MIN,
    exp.Max: quantile.MAX,
    exp.Mode: frequent.MODE,
}
IN_JOIN = ("COUNT", "SUM", "AVG")
ARITHMETIC: dict[type[exp.Expr], ArithmeticOperator] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}
COMPARISONS: dict[type[exp.Expr], ComparisonOperator] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip

MOMENTS: dict[object, Literal["date", "timestamp"]] = {
    exp.DataType.Type.DATE: "date",
    exp.DataType.Type.TIMESTAMPNTZ: "timestamp",
}
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?", re.ASCII)

# What is left out, in sqlglot's names, and the nearest thing that there is.
HINTS = {
    "having": "HAVING is not supported: filter rows with WHERE, or the cells of the answer afterwards",
    "order": "ORDER BY is not supported: the answer comes in declared order",
    "limit": "LIMIT is not supported: the answer has a row for each declared group",
    "offset": "OFFSET is not supported: the answer has a row for each declared group",
    "distinct": "DISTINCT is not supported: GROUP BY gives a row for each declared group",
    "with_": "WITH is not supported: write one SELECT over an agreed table",
    "qualify": "QUALIFY is not supported: filter rows with WHERE",
    "sample": "sampling is not supported: all rows count",
    "on": "JOIN ... ON is not supported: write USING with the key of the owned table",
    "db": "a table is named alone, without catalog or schema",
    "catalog": "a table is named alone, without catalog or schema",
}
OTHER_QUANTILES = "such quantiles are not supported: write MEDIAN(x), QUANTILE_CONT(x, p) or QUANTILE_DISC(x, p)"
NODE_HINTS: dict[type[exp.Expr], str] = {
    exp.Div: "division is not supported at home: multiply instead, or divide the answer's columns afterwards",
    exp.IntDiv: "division is not supported at home: multiply instead, or divide the answer's columns afterwards",
    exp.Mod: "% is not supported: use + - * and CASE",
    exp.Null: "NULL can only be tested: x IS NULL; a CASE without ELSE gives NULL",
    exp.Cast: "casts are not supported: columns have the types of the spec, and arithmetic is exact",
    exp.TryCast: "casts are not supported: columns have the types of the spec, and arithmetic is exact",
    exp.Subquery: "subqueries are not supported: write one SELECT over an agreed table",
    exp.Select: "subqueries are not supported: write one SELECT over an agreed table",
    exp.Exists: "subqueries are not supported: write one SELECT over an agreed table",
    exp.Any: "subqueries are not supported: write one SELECT over an agreed table",
    exp.All: "subqueries are not supported: write one SELECT over an agreed table",
    exp.Window: "window functions are not supported: GROUP BY gives a value a group",
    exp.Filter: "FILTER is not supported: write SUM(CASE WHEN condition THEN x END), or WHERE",
    exp.Distinct: "DISTINCT is not supported: COUNT(x) counts rows in which x is not NULL",
    exp.Like: "LIKE is not supported: list the values with IN",
    exp.ILike: "LIKE is not supported: list the values with IN",
    exp.Star: "* stands in COUNT(*) alone: name the columns",
    exp.If: "IF is not supported: write CASE WHEN ... THEN ... ELSE ... END",
    exp.Coalesce: "COALESCE is not supported: write CASE WHEN x IS NULL THEN 0 ELSE x END",
    exp.Placeholder: "parameters are not supported: write the value",
    exp.Parameter: "parameters are not supported: write the value",
    exp.Quantile: OTHER_QUANTILES,
    exp.ApproxQuantile: OTHER_QUANTILES,
    exp.WithinGroup: "WITHIN GROUP is not supported: write QUANTILE_CONT(x, p) or QUANTILE_DISC(x, p)",
}
_KNOWN = {quantile.MEDIAN: Fraction(1, 2), quantile.MIN: Fraction(0), quantile.MAX: Fraction(1)}
"""Of quantiles without p."""
IN_ROWS = "columns, + - *, comparisons, IN, BETWEEN, IS NULL, AND, OR, NOT and CASE are"

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what is not understood is refused here, with its place


class SqlProblem(ComityError):
    """What is wrong with a query's text; line and column count from 1. `table` is set where no such table is known."""

    def __init__(self, message: str, line: int, column: int, table: str = "") -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message, self.line, self.column, self.table = message, line, column, table


def parse_query(name: str, sql: str, tables: Mapping[str, Table], receivers: tuple[str, ...]) -> Query:
    """The query `name` over `tables`. SqlProblem for everything outside the subset."""
    if len(sql) > LONGEST:
        raise SqlProblem(f"a query has at most {LONGEST:,} characters", 1, 1)
    try:
        return _Reader(sql, tables).query(name, receivers)
    except RecursionError:
        raise SqlProblem("nested too deeply", 1, 1) from None


class _Reader:
    def __init__(self, sql: str, tables: Mapping[str, Table]) -> None:
        self.sql, self.declared = sql, tables
        self.scope: dict[str, Table] = {}  # the tables of FROM and JOIN, by the names they have in the text
        self.shared: Table | None = None
        self.using: frozenset[str] = frozenset()

    # ---- refusals

    def at(self, offset: int, message: str, table: str = "") -> SqlProblem:
        before = self.sql[:offset]
        return SqlProblem(message, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1, table)

    def fail(self, node: exp.Expr, message: str, table: str = "") -> NoReturn:
        raise self.at(self.offset(node), message, table)

    def offset(self, node: exp.Expr) -> int:
        """Where the node starts; of a function that does not know it, the name before its first part that does."""
        start = _offset(node)
        if isinstance(node, exp.Func) and "start" not in node.meta:
            names = "|".join(map(re.escape, type(node).sql_names()))
            opening = re.search(rf"\b({names})\b[\s(]*(WHEN\b[\s(]*)?$", self.sql[:start], re.IGNORECASE)
            return opening.start() if opening else start
        return start

    def only(self, node: exp.Expr, *allowed: str) -> None:
        """Refuses every part of `node` that is not in `allowed`."""
        for key, value in node.args.items():
            if key in allowed or value in (None, [], False):
                continue
            part = value[0] if isinstance(value, list) else value
            hint = HINTS.get(key) or (NODE_HINTS.get(type(part)) if isinstance(part, exp.Expr) else None)
            text = _text(part) if isinstance(part, exp.Expr) else part if isinstance(part, str) else ""
            message = hint or f"{text or key.strip('_').upper()} is not supported here"
            found = re.search(rf"\b{key.strip('_')}\b", self.sql, re.IGNORECASE)
            if key in ("db", "catalog"):
                self.fail(node, message)
            if isinstance(part, exp.Expr) and _has_place(part):
                self.fail(part, message)
            raise self.at(found.start() if found else _offset(node), message)

    def refuse(self, node: exp.Expr, where: str, functions: Collection[str] = ()) -> NoReturn:
        if type(node) in NODE_HINTS:
            self.fail(node, NODE_HINTS[type(node)])
        written = re.match(r"\w+(?=\s*\()", self.sql[self.offset(node) :])
        if isinstance(node, exp.Func) and written:
            function = written[0].upper()
            hint = nearest(function, functions) if functions else IN_ROWS
            self.fail(node, f"the function {function} is not supported {where}: {hint}")
        self.fail(node, f"{_text(node)} is not supported {where}")

    # ---- the statement

    def query(self, name: str, receivers: tuple[str, ...]) -> Query:
        select = self.statement()
        self.only(select, "expressions", "from_", "joins", "where", "group")
        tables = self.tables(select)
        if not select.expressions:
            self.fail(select, f"select an aggregate: {', '.join(BY_NAME)}")
        where = self.where(select.args.get("where"))
        group_by = self.group_by(select.args.get("group"), tables, where)
        outputs = [self.output(item) for item in select.expressions]
        bins = [item for item in outputs if isinstance(item, Bin)]
        if bins:
            if len(outputs) > 1 or group_by or len(tables) > 1:
                item = select.expressions[outputs.index(bins[0])]
                self.fail(item, "HISTOGRAM stands alone: one table, nothing beside it, no GROUP BY")
            return Query(name, tables, where, (), (), receivers, bins[0])
        written = zip(select.expressions, outputs, strict=True)
        chosen = [(item, part) for item, output in written if not isinstance(output, Bin) for part in _columns(output)]
        self.check_outputs(select, chosen, group_by)
        return Query(name, tables, where, group_by, tuple(output for _, output in chosen), receivers)

    def statement(self) -> exp.Select:
        try:
            parsed = sqlglot.parse(self.sql, read=DIALECT, error_message_context=LONGEST, max_nodes=NODES)
        except ParseError as error:
            raise self.not_understood(error) from None
        except TokenError as error:
            opening = re.search(r"^Missing .* from \d+:(\d+)$", str(error.__cause__))
            offset = int(opening[1]) if opening else self.sql.rfind("/*")
            if offset < 0:
                raise SqlProblem("not understood: this is no SQL", 1, 1) from None
            raise self.at(offset, "not understood: a quote or comment does not end") from None
        except RecursionError:
            raise  # told by the caller
        except Exception:  # the parser itself stumbles over some texts, such as {:}
            raise SqlProblem("not understood: this is no SQL", 1, 1) from None
        # a comment after the semicolon is a statement of its own
        statements = [item for item in parsed if item is not None and not isinstance(item, exp.Semicolon)]
        if not statements:
            raise SqlProblem("is empty: write one SELECT", 1, 1)
        if len(statements) > 1:
            self.fail(statements[1], "one query is one SELECT statement")
        (select,) = statements
        for node in select.walk():
            if node.depth > DEEPEST:
                self.fail(node, f"nested too deeply (more than {DEEPEST} levels)")
        if isinstance(select, exp.SetOperation):
            self.fail(select.expression, "UNION, INTERSECT and EXCEPT are not supported: write two queries")
        if not isinstance(select, exp.Select):
            raise self.at(len(self.sql) - len(self.sql.lstrip()), "a query is one SELECT over an agreed table")
        return select

    def not_understood(self, error: ParseError) -> SqlProblem:
        first = error.errors[0] if error.errors else {}
        message = str(first.get("description"))
        offset = len(str(first.get("start_context") or ""))
        for kind, name in NAMES.items():
            if f"missing for {kind}" in message and name in BY_NAME and 2 in BY_NAME[name].takes:
                return self.at(offset, _takes(name))
        if message.startswith("Maximum number of AST nodes"):
            return SqlProblem("nested too deeply", 1, 1)
        if message.startswith("Required keyword"):
            message = "something is missing here"
        elif message == "Invalid expression / Unexpected token":
            message = f"unexpected {first['highlight'][:60]}"
        message = re.sub(r",? but got <Token.*", "", message)
        return self.at(offset, f"not understood: {message[:1].lower()}{message[1:]}")

    def tables(self, select: exp.Select) -> tuple[Table, ...]:
        source = select.args.get("from_")
        if source is None:
            self.fail(select, f"FROM is missing: {nearest('', self.declared)}")
        self.only(source, "this")
        first = self.table(source.this)
        joins = select.args.get("joins") or []
        if not joins:
            return (first,)
        if len(joins) > 1:
            self.fail(joins[1], "one join at most: a shared table with one company's table")
        join = joins[0]
        self.only(join, "this", "using", "kind", "side", "method", "on")
        second = self.table(join.this)
        kinds = [str(join.args.get(part) or "INNER").upper() for part in ("kind", "side", "method")]
        if set(kinds) != {"INNER"} or (first.owner is None) == (second.owner is None):
            hint = "a shared table joins one company's table (owner and key in the spec): JOIN ... USING (its key)"
            self.fail(join.this, hint)
        shared, owned = (first, second) if first.owner is None else (second, first)
        key = ", ".join(owned.key)
        if not join.args.get("using"):
            self.fail(join.this, f"write JOIN {second.name} USING ({key})")
        using = [part.name.lower() if isinstance(part, exp.Identifier) else "" for part in join.args["using"]]
        if sorted(using) != sorted(owned.key):
            self.fail(join.args["using"][0], f"USING names the key of {owned.name}, all of it: USING ({key})")
        for column in owned.key:
            if column not in shared.columns:
                self.fail(join.args["using"][0], f"{shared.name} has no column {column}, the key of {owned.name}")
            if not shared.columns[column].same_domain(owned.columns[column]):
                self.fail(
                    join.args["using"][0],
                    f"{column} has other values or bounds in {shared.name} than in {owned.name}: declare them alike",
                )
            if shared.columns[column].outside == "clamp":
                why = f"{column} is clamped in {shared.name}, so that rows would meet others' keys: refuse or drop other values"
                self.fail(join.args["using"][0], why)
        cells = prod(owned.columns[column].size for column in owned.key)
        if cells > JOIN_CELLS:
            most = f"and a join at most {JOIN_CELLS:,}: narrow its bounds"
            self.fail(join.this, f"the key of {owned.name} has {_many(cells)} cells, {most}")
        self.shared, self.using = shared, frozenset(owned.key)
        return shared, owned

    def table(self, node: exp.Expr) -> Table:
        if isinstance(node, exp.Subquery):
            self.fail(node, NODE_HINTS[exp.Subquery])
        if isinstance(node, exp.Table):
            self.only(node, "this", "alias")
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            self.fail(node, f"FROM names an agreed table, and reads nothing else: {nearest('', self.declared)}")
        name, alias = node.this.name.lower(), node.args.get("alias")
        if name not in self.declared:
            self.fail(node, f"there is no table {node.this.name}: {nearest(name, self.declared)}", name)
        if alias is not None:
            self.only(alias, "this")
        known_as = alias.name.lower() if alias is not None else name
        if known_as in self.scope:
            self.fail(node, f"{known_as} is there twice")
        self.scope[known_as] = self.declared[name]
        return self.declared[name]

    def where(self, node: exp.Expr | None) -> tuple[Node, ...]:
        if node is None:
            return ()
        self.only(node, "this")
        conditions = []
        waiting = [node.this]
        while waiting:
            part = waiting.pop().unnest()
            if isinstance(part, exp.And):
                waiting += [part.expression, part.this]
                continue
            condition = self.row(part)
            if condition.type != "truth":
                self.fail(part, f"WHERE needs a condition, and {condition} is none")
            conditions.append(condition)
        return tuple(conditions)

    def group_by(
        self, node: exp.Expr | None, tables: tuple[Table, ...], where: tuple[Node, ...]
    ) -> tuple[Reference, ...]:
        if node is None:
            return ()
        self.only(node, "expressions")
        if not node.expressions:
            self.fail(node, "GROUP BY names columns of the table")
        keys: list[Reference] = []
        for item in node.expressions:
            if not isinstance(item, exp.Column):
                self.fail(item, "GROUP BY names columns of the table")
            key = self.key(item)
            kind = key.column.kind
            if kind in ("decimal", "float", "timestamp"):
                self.fail(item, f"{key} is a {kind}: group by an integer, a date, a category, a boolean or a text")
            if not key.column.is_groupable and kind != "text":
                a = "a date" if kind == "date" else "an integer"
                many = f"{key} has {key.column.size:,} values, and {a} as a group key fewer than {GROUPABLE_VALUES:,}"
                self.fail(item, f"{many}: narrow its bounds")
            if key in keys:
                self.fail(item, f"{key} is there twice")
            keys.append(key)
        known = never_null(tables, where)
        cells = prod(Key(key, key.nullable(known)).size for key in keys)
        if cells > CELLS:
            self.fail(node.expressions[0], f"{_many(cells)} groups, and an answer has at most {CELLS:,}: group by less")
        return tuple(keys)

    def key(self, node: exp.Column) -> Reference:
        """A group key. A column of a join's key is equal on both sides: whichever is written, the shared one."""
        key = self.column(node)
        if self.shared is not None and key.column.name in self.using:
            return Reference(self.shared.name, self.shared.columns[key.column.name])
        return key

    # ---- what is selected

    def output(self, item: exp.Expr) -> KeyOutput | StatisticOutput | Bin:
        alias = ""
        if isinstance(item, exp.Alias):
            self.only(item, "this", "alias")
            alias, item = item.alias, item.this
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,63}", alias):
                self.fail(item, f"{alias!r} is no name for a column: letters, digits and underscores")
        item = item.unnest()
        if isinstance(item, exp.Column) and not isinstance(item.this, exp.Star):
            key = self.key(item)
            return KeyOutput(alias or key.column.name, key)
        function = self.function(item)
        if function == histogram.NAME:
            if alias:
                self.fail(item, f"HISTOGRAM has columns of its own ({', '.join(histogram.COLUMNS)}): no AS")
            return self.histogram(item)
        if function in quantile.ALL_NAMES:
            return self.quantile(item, function, alias)
        if function in across.NAMES:
            return self.across(item, function, alias)
        if function in ratio.NAMES:
            return self.ratio(item, function, alias)
        if function in frequent.NAMES:
            return self.frequent(item, function, alias)
        if function is None or function not in BY_NAME:
            if not isinstance(item, exp.Window | exp.Filter | exp.WithinGroup) and any(self.function(part) for part in item.walk()):
                self.fail(item, "nothing is computed around an aggregate: select the aggregates, and compute with the answer")
            self.refuse(item, "in SELECT, which takes group keys and aggregates", (*BY_NAME, *quantile.ALL_NAMES, *across.NAMES, *ratio.NAMES, *frequent.NAMES, histogram.NAME))
        return self.aggregate(item, function, alias)

    def function(self, node: exp.Expr) -> str | None:
        """The SQL name of an aggregate."""
        if isinstance(node, exp.Anonymous):
            name = str(node.this).upper()
            return name if name in (*BY_NAME, *across.NAMES, *ratio.NAMES, frequent.TOP_K, histogram.NAME) else None
        return NAMES.get(type(node))

    def aggregate(self, item: exp.Expr, function: str, alias: str) -> StatisticOutput:
        self.only(item, "this", "expression", "big_int", "expressions")
        statistic = BY_NAME[function]
        parts = list(item.expressions) if isinstance(item, exp.Anonymous) else [item.this, item.args.get("expression"), *item.expressions]
        nodes = [part for part in parts if part is not None]
        is_star = len(nodes) == 1 and isinstance(nodes[0], exp.Star)
        if is_star and 0 not in statistic.takes and 1 in statistic.takes:
            self.fail(item, f"{function}(*) is nothing: name a column")
        if (0 if is_star else len(nodes) or -1) not in statistic.takes:
            self.fail(item, _takes(function))
        if self.shared is not None and function not in IN_JOIN:
            self.fail(item, f"{function} is not supported in a join yet: {', '.join(IN_JOIN)} are")
        if is_star and any(nodes[0].args.values()):
            self.fail(nodes[0], NODE_HINTS[exp.Star])
        arguments = () if is_star else tuple(map(self.row, nodes))
        if self.shared is not None and function == "COUNT" and arguments:
            self.fail(item, "in a join only COUNT(*) counts: exclude NULLs with WHERE x IS NOT NULL")
        if function != "COUNT":
            for node, argument in zip(nodes, arguments, strict=True):
                self.check_number(node, argument, function)
        output = StatisticOutput(alias, statistic, function, arguments)
        return output if alias else replace(output, name=f"{function.lower()}({output.text})")

    def check_number(self, node: exp.Expr, argument: Node, function: str) -> None:
        if argument.type != "number":
            forms = {"date": f"write {argument} - DATE '2000-01-01', which is a number of days"}
            form = forms.get(argument.type, "write CASE WHEN ... THEN 1 ELSE 0 END")
            self.fail(node, f"{function} needs a number, and {argument} is none: {form}")

    def quantile(self, item: exp.Expr, function: str, alias: str) -> StatisticOutput:
        """Which of them can be had with privacy is seen when it is planned."""
        self.only(item, "this", "expression")
        if self.shared is not None:
            self.fail(item, f"{function} is not supported in a join: {', '.join(IN_JOIN)} are")
        if isinstance(item.this, exp.Star):
            self.fail(item, f"{function}(*) is nothing: name a column")
        argument = self.row(item.this)
        self.check_number(item.this, argument, function)
        name, p = f"{function.lower()}({argument})", Fraction(_KNOWN.get(function, 0))
        if function not in _KNOWN:
            literal = item.expression
            number = self.number(literal, 1) if isinstance(literal, exp.Literal) and not literal.is_string else None
            if number is None or number.value > 10**number.scale:
                self.fail(item, f"write {function}(x, p), p a number from 0 to 1, such as {function}(delay, 0.9)")
            name, p = f"{function.lower()}({argument}, {number})", Fraction(number.value, 10**number.scale)
        return StatisticOutput(alias or name, quantile.Quantile(p), function, (argument,))

    def across(self, item: exp.Expr, function: str, alias: str) -> StatisticOutput:
        """Of QUARTILES_ACROSS the first."""
        self.only(item, "this", "expressions")
        inner = item.expressions[0].unnest() if len(item.expressions) == 1 else None
        name = None if inner is None else self.function(inner)
        if inner is None or name not in across.FIGURES:
            figures = ", ".join(f"{figure}(x)" for figure in across.FIGURES)
            self.fail(item, f"{function} takes a figure of each company's own rows, one of {figures}: write {function}(SUM(x))")
        if self.shared is not None:
            self.fail(item, f"{function} is not supported in a join: {', '.join(IN_JOIN)} are")
        figure = self.aggregate(inner, name, "")
        quarter = {across.RANK: 0, across.MEDIAN: 2, across.QUARTILES: 1}[function]
        of = across.Across(function, across.Figure(name, *figure.arguments), quarter)
        return StatisticOutput(alias or f"{function.lower()}({figure.name})", of, function, figure.arguments)

    def ratio(self, item: exp.Expr, function: str, alias: str) -> StatisticOutput:
        self.only(item, "this", "expressions")
        parts = item.expressions
        forms = "AVG_ONLY(x), or AVG_ONLY(x, step) with a step above 0" if function == ratio.AVG_ONLY else "HHI(x)"
        if not 1 <= len(parts) <= 1 + (function == ratio.AVG_ONLY) or isinstance(parts[0], exp.Star):
            self.fail(item, f"write {forms}")
        if self.shared is not None:
            self.fail(item, f"{function} is not supported in a join: {', '.join(IN_JOIN)} are")
        argument = self.row(parts[0])
        self.check_number(parts[0], argument, function)
        if function == ratio.HHI:
            if argument.lower < 0:
                self.fail(parts[0], f"HHI is of parts of a total, and {argument} may be negative: give it a lower bound of 0")
            return StatisticOutput(alias or f"hhi({argument})", ratio.Ratio(function, argument, ratio.INDEX_STEP), function, (argument,))
        step, width = Fraction(argument.upper - argument.lower or 1, ratio.STEPS * 10**argument.scale), argument.upper - argument.lower
        if len(parts) == 2:
            number = self.number(parts[1], 1) if isinstance(parts[1], exp.Literal) and not parts[1].is_string else None
            if number is None or number.value == 0:
                self.fail(item, f"write {forms}")
            step = Fraction(number.value, 10**number.scale)
            if width > ratio.MOST_STEPS * step * 10**argument.scale:
                self.fail(parts[1], f"the bounds of {argument} are more than {ratio.MOST_STEPS:,} such steps apart: from so fine an average sum and count follow")
        name = f"avg_only({', '.join([str(argument), *(part.name for part in parts[1:])])})"
        return StatisticOutput(alias or name, ratio.Ratio(function, argument, step), function, (argument,))

    def frequent(self, item: exp.Expr, function: str, alias: str) -> StatisticOutput:
        self.only(item, "this", "expressions")
        parts = [item.this] if function == frequent.MODE else item.expressions
        form = "MODE(x)" if function == frequent.MODE else f"TOP_K(x, k) with k from 1 to {frequent.MOST}, such as TOP_K(x, 3)"
        if len(parts) != 1 + (function == frequent.TOP_K) or not isinstance(parts[0], exp.Column) or isinstance(parts[0].this, exp.Star):
            self.fail(item, f"write {form}, where x is a column")
        if self.shared is not None:
            self.fail(item, f"{function} is not supported in a join: {', '.join(IN_JOIN)} are")
        argument, k = self.column(parts[0]), 1
        if not argument.column.is_groupable:
            few = f"an integer or a date with fewer than {GROUPABLE_VALUES:,} values, a category or a boolean"
            self.fail(parts[0], f"{function} chooses among declared values, and {argument} is none of: {few}")
        if function == frequent.TOP_K:
            number = self.number(parts[1], 1) if isinstance(parts[1], exp.Literal) and not parts[1].is_string else None
            if number is None or number.scale or not 1 <= number.value <= frequent.MOST:
                self.fail(item, f"write {form}")
            k = min(number.value, argument.column.size)
        name = f"{function.lower()}({', '.join([str(argument), *(part.name for part in parts[1:])])})"
        return StatisticOutput(alias or name, frequent.Frequent(argument, k), function, (argument,))

    def histogram(self, item: exp.Expr) -> Bin:
        self.only(item, "this", "expressions")
        form = "write HISTOGRAM(x, lower, upper, bins), such as HISTOGRAM(delay, -60, 180, 24)"
        if len(item.expressions) != 4:
            self.fail(item, form)
        operand, lower, upper, bins = (self.row(argument) for argument in item.expressions)
        if operand.type != "number" or not all(isinstance(x, Number) for x in (lower, upper, bins)):
            self.fail(item, f"{form}: x a number, the others written out")
        assert isinstance(bins, Number)
        if bins.scale or not 1 <= bins.value <= histogram.LARGEST:
            self.fail(item, f"the number of bins is between 1 and {histogram.LARGEST:,}")
        digits = max(operand.scale, lower.scale, upper.scale)
        start, stop = (x.lower * 10 ** (digits - x.scale) for x in (lower, upper))
        if start >= stop:
            self.fail(item, "the lower edge is not below the upper one")
        return Bin(operand, start, stop, digits, bins.value)

    def check_outputs(
        self, select: exp.Select, outputs: Sequence[tuple[exp.Expr, KeyOutput | StatisticOutput]], group_by: Sequence[Reference]
    ) -> None:
        names = set()
        for item, output in outputs:
            if isinstance(output, KeyOutput) and output.key not in group_by:
                self.fail(item, f"{output.key} is neither aggregated nor in GROUP BY: no row's value is ever shown")
            if output.name.lower() in names:
                self.fail(item, f"two columns are called {output.name}: name one with AS")
            names.add(output.name.lower())
        if not any(isinstance(output, StatisticOutput) for _, output in outputs):
            self.fail(select.expressions[0], f"select an aggregate: {', '.join(BY_NAME)}")

    # ---- row expressions

    def column(self, node: exp.Column) -> Reference:
        self.only(node, "this", "table")
        if not isinstance(node.this, exp.Identifier):
            self.refuse(node.this, "here")
        name, qualifier = node.this.name.lower(), node.table.lower()
        if qualifier and qualifier not in self.scope:
            self.fail(node, f"there is no table {node.table} in this query: {nearest(qualifier, self.scope)}")
        scope = {known_as: table for known_as, table in self.scope.items() if not qualifier or known_as == qualifier}
        found = {known_as: table for known_as, table in scope.items() if name in table.columns}
        if not found:
            known = [column for table in scope.values() for column in table.columns]
            self.fail(node, f"there is no column {node.this.name}: {nearest(name, known)}")
        (table, *others) = found.values()
        if others:
            if name not in self.using or self.shared is None:
                either = " or ".join(f"{known_as}.{name}" for known_as in found)
                self.fail(node, f"both tables have a column {name}: write {either}")
            table = self.shared  # a joined key is equal on both sides
        return Reference(table.name, table.columns[name])

    def row(self, node: exp.Expr) -> Node:
        """A row expression. An ExpressionError of the tree gets its place here."""
        try:
            return self.made(node)
        except ExpressionError as error:
            self.fail(node, str(error))

    def made(self, node: exp.Expr) -> Node:
        kind = type(node)
        if isinstance(node, exp.Paren):
            self.only(node, "this")
            return self.row(node.this)
        if isinstance(node, exp.Column):
            column = self.column(node)
            if column.column.kind == "text":
                self.fail(node, f"{column} is a text of which no values are declared: that is for GROUP BY alone")
            return column
        if isinstance(node, exp.Literal):
            return Text(node.name) if node.is_string else self.number(node, 1)
        if isinstance(node, exp.Boolean):
            return Truth(bool(node.this))
        if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string:
            wanted = MOMENTS.get(node.to.this)
            if wanted is not None:
                self.only(node, "this", "to")
                return self.moment(node.this, wanted)
        if isinstance(node, exp.Neg):
            self.only(node, "this")
            inner = node.this.unnest()
            if isinstance(inner, exp.Literal) and not inner.is_string:
                return self.number(inner, -1)
            return Arithmetic("-", Number(0), self.row(inner))
        if kind in ARITHMETIC:
            self.only(node, "this", "expression")
            return Arithmetic(ARITHMETIC[kind], self.row(node.this), self.row(node.expression))
        if kind in COMPARISONS:
            self.only(node, "this", "expression")
            if type(node.this) in COMPARISONS or type(node.expression) in COMPARISONS:
                self.fail(node, "comparisons do not chain: write a < b AND b < c, or parentheses")
            return self.comparison(COMPARISONS[kind], node.this, node.expression)
        if isinstance(node, exp.And | exp.Or):
            return self.logic(node)
        if isinstance(node, exp.Not):
            self.only(node, "this")
            return Not(self.row(node.this))
        if isinstance(node, exp.Is):
            self.only(node, "this", "expression")
            if not isinstance(node.expression, exp.Null):
                self.fail(node, "IS is for NULL: write x IS NULL or x IS NOT NULL, and a boolean by itself")
            return IsNull(self.row(node.this))
        if isinstance(node, exp.In):
            return self.membership(node)
        if isinstance(node, exp.Between):
            self.only(node, "this", "low", "high")
            low, high = node.args["low"], node.args["high"]
            return Logic("AND", (self.comparison(">=", node.this, low), self.comparison("<=", node.this, high)))
        if isinstance(node, exp.Case):
            return self.case(node)
        if self.function(node) is not None:
            self.fail(node, "an aggregate stands in SELECT alone: not in WHERE, and not within another")
        self.refuse(node, "in a row expression")

    def comparison(self, operator: ComparisonOperator, left: exp.Expr, right: exp.Expr) -> Node:
        x, y = self.row(left), self.row(right)
        return Comparison(operator, self.as_other(x, left, y), self.as_other(y, right, x))

    def as_other(self, operand: Node, node: exp.Expr, other: Node) -> Node:
        """Text beside a date or a timestamp is one, too."""
        if isinstance(operand, Text) and (other.type == "date" or other.type == "timestamp"):
            return self.moment(node, other.type)
        return operand

    def moment(self, node: exp.Expr, wanted: Literal["date", "timestamp"]) -> Moment:
        text = node.unnest().name
        try:
            if wanted == "date":
                return Moment("date", days(datetime.strptime(text, "%Y-%m-%d").date()))
            moment = datetime.fromisoformat(text) if MOMENT.fullmatch(text) else None
            if moment is not None:
                return Moment("timestamp", microseconds(moment))
        except ValueError:
            pass
        form = "a date such as '2013-01-31'" if wanted == "date" else "a timestamp such as '2013-01-31 23:59:00'"
        self.fail(node, f"{_text(node)} is not {form}")

    def logic(self, node: exp.And | exp.Or) -> Node:
        operands: list[Node] = []
        waiting: list[exp.Expr] = [node]
        while waiting:
            part = waiting.pop()
            if type(part) is type(node):
                self.only(part, "this", "expression")
                waiting += [part.expression, part.this]
            else:
                operands.append(self.row(part))
        return Logic("AND" if isinstance(node, exp.And) else "OR", tuple(operands))

    def membership(self, node: exp.In) -> Node:
        self.only(node, "this", "expressions")
        operand, options = self.row(node.this), []
        for part in node.expressions:
            option = self.as_other(self.row(part), part, operand)
            if not isinstance(option, Number | Text | Truth | Moment):
                self.fail(part, "IN lists values written out")
            try:
                Membership(operand, (option,))
            except ExpressionError as error:
                self.fail(part, str(error))
            options.append(option)
        if not options:
            self.fail(node, "IN lists values written out")
        return Membership(operand, tuple(options))

    def case(self, node: exp.Case) -> Node:
        self.only(node, "this", "ifs", "default")
        branches = []
        for branch in node.args["ifs"]:
            self.only(branch, "this", "true")
            condition = self.row(branch.this) if node.this is None else self.comparison("=", node.this, branch.this)
            if isinstance(branch.args["true"], exp.Null):
                self.fail(branch, "THEN NULL is not supported: turn the condition round, and leave out ELSE")
            branches.append((condition, self.row(branch.args["true"])))
        default = node.args.get("default")
        otherwise = None if default is None or isinstance(default, exp.Null) else self.row(default)
        return Case(tuple(branches), otherwise)

    def number(self, node: exp.Literal, sign: int) -> Number:
        text = node.name.replace("_", "")
        if not re.fullmatch(r"\d+\.?\d*|\.\d+", text, re.ASCII) or len(text) > DIGITS:
            self.fail(node, f"{node.name[:60]} is no exact number: write digits with at most one point, at most {DIGITS}")
        whole, _, fraction = text.partition(".")
        return Number(sign * int(whole + fraction or "0"), len(fraction))


def _columns(output: KeyOutput | StatisticOutput) -> Iterator[KeyOutput | StatisticOutput]:
    """Of the answer: one, but three of quartiles."""
    if isinstance(output, StatisticOutput) and output.function == across.QUARTILES:
        assert isinstance(output.statistic, across.Across)
        for quarter in (1, 2, 3):
            yield replace(output, name=f"{output.name}_{quarter}", statistic=replace(output.statistic, quarter=quarter))
    else:
        yield output


def _takes(function: str) -> str:
    two = 2 in BY_NAME[function].takes
    return f"{function} takes two arguments: write {function}(y, x)" if two else f"{function} takes one argument"


def _many(count: int) -> str:
    return f"{count:,}" if count < 10**15 else "over 10^15"


def _text(node: exp.Expr) -> str:
    return node.sql(DIALECT, comments=False)[:60]


def _has_place(node: exp.Expr) -> bool:
    return any("start" in part.meta for part in node.walk())


def _offset(node: exp.Expr) -> int:
    """Where in the text the node is: where its first part that knows is, or that of what it stands in."""
    here: exp.Expr | None = node
    while here is not None:
        known = [part.meta["start"] for part in here.walk() if "start" in part.meta]
        if known:
            return int(min(known))
        here = here.parent
    return 0
