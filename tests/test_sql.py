"""The SQL subset: what is in it becomes a tree over declared tables, and all else is refused with its place."""

import logging
from dataclasses import replace
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from expressions import evaluate, exact, numbers, truths
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from parties.spec.sql import CELLS, DEEPEST, JOIN_CELLS, LONGEST, SqlProblem, parse_query
from protocols import expression
from protocols.expression import (
    Arithmetic,
    Bin,
    Case,
    Comparison,
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
from protocols.planning.query import KeyOutput, Query, StatisticOutput
from protocols.statistics import BY_NAME
from protocols.statistics.histogram import LARGEST
from protocols.tables import GROUPABLE_VALUES, Column, Table

# --- tables, and how tests read and refuse ----------------------------------------------------------------------------

ORIGINS = ("EWR", "JFK", "it's", 'say "so"', "ü\n--")


def table(*columns: Column, name: str = "flights", **owned: Any) -> Table:
    holders = (owned["owner"],) if owned else ("delta", "united")
    return Table(name, {column.name: column for column in columns}, 1000, holders, **owned)


DAY = 86_400_000_000
ORIGIN = Column("origin", "category", 0, len(ORIGINS) - 1, values=ORIGINS)
HOUR = Column("hour", "integer", 0, 99)
DISTANCE = Column("distance", "integer", 0, 5000)
FLIGHTS = table(
    ORIGIN,
    HOUR,
    DISTANCE,
    Column("month", "integer", 1, 12),
    Column("carrier", "category", 0, 1, values=("AA", "UA"), nullable=True),
    Column("dep_delay", "integer", -60, 1440, nullable=True),
    Column("fare", "decimal", -500, 99_999, scale=2),
    Column("late", "boolean", 0, 1),
    Column("night", "boolean", 0, 1, nullable=True),
    Column("day", "date", 15_706, 16_070),
    Column("start", "timestamp", 15_706 * DAY, 16_071 * DAY, nullable=True),
    Column("lift", "float", -1000, 2050, scale=2, step=25),
)
WEATHER = table(
    ORIGIN,
    HOUR,
    DISTANCE,
    Column("precip", "decimal", 0, 900, scale=2),
    name="weather",
    owner="met",
    key=("origin", "hour"),
)
TABLES = {"flights": FLIGHTS, "weather": WEATHER}

origin, carrier = (Reference("flights", FLIGHTS.columns[name]) for name in ("origin", "carrier"))
delay, distance, fare = (Reference("flights", FLIGHTS.columns[name]) for name in ("dep_delay", "distance", "fare"))
month, late, night = (Reference("flights", FLIGHTS.columns[name]) for name in ("month", "late", "night"))
day, start, lift = (Reference("flights", FLIGHTS.columns[name]) for name in ("day", "start", "lift"))
precip = Reference("weather", WEATHER.columns["precip"])

PAIRS = ("COVAR_SAMP", "COVAR_POP", "CORR", "REGR_SLOPE", "REGR_INTERCEPT", "REGR_R2")
COUNT = StatisticOutput("count(*)", BY_NAME["COUNT"], "COUNT", ())


def parse(sql: str, **tables: Table) -> Query:
    return parse_query("q", sql, TABLES | tables, ("united",))


def query(*select: KeyOutput | StatisticOutput, **others: Any) -> Query:
    defaults: dict[str, Any] = {"tables": (FLIGHTS,), "where": (), "group_by": (), "receivers": ("united",)}
    return Query("q", select=select, **(defaults | others))


def statistic(function: str, argument: Node, name: str = "") -> StatisticOutput:
    return StatisticOutput(name or f"{function.lower()}({argument})", BY_NAME[function], function, (argument,))


def row(text: str) -> Node:
    """The tree of a row expression, a number or a condition."""
    (output,) = parse(f"SELECT COUNT({text}) FROM flights").select
    assert isinstance(output, StatisticOutput)
    (argument,) = output.arguments
    return argument


def problem(sql: str, **tables: Table) -> SqlProblem:
    with pytest.raises(SqlProblem) as refused:
        parse(sql, **tables)
    return refused.value


def refused(marked: str, **tables: Table) -> str:
    """The message with which the text is refused, at the place that § marks in it."""
    before, after = marked.split("§")
    found = problem(before + after, **tables)
    assert (found.line, found.column) == (before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1), found
    assert str(found) == f"line {found.line}, column {found.column}: {found.message}"
    return found.message


# --- what is supported ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", sorted(name for name in BY_NAME if name not in PAIRS))
def test_each_statistic(function: str) -> None:
    assert parse(f"SELECT {function}(dep_delay) FROM flights") == query(statistic(function, delay))
    assert parse(f"SELECT {function.lower()}(fare + 1) AS x FROM flights") == query(
        statistic(function, Arithmetic("+", fare, Number(1)), "x")
    )


@pytest.mark.parametrize("function", PAIRS)
def test_each_statistic_of_two_arguments(function: str) -> None:
    def expected(y: Node, x: Node, name: str) -> Query:
        return query(StatisticOutput(name, BY_NAME[function], function, (y, x)))

    assert parse(f"SELECT {function}(dep_delay, fare) FROM flights") == expected(delay, fare, f"{function.lower()}(dep_delay, fare)")
    assert parse(f"SELECT {function.lower()}(fare + 1, dep_delay) AS b FROM flights") == expected(
        Arithmetic("+", fare, Number(1)), delay, "b"
    )


@pytest.mark.parametrize("function", PAIRS)
def test_two_arguments_are_two_numbers(function: str) -> None:
    form = f"{function} takes two arguments: write {function}(y, x)"
    for arguments in ("dep_delay", "*", ""):
        assert form in problem(f"SELECT {function}({arguments}) FROM flights").message
    assert problem(f"SELECT {function}(fare, dep_delay, month) FROM flights").line == 1
    assert refused(f"SELECT {function}(fare, §origin) FROM flights").startswith(f"{function} needs a number, and origin is none: write CASE")
    assert refused(f"SELECT {function}(§day, fare) FROM flights").startswith(f"{function} needs a number, and day is none: write day - DATE")
    assert problem(f"SELECT {function}(fare, *) FROM flights").message == "* stands in COUNT(*) alone: name the columns"
    assert "FILTER is not supported" in problem(f"SELECT {function}(fare, month) FILTER (WHERE late) FROM flights").message
    assert "an aggregate stands in SELECT alone" in problem(f"SELECT SUM({function}(fare, month)) FROM flights").message
    join = f"SELECT §{function}(fare, precip) FROM flights JOIN weather USING (origin, hour)"
    assert refused(join) == f"{function} is not supported in a join yet: COUNT, SUM, AVG are"


def test_count_takes_a_star_and_values_of_any_type() -> None:
    assert parse("SELECT COUNT(*) FROM flights") == query(COUNT)
    columns = ", ".join(f"COUNT({name}) AS {name}" for name in FLIGHTS.columns)
    assert parse(f"SELECT {columns} FROM flights") == query(
        *(statistic("COUNT", Reference("flights", column), name) for name, column in FLIGHTS.columns.items())
    )


def test_duckdbs_other_names_of_a_statistic() -> None:
    assert parse("SELECT VARIANCE(fare) FROM flights") == query(statistic("VAR_SAMP", fare))
    assert parse("SELECT STDDEV(fare) FROM flights") == query(statistic("STDDEV_SAMP", fare))


def test_columns_of_the_answer_have_the_names_of_as_or_what_they_are() -> None:
    found = parse(
        "SELECT origin, month AS m, COUNT(*), SUM(fare * 2), AVG(fare) mean FROM flights GROUP BY month, origin"
    )
    assert [output.name for output in found.select] == ["origin", "m", "count(*)", "sum(fare * 2)", "mean"]


def test_group_by_keeps_its_own_order_and_need_not_be_selected() -> None:
    assert parse("SELECT origin, COUNT(*) FROM flights GROUP BY late, origin, carrier") == query(
        KeyOutput("origin", origin), COUNT, group_by=(late, origin, carrier)
    )


def test_identifiers_know_no_case_and_quotes_change_nothing() -> None:
    plain = parse("SELECT origin, SUM(dep_delay) FROM flights WHERE late GROUP BY origin")
    assert parse("select ORIGIN, Sum(Dep_Delay) from FLIGHTS where LATE group by Origin") == plain
    assert parse('SELECT "Origin", SUM("DEP_DELAY") FROM "Flights" WHERE "late" GROUP BY "origin"') == plain


def test_a_table_may_have_an_alias_and_columns_may_be_qualified() -> None:
    plain = parse("SELECT origin, SUM(fare) FROM flights WHERE late GROUP BY origin")
    assert (
        parse("SELECT flights.origin, SUM(flights.fare) FROM flights WHERE flights.late GROUP BY Flights.origin")
        == plain
    )
    assert parse("SELECT f.origin, SUM(fare) FROM flights AS f WHERE F.late GROUP BY f.ORIGIN") == plain
    assert parse("SELECT weather.origin, SUM(fare) FROM flights weather WHERE late GROUP BY origin") == plain


def test_white_space_comments_and_a_last_semicolon_mean_nothing() -> None:
    plain = query(COUNT, where=(late,))
    for text in (
        "SELECT COUNT(*) FROM flights WHERE late;",
        "\n\n  SELECT\tCOUNT( * )\r\nFROM flights\n WHERE late ; ;",
        "-- a SELECT\nSELECT /* COUNT(x) */ COUNT(*) FROM flights -- WHERE\nWHERE late",
        "SELECT COUNT(*) FROM flights WHERE late; -- done",
        "SELECT COUNT(*) FROM flights WHERE late; /* done */",
        "FROM flights SELECT COUNT(*) WHERE late",
    ):
        assert parse(text) == plain


def test_where_is_a_list_of_conditions_that_must_all_hold() -> None:
    assert parse("SELECT COUNT(*) FROM flights WHERE late AND (night AND month = 1) AND (late OR night)").where == (
        late, night, Comparison("=", month, Number(1)), Logic("OR", (late, night)),
    )  # fmt: skip
    assert parse("SELECT COUNT(*) FROM flights WHERE NOT (late AND night)").where == (Not(Logic("AND", (late, night))),)
    assert parse("SELECT COUNT(*) FROM flights WHERE TRUE").where == (Truth(True),)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("dep_delay", delay),
        ("(dep_delay)", delay),
        ("+dep_delay", delay),
        ("-dep_delay", Arithmetic("-", Number(0), delay)),
        ("- -3", Arithmetic("-", Number(0), Number(-3))),
        ("17", Number(17)),
        ("-17", Number(-17)),
        ("-(17)", Number(-17)),
        ("0.50", Number(50, 2)),
        ("-.5", Number(-5, 1)),
        ("5.", Number(5)),
        ("1_000", Number(1000)),
        ("9" * 38, Number(10**38 - 1)),
        ("TRUE", Truth(True)),
        ("false", Truth(False)),
        ("fare * 2 - distance", Arithmetic("-", Arithmetic("*", fare, Number(2)), distance)),
        ("late = TRUE", Comparison("=", late, Truth(True))),
        ("late = (fare > 1)", Comparison("=", late, Comparison(">", fare, Number(1)))),
        ("fare <> 1.5", Comparison("<>", fare, Number(15, 1))),
        ("fare != 1", Comparison("<>", fare, Number(1))),
        ("fare == 1", Comparison("=", fare, Number(1))),
        ("1 < fare", Comparison("<", Number(1), fare)),
        ("fare <= distance", Comparison("<=", fare, distance)),
        ("fare >= -1", Comparison(">=", fare, Number(-1))),
        ("origin = 'EWR'", Comparison("=", origin, Text("EWR"))),
        ("'it''s' <> origin", Comparison("<>", Text("it's"), origin)),
        ("origin = carrier", Comparison("=", origin, carrier)),
        ("origin IN ('EWR', 'ü\n--')", Membership(origin, (Text("EWR"), Text("ü\n--")))),
        ("fare + 1 IN (-1, 2.5)", Membership(Arithmetic("+", fare, Number(1)), (Number(-1), Number(25, 1)))),
        ("late IN (TRUE)", Membership(late, (Truth(True),))),
        ("month NOT IN (1)", Not(Membership(month, (Number(1),)))),
        (
            "month BETWEEN 2 AND distance - 1",
            Logic("AND", (
                Comparison(">=", month, Number(2)), Comparison("<=", month, Arithmetic("-", distance, Number(1))),
            )),
        ),
        (
            "month NOT BETWEEN 2 AND 3",
            Not(Logic("AND", (Comparison(">=", month, Number(2)), Comparison("<=", month, Number(3))))),
        ),
        ("carrier IS NULL", IsNull(carrier)),
        ("dep_delay * 2 IS NOT NULL", Not(IsNull(Arithmetic("*", delay, Number(2))))),
        ("dep_delay ISNULL", IsNull(delay)),
        ("dep_delay NOTNULL", Not(IsNull(delay))),
        ("NOT late", Not(late)),
        ("late AND night AND late", Logic("AND", (late, night, late))),
        ("late OR night OR late", Logic("OR", (late, night, late))),
        ("(late OR night) OR late", Logic("OR", (Logic("OR", (late, night)), late))),
    ],
)  # fmt: skip
def test_row_expressions(text: str, tree: Node) -> None:
    assert row(text) == tree


def test_both_forms_of_case() -> None:
    one = Number(1)
    assert row("CASE WHEN late THEN 1 END") == Case(((late, one),), None)
    assert row("CASE WHEN late THEN 1 ELSE NULL END") == Case(((late, one),), None)
    assert row("CASE WHEN late THEN 1 WHEN fare > 2 THEN fare ELSE -0.5 END") == Case(
        ((late, one), (Comparison(">", fare, Number(2)), fare)), Number(-5, 1)
    )
    assert row("CASE origin WHEN 'EWR' THEN 1 WHEN 'JFK' THEN 2 ELSE 0 END") == Case(
        ((Comparison("=", origin, Text("EWR")), one), (Comparison("=", origin, Text("JFK")), Number(2))), Number(0)
    )
    inner = Case(((night, fare),), None)
    assert row("CASE WHEN late THEN CASE WHEN night THEN fare END ELSE 1 END") == Case(((late, inner),), one)


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("1 + month * 2", "1 + (month * 2)"),
        ("month - distance - fare", "(month - distance) - fare"),
        ("month - distance + fare", "(month - distance) + fare"),
        ("-month * fare", "(-month) * fare"),
        ("month + 1 > distance * 2", "(month + 1) > (distance * 2)"),
        ("month + 1 IS NULL", "(month + 1) IS NULL"),
        ("late = night IS NULL", "(late = night) IS NULL"),
        ("month + 1 IN (1)", "(month + 1) IN (1)"),
        ("late = month IN (1)", "late = (month IN (1))"),
        ("NOT month = 1", "NOT (month = 1)"),
        ("NOT late IS NULL", "NOT (late IS NULL)"),
        ("NOT month IN (1)", "NOT (month IN (1))"),
        ("NOT month BETWEEN 1 AND 2", "NOT (month BETWEEN 1 AND 2)"),
        ("NOT late AND night", "(NOT late) AND night"),
        ("NOT late OR night", "(NOT late) OR night"),
        ("late OR night AND month = 1", "late OR (night AND (month = 1))"),
        ("late AND night OR month = 1", "(late AND night) OR (month = 1)"),
        ("month BETWEEN 1 AND 2 AND late", "(month BETWEEN 1 AND 2) AND late"),
        ("month BETWEEN 1 + 1 AND 2 + 2 OR late", "(month BETWEEN (1 + 1) AND (2 + 2)) OR late"),
    ],
)
def test_precedence(text: str, read_as: str) -> None:
    assert row(text) == row(read_as)


def test_histogram() -> None:
    assert parse("SELECT HISTOGRAM(dep_delay, -60, 180, 24) FROM flights WHERE late") == query(
        where=(late,), histogram=Bin(delay, -60, 180, 0, 24)
    )
    assert parse("select histogram(fare, 0.5, 2, 3) from flights").histogram == Bin(fare, 50, 200, 2, 3)
    assert parse("SELECT HISTOGRAM(distance, 0.125, 1, 1) FROM flights").histogram == Bin(distance, 125, 1000, 3, 1)
    product = Arithmetic("*", fare, fare)
    assert parse(f"SELECT HISTOGRAM(fare * fare, 0, 1.5, {LARGEST}) FROM flights").histogram == Bin(
        product, 0, 15_000, 4, LARGEST
    )


def test_a_shared_table_joins_an_owned_one_in_either_order() -> None:
    joined = query(COUNT, tables=(FLIGHTS, WEATHER))
    for text in (
        "SELECT COUNT(*) FROM flights JOIN weather USING (origin, hour)",
        "SELECT COUNT(*) FROM weather JOIN flights USING (origin, hour)",
        "SELECT COUNT(*) FROM flights INNER JOIN weather USING (Hour, ORIGIN)",
        "SELECT COUNT(*) FROM weather w JOIN flights f USING (hour, origin)",
    ):
        assert parse(text) == joined


def test_columns_of_a_join_are_those_of_their_table_and_the_key_that_of_the_shared_one() -> None:
    found = parse("""
        SELECT SUM(fare * precip), AVG(f.distance * w.distance) AS x FROM weather w JOIN flights f USING (origin, hour)
        WHERE precip > 0 AND origin = 'EWR' AND w.hour > 3 AND f.hour < 9 AND late
    """)
    hours = {name: Reference(name, of.columns["hour"]) for name, of in TABLES.items()}
    assert found == query(
        statistic("SUM", Arithmetic("*", fare, precip)),
        statistic("AVG", Arithmetic("*", distance, Reference("weather", DISTANCE)), "x"),
        tables=(FLIGHTS, WEATHER),
        where=(
            Comparison(">", precip, Number(0)),
            Comparison("=", origin, Text("EWR")),
            Comparison(">", hours["weather"], Number(3)),
            Comparison("<", hours["flights"], Number(9)),
            late,
        ),
    )


def test_a_join_is_grouped_by_columns_of_both_tables_and_of_its_key_under_either_name() -> None:
    owned = replace(WEATHER, columns=WEATHER.columns | {"night": replace(night.column, nullable=False)})
    nights = [Reference(name, of.columns["night"]) for name, of in (("weather", owned), ("flights", FLIGHTS))]
    for name in ("origin", "w.origin", "f.origin"):
        for selected in ("origin", "w.origin", "f.origin"):
            found = parse(
                f"""
                SELECT w.night AS dark, {selected}, COUNT(*), f.night FROM flights f JOIN weather w USING (origin, hour)
                GROUP BY f.night, {name}, w.night
                """,
                weather=owned,
            )
            assert found == query(
                KeyOutput("dark", nights[0]), KeyOutput("origin", origin), COUNT, KeyOutput("night", nights[1]),
                tables=(FLIGHTS, owned), group_by=(nights[1], origin, nights[0]),
            )  # fmt: skip
    marked = "SELECT §weather.distance, COUNT(*) FROM flights JOIN weather USING (origin, hour) GROUP BY origin"
    assert refused(marked).startswith("distance is neither aggregated nor in GROUP BY")


def test_a_joined_key_has_no_null_group() -> None:
    thousand = Column("key", "category", 0, 999, values=tuple(map(str, range(1000))), nullable=True)
    ten = Column("ten", "integer", 1, 10)
    text = "SELECT COUNT(*) FROM flights JOIN weather USING (key) GROUP BY ten, weather.key"
    owned = table(thousand, name="weather", owner="met", key=("key",))
    assert len(parse(text, flights=table(ten, thousand), weather=owned).group_by) == 2


def test_the_largest_answers_and_joins() -> None:
    wide = {"k": Column("k", "integer", 1, GROUPABLE_VALUES - 1), "l": Column("l", "integer", 1, 10)}
    fits = parse("SELECT COUNT(*) FROM flights GROUP BY k, l", flights=table(*wide.values()))
    assert [key.column.size for key in fits.group_by] == [GROUPABLE_VALUES - 1, 10]
    key = Column("k", "integer", 1, JOIN_CELLS)
    owned = table(key, name="weather", owner="met", key=("k",))
    assert (
        parse("SELECT COUNT(*) FROM flights JOIN weather USING (k)", flights=table(key), weather=owned).tables[1]
        is owned
    )


def test_a_nullable_key_has_a_null_group_unless_where_excludes_it() -> None:
    ten = Column("ten", "integer", 1, 10)
    key = Column("key", "category", 0, 999, values=tuple(map(str, range(1000))), nullable=True)
    of = table(ten, key)
    message = refused("SELECT COUNT(*) FROM flights GROUP BY §key, ten", flights=of)
    assert message == f"10,010 groups, and an answer has at most {CELLS:,}: group by less"
    parse("SELECT COUNT(*) FROM flights WHERE key IS NOT NULL GROUP BY key, ten", flights=of)


# --- what is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "COPY flights TO 'x.csv'", "COPY (SELECT COUNT(*) FROM flights) TO 'x.parquet'", "ATTACH 'x.db' AS x",
        "DETACH x", "INSTALL httpfs", "LOAD httpfs", "PRAGMA version", "PRAGMA table_info('flights')",
        "SET threads = 1", "SET VARIABLE x = 1", "RESET threads", "INSERT INTO flights VALUES (1)",
        "UPDATE flights SET late = TRUE", "DELETE FROM flights", "DROP TABLE flights",
        "CREATE TABLE x AS SELECT * FROM flights", "CREATE MACRO f(x) AS x", "ALTER TABLE flights ADD COLUMN x INT",
        "EXPLAIN SELECT COUNT(*) FROM flights", "DESCRIBE flights", "SUMMARIZE flights", "SHOW TABLES",
        "CALL pragma_version()", "CHECKPOINT", "VACUUM", "BEGIN", "USE x", "PREPARE p AS SELECT COUNT(*) FROM flights",
        "EXECUTE p", "PIVOT flights ON origin USING COUNT(*)", "VALUES (1)", "hello",
    ],
)  # fmt: skip
def test_other_statements_are_refused(statement: str) -> None:
    assert refused(f"\n  §{statement}") == "a query is one SELECT over an agreed table"


def test_several_statements_are_refused_at_the_second() -> None:
    message = "one query is one SELECT statement"
    assert refused("SELECT COUNT(*) FROM flights;\nSELECT §COUNT(*) FROM flights") == message
    assert refused("SELECT COUNT(*) FROM flights;\nDROP TABLE §flights; -- done") == message


def test_no_statement_is_refused() -> None:
    for text in ("§", "§ \n ", "§;", "§-- SELECT COUNT(*) FROM flights"):
        assert refused(text) == "is empty: write one SELECT"


@pytest.mark.parametrize(
    "marked",
    [
        "SELECT COUNT(*) FROM §read_csv('x')", "SELECT COUNT(*) FROM §read_parquet('x.parquet')",
        "SELECT COUNT(*) FROM §read_json_auto('http://x')", "SELECT COUNT(*) FROM §glob('*')",
        "SELECT COUNT(*) FROM §duckdb_tables()", "SELECT COUNT(*) FROM §range(10)",
        "SELECT COUNT(*) FROM §sqlite_scan('x.db', 'flights')", "SELECT COUNT(*) FROM unnest([§1, 2])",
        "SELECT COUNT(*) FROM (VALUES (§1), (2)) AS t(x)",
        "SELECT COUNT(*) FROM flights JOIN §read_csv('x') USING (hour)", "SELECT COUNT(*) FROM flights, §read_csv('x')",
        "SELECT COUNT(*) FROM flights, LATERAL §weather",
    ],
)  # fmt: skip
def test_from_reads_nothing_but_agreed_tables(marked: str) -> None:
    message = "FROM names an agreed table, and reads nothing else: there is flights, weather"
    assert refused(marked) == message


@pytest.mark.parametrize("name", ["'file.parquet'", '"file.csv"', "'s3://x/y.parquet'", "'/etc/passwd'"])
def test_a_file_is_no_table(name: str) -> None:
    message = f"there is no table {name[1:-1]}: there is flights, weather"
    assert refused(f"SELECT COUNT(*) FROM §{name}") == message
    assert refused(f"SELECT COUNT(*) FROM flights JOIN §{name} USING (hour)") == message


def test_tables_and_columns_that_are_not_there_are_refused_with_a_hint() -> None:
    assert refused("SELECT COUNT(*) FROM §flight") == "there is no table flight: did you mean flights?"
    assert problem("SELECT COUNT(*) FROM flight").table == "flight"
    assert refused("SELECT COUNT(*) FROM §x").startswith("there is no table x: there is flights, weather")
    assert refused("SELECT COUNT(*) FROM flights JOIN §wether USING (hour)").endswith("did you mean weather?")
    assert refused("SELECT SUM(§dep_dely) FROM flights") == "there is no column dep_dely: did you mean dep_delay?"
    assert refused("SELECT SUM(fare) FROM flights WHERE §x > 1") == (
        "there is no column x: there is origin, hour, distance, month, carrier, dep_delay, fare, late, ..."
    )
    assert refused("SELECT COUNT(*) FROM flights GROUP BY §origine").endswith("did you mean origin?")
    assert refused("SELECT SUM(§precip) FROM flights").startswith("there is no column precip")
    assert refused("SELECT SUM(§rowid) FROM flights").startswith("there is no column rowid")
    assert refused('SELECT COUNT(*) FROM flights WHERE origin = §"EWR"').startswith("there is no column EWR")
    assert refused("SELECT origin AS o, COUNT(*) FROM flights GROUP BY §o").startswith("there is no column o")
    assert refused("SELECT SUM(§weather.precip) FROM flights") == (
        "there is no table weather in this query: there is flights"
    )
    assert refused("SELECT SUM(§flights.fare) FROM flights f") == "there is no table flights in this query: there is f"
    assert refused("SELECT SUM(§dep_delay.x) FROM flights").startswith("there is no table dep_delay in this query")


@pytest.mark.parametrize(
    "marked",
    [
        "SELECT COUNT(*) FROM §information_schema.tables",
        "SELECT COUNT(*) FROM §db.flights",
        "SELECT COUNT(*) FROM §db.main.flights",
        "SELECT COUNT(*) FROM flights JOIN §main.weather USING (origin, hour)",
        "SELECT SUM(§main.flights.fare) FROM flights",
        "SELECT SUM(§db.main.flights.fare) FROM flights",
    ],
)
def test_other_catalogs_and_schemas_are_refused(marked: str) -> None:
    assert refused(marked) == "a table is named alone, without catalog or schema"


@pytest.mark.parametrize(
    ("marked", "hint"),
    [
        ("WITH §x AS (SELECT * FROM flights) SELECT COUNT(*) FROM x", "WITH is not supported: write one SELECT"),
        ("SELECT COUNT(*) FROM flights UNION SELECT §SUM(fare) FROM flights", "UNION, INTERSECT and EXCEPT are not"),
        ("SELECT COUNT(*) FROM flights UNION ALL SELECT §SUM(fare) FROM flights", "write two queries"),
        ("SELECT COUNT(*) FROM flights EXCEPT SELECT §SUM(fare) FROM flights", "write two queries"),
        ("SELECT COUNT(*) FROM flights INTERSECT SELECT §SUM(fare) FROM flights", "write two queries"),
        (
            "SELECT COUNT(*) FROM flights GROUP BY origin HAVING §COUNT(*) > 3",
            "HAVING is not supported: filter rows with",
        ),
        (
            "SELECT COUNT(*) FROM flights ORDER BY §origin",
            "ORDER BY is not supported: the answer comes in declared order",
        ),
        (
            "SELECT COUNT(*) FROM flights LIMIT §1",
            "LIMIT is not supported: the answer has a row for each declared group",
        ),
        ("SELECT COUNT(*) FROM flights LIMIT §1 OFFSET 2", "LIMIT is not supported"),
        ("SELECT COUNT(*) FROM flights OFFSET §2", "OFFSET is not supported"),
        ("SELECT COUNT(*) FROM flights FETCH FIRST §5 ROWS ONLY", "LIMIT is not supported"),
        ("SELECT §DISTINCT origin FROM flights", "DISTINCT is not supported: GROUP BY gives a row"),
        ("SELECT DISTINCT ON (§origin) origin FROM flights", "DISTINCT is not supported"),
        ("SELECT COUNT(DISTINCT §origin) FROM flights", "DISTINCT is not supported: COUNT(x) counts rows in which"),
        ("SELECT SUM(DISTINCT §fare) FROM flights", "DISTINCT is not supported"),
        ("SELECT §SUM(fare) OVER (PARTITION BY origin) FROM flights", "window functions are not supported: GROUP BY"),
        ("SELECT §ROW_NUMBER() OVER () FROM flights", "window functions are not supported"),
        ("SELECT COUNT(*) FROM flights WINDOW §w AS (PARTITION BY origin)", "window functions are not supported"),
        ("SELECT COUNT(*) FROM flights QUALIFY §1", "QUALIFY is not supported: filter rows with WHERE"),
        (
            "SELECT §SUM(fare) FILTER (WHERE late) FROM flights",
            "FILTER is not supported: write SUM(CASE WHEN condition",
        ),
        ("SELECT §COUNT(*) FILTER (WHERE late) FROM flights", "FILTER is not supported"),
        ("SELECT SUM(§fare ORDER BY month) FROM flights", "fare ORDER BY month is not supported in a row expression"),
        ("SELECT COUNT(*) FROM flights TABLESAMPLE §10%", "sampling is not supported: all rows count"),
        ("SELECT COUNT(*) FROM flights USING SAMPLE §10", "sampling is not supported"),
        (
            "SELECT COUNT(*) FROM flights PIVOT (§COUNT(*) FOR late IN (TRUE))",
            "PIVOT(COUNT(*) FOR late IN (TRUE)) is not",
        ),
        ("SELECT COUNT(*) INTO §x FROM flights", "INTO x is not supported"),
        ("SELECT COUNT(*) FROM flights AS f(§x, y)", "x is not supported here"),
        ("SELECT §COUNT(*)", "FROM is missing: there is flights, weather"),
        ("§SELECT", "FROM is missing"),
        ("SELECT FROM §flights", "select an aggregate: COUNT, SUM, AVG"),
        ("§FROM flights", "* stands in COUNT(*) alone: name the columns"),
        ("SELECT COUNT(*) FROM (SELECT §* FROM flights)", "subqueries are not supported: write one SELECT"),
        ("SELECT COUNT(*) FROM (§flights)", "subqueries are not supported"),
        ("SELECT COUNT(*) FROM flights JOIN (SELECT §* FROM weather) USING (hour)", "subqueries are not supported"),
        ("SELECT COUNT(*) FROM flights WHERE fare > (SELECT §AVG(fare) FROM flights)", "subqueries are not supported"),
        ("SELECT COUNT(*) FROM flights WHERE fare IN (SELECT §fare FROM flights)", "subqueries are not supported"),
        ("SELECT COUNT(*) FROM flights WHERE EXISTS (SELECT §fare FROM flights)", "subqueries are not supported"),
        ("SELECT COUNT(*) FROM flights WHERE fare > ANY (SELECT §fare FROM flights)", "subqueries are not supported"),
    ],
)
def test_other_clauses_are_refused_with_the_nearest_thing(marked: str, hint: str) -> None:
    assert hint in refused(marked)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("day >= '2013-06-01'", Comparison(">=", day, Moment("date", 15_857))),
        ("DATE '2013-06-01' < day", Comparison("<", Moment("date", 15_857), day)),
        ("day = CAST('2013-06-01' AS DATE)", Comparison("=", day, Moment("date", 15_857))),
        ("day IN ('2013-06-01', '1969-12-31'::DATE)", Membership(day, (Moment("date", 15_857), Moment("date", -1)))),
        ("start < '2013-06-01'", Comparison("<", start, Moment("timestamp", 15_857 * DAY))),
        ("start <> TIMESTAMP '2013-06-01T00:00:01.5'", Comparison("<>", start, Moment("timestamp", 15_857 * DAY + 1_500_000))),
        ("start <= '2013-06-01 23:59'", Comparison("<=", start, Moment("timestamp", 15_858 * DAY - 60_000_000))),
        (
            "CASE day WHEN '2013-06-01' THEN day - DATE '2013-05-31' END",
            Case(((
                Comparison("=", day, Moment("date", 15_857)), Arithmetic("-", day, Moment("date", 15_856))
            ),), None),
        ),
    ],
)  # fmt: skip
def test_dates_and_timestamps(text: str, tree: Node) -> None:
    assert row(text) == tree
    assert row(str(tree)) == tree


@pytest.mark.parametrize(
    ("marked", "hint"),
    [
        ("day > §'2013-02-30'", "'2013-02-30' is not a date such as '2013-01-31'"),
        ("day > §'yesterday'", "'yesterday' is not a date"),
        ("day > §'2013-06-01 12:00'", "'2013-06-01 12:00' is not a date"),
        ("start > §'2013-06-01 24:00'", "'2013-06-01 24:00' is not a timestamp such as '2013-01-31 23:59:00'"),
        ("start > §'2013-06-01 12:00:00Z'", "'2013-06-01 12:00:00Z' is not a timestamp"),
        ("start > §'2013-06-01 12:00:00.1234567'", "is not a timestamp"),
        ("start > TIMESTAMPTZ §'2013-06-01'", "casts are not supported"),
        ("§start > day", "cannot compare start with day: different types"),
        ("§day > 15000", "cannot compare day with 15000: different types"),
        ("§day + 1 > day", "+ needs numbers, and day is none"),
        ("§start - start > 0", "- needs numbers, and start is none"),
        ("§day = origin", "cannot compare day with origin: different types"),
        ("§day > CURRENT_DATE", "is not supported in a row expression"),
        ("day > day - INTERVAL §'1' DAY", "is not supported in a row expression"),
    ],
)
def test_other_dates_and_timestamps_are_refused(marked: str, hint: str) -> None:
    assert hint in refused(f"SELECT COUNT(*) FROM flights WHERE\n{marked}")


def test_rows_whose_joined_key_is_clamped_would_meet_others() -> None:
    hour = replace(HOUR, outside="clamp")
    clamped = table(ORIGIN, hour, *(c for c in FLIGHTS.columns.values() if c.name not in ("origin", "hour")))
    assert "hour is clamped in flights, so that rows would meet others' keys" in refused(
        "SELECT COUNT(*) FROM flights JOIN weather USING (§origin, hour)", flights=clamped
    )


def test_a_day_is_a_group_key_and_no_number() -> None:
    assert parse("SELECT day, COUNT(*) FROM flights GROUP BY day").group_by == (day,)
    assert "AVG needs a number, and day is none: write day - DATE '2000-01-01'" in refused("SELECT AVG(§day) FROM flights")
    long = {"long": table(Column("day", "date", 0, 1000), name="long")}
    assert "day has 1,001 values, and a date as a group key fewer" in refused("SELECT COUNT(*) FROM long GROUP BY §day", **long)
    assert "lift is a float: group by" in refused("SELECT COUNT(*) FROM flights GROUP BY §lift")
    assert "start is a timestamp: group by" in refused("SELECT COUNT(*) FROM flights GROUP BY §start")


@pytest.mark.parametrize(
    ("marked", "hint"),
    [
        ("§getenv('HOME')", "the function GETENV is not supported in a row expression: columns, + - *, comparisons"),
        ("§current_setting('x')", "the function CURRENT_SETTING is not supported"),
        ("§pg_read_file('x')", "the function PG_READ_FILE is not supported"),
        ("§read_text('x')", "the function READ_TEXT is not supported"),
        ("fare + §random()", "the function RANDOM is not supported"),
        ("§now()", "the function NOW is not supported"),
        ("§ABS(fare)", "the function ABS is not supported"),
        ("§ROUND(fare)", "the function ROUND is not supported"),
        ("§list_transform([1], x -> x + 1)", "the function LIST_TRANSFORM is not supported"),
        ("§COALESCE(fare, 0)", "COALESCE is not supported: write CASE WHEN x IS NULL THEN 0 ELSE x END"),
        ("§IF(late, 1, 0)", "IF is not supported: write CASE WHEN"),
        ("§CAST(fare AS DOUBLE)", "casts are not supported: columns have the types of the spec"),
        ("§fare::DOUBLE", "casts are not supported"),
        ("§TRY_CAST(fare AS INT)", "casts are not supported"),
        ("§CAST(month AS DATE)", "casts are not supported"),
        ("§fare / 2", "division is not supported at home: multiply instead"),
        ("§fare // 2", "division is not supported at home"),
        ("§fare % 2", "% is not supported: use + - * and CASE"),
        ("§fare ^ 2", "POWER(fare, 2) is not supported in a row expression"),
        ("§fare & 2", "fare & 2 is not supported in a row expression"),
        ("§fare || 2", "fare || 2 is not supported"),
        ("§origin LIKE 'E%'", "LIKE is not supported: list the values with IN"),
        ("§origin NOT ILIKE 'E%'", "LIKE is not supported"),
        ("§origin SIMILAR TO 'E'", "origin SIMILAR TO 'E' is not supported"),
        ("§origin ~ 'E'", "is not supported in a row expression"),
        ("§late IS TRUE", "IS is for NULL: write x IS NULL or x IS NOT NULL, and a boolean by itself"),
        ("§late IS DISTINCT FROM night", "late IS DISTINCT FROM night is not supported"),
        ("month BETWEEN §SYMMETRIC 2 AND 1", "SYMMETRIC is not supported here"),
        ("§x -> x + 1", "is not supported in a row expression"),
        ("[§fare]", "[fare] is not supported"),
        ("§fare[1]", "fare[1] is not supported"),
        ("{'a': §fare}", "{'a': fare} is not supported"),
        ("(§fare, month) = (1, 2)", "(fare, month) is not supported"),
        ("§* EXCLUDE (fare)", "* stands in COUNT(*) alone: name the columns"),
        ("§* REPLACE (1 AS fare)", "* stands in COUNT(*) alone"),
        ("flights.§*", "* stands in COUNT(*) alone"),
        ("§COLUMNS('f.*')", "the function COLUMNS is not supported"),
        ("§fare = ?", "parameters are not supported: write the value"),
        ("§fare = $1", "parameters are not supported"),
        ("§fare = :x", "parameters are not supported"),
        ("§fare = NULL", "NULL can only be tested: x IS NULL; a CASE without ELSE gives NULL"),
        ("§1e3", "1e3 is no exact number: write digits with at most one point, at most 38"),
        (f"§{'9' * 39}", "is no exact number"),
        ("§'EWR' < origin", "< needs numbers, dates or timestamps, and 'EWR' is none"),
        ("§origin = 'XXX'", "'XXX' is not a declared value of origin (EWR, JFK, it's, say \"so\", ü\n--)"),
        ("§'ewr' <> origin", "'ewr' is not a declared value of origin"),
        ("origin IN ('EWR', §'XXX')", "'XXX' is not a declared value of origin"),
        ("§CASE origin WHEN 'XXX' THEN 1 END", "'XXX' is not a declared value of origin"),
        ("origin = §$$EWR$$", "'EWR' is not supported"),
        ("§origin = 1", "cannot compare origin with 1: different types"),
        ("§fare = '1'", "cannot compare fare with '1': different types"),
        ("§late = 1", "cannot compare late with 1: different types"),
        ("§late < night", "< needs numbers, dates or timestamps, and late is none"),
        ("§origin BETWEEN 'EWR' AND 'JFK'", ">= needs numbers, dates or timestamps, and origin is none"),
        ("late IN (TRUE, §1)", "cannot compare late with 1: different types"),
        ("fare IN (1, §month)", "IN lists values written out"),
        ("fare IN (§1 + 1)", "IN lists values written out"),
        ("§fare IN ()", "IN lists values written out"),
        ("fare IN §month", "month is not supported here"),
        ("§1 < fare < 2", "comparisons do not chain: write a < b AND b < c, or parentheses"),
        ("§late = fare < 2", "comparisons do not chain"),
        ("§origin + 1", "+ needs numbers, and origin is none"),
        ("-§origin", "- needs numbers, and origin is none"),
        ("§fare * late", "* needs numbers, and late is none"),
        ("NOT §fare", "NOT needs a condition, and fare is none"),
        ("§late AND fare", "AND needs conditions, and fare is none"),
        ("§CASE WHEN fare THEN 1 END", "WHEN needs a condition, and fare is none"),
        ("§CASE WHEN late THEN 'x' END", "THEN needs a number, and 'x' is none"),
        ("§CASE WHEN late THEN 1 ELSE night END", "ELSE needs a number, and night is none"),
        ("CASE WHEN §late THEN NULL ELSE 1 END", "THEN NULL is not supported: turn the condition round"),
        ("§SUM(fare)", "an aggregate stands in SELECT alone: not in WHERE, and not within another"),
        ("§HISTOGRAM(fare, 0, 1, 2) + 1", "an aggregate stands in SELECT alone"),
        ("1 + §COUNT(*)", "an aggregate stands in SELECT alone"),
    ],
)
def test_other_row_expressions_are_refused_with_the_nearest_thing(marked: str, hint: str) -> None:
    assert hint in refused(f"SELECT COUNT(\n  {marked}\n) FROM flights")
    if not marked.startswith(("§*", "flights.§*")):
        assert hint in refused(f"SELECT COUNT(*) FROM flights\nWHERE late OR ({marked})")


def test_where_needs_conditions() -> None:
    for text, name in (("§fare", "fare"), ("late AND §1", "1"), ("§origin AND late", "origin")):
        assert refused(f"SELECT COUNT(*) FROM flights WHERE {text}") == f"WHERE needs a condition, and {name} is none"


@pytest.mark.parametrize(
    ("marked", "hint"),
    [
        ("§dep_delay", "dep_delay is neither aggregated nor in GROUP BY: no row's value is ever shown"),
        ("COUNT(*), §late", "late is neither aggregated nor in GROUP BY"),
        ("§fare + 1", "fare + 1 is not supported in SELECT, which takes group keys and aggregates"),
        ("§1", "1 is not supported in SELECT"),
        ("§*", "* stands in COUNT(*) alone: name the columns"),
        ("§flights.*", "flights.* is not supported in SELECT"),
        ("§origin", "select an aggregate: COUNT, SUM, AVG, VAR_SAMP, VAR_POP, STDDEV_SAMP, STDDEV_POP"),
        ("COUNT(*), §COUNT(*)", "two columns are called count(*): name one with AS"),
        ("COUNT(*) AS n, §SUM(fare) AS N", "two columns are called N: name one with AS"),
        ("origin, §origin, COUNT(*)", "two columns are called origin: name one with AS"),
        ('§COUNT(*) AS "odd name"', "'odd name' is no name for a column: letters, digits and underscores"),
        (f"§COUNT(*) AS {'x' * 65}", "is no name for a column"),
        (
            "§SUM(fare) + 1",
            "nothing is computed around an aggregate: select the aggregates, and compute with the answer",
        ),
        ("§SUM(fare) / COUNT(*)", "nothing is computed around an aggregate"),
        ("-§SUM(fare)", "nothing is computed around an aggregate"),
        ("§ABS(SUM(fare))", "nothing is computed around an aggregate"),
        ("§CASE WHEN SUM(fare) > 1 THEN 1 END", "nothing is computed around an aggregate"),
        ("§CASE WHEN late THEN 1 END", "CASE WHEN late THEN 1 END is not supported in SELECT"),
        ("SUM(§COUNT(*))", "an aggregate stands in SELECT alone: not in WHERE, and not within another"),
        ("§SUM(*)", "SUM(*) is nothing: name a column"),
        ("§COUNT()", "COUNT takes one argument"),
        ("§COUNT(fare, month)", "COUNT takes one argument"),
        ("SUM(§late)", "SUM needs a number, and late is none: write CASE WHEN ... THEN 1 ELSE 0 END"),
        ("AVG(§origin)", "AVG needs a number, and origin is none"),
        ("VAR_POP(§fare > 1)", "VAR_POP needs a number, and fare > 1 is none"),
        ("MIN(fare, §2)", "2 is not supported here"),
        ("MAX(§late)", "MAX needs a number, and late is none"),
        ("§QUANTILE(fare, 0.5)", "such quantiles are not supported: write MEDIAN(x), QUANTILE_CONT(x, p) or QUANTILE_DISC(x, p)"),
        (
            "§SUMM(fare)",
            "the function SUMM is not supported in SELECT, which takes group keys and aggregates: did you mean SUM?",
        ),
        ("§HISTOGRM(fare, 0, 1, 2)", "did you mean HISTOGRAM?"),
        (
            "§LIST(fare)",
            "the function LIST is not supported in SELECT, which takes group keys and aggregates: there is COUNT",
        ),
        ("§getenv('HOME')", "the function GETENV is not supported in SELECT"),
    ],
)
def test_other_outputs_are_refused_with_the_nearest_thing(marked: str, hint: str) -> None:
    assert hint in refused(f"SELECT\n {marked}\nFROM flights GROUP BY origin")


@pytest.mark.parametrize(
    ("marked", "hint"),
    [
        ("§1", "GROUP BY names columns of the table"),
        ("§month + 1", "GROUP BY names columns of the table"),
        ("(§month)", "GROUP BY names columns of the table"),
        ("ROLLUP(§month)", "GROUP BY names columns of the table"),
        ("§ALL", "ALL is not supported here"),
        ("§fare", "fare is a decimal: group by an integer, a date, a category, a boolean or a text"),
        ("§distance", f"distance has 5,001 values, and an integer as a group key fewer than {GROUPABLE_VALUES:,}: narrow"),
        ("month, late, §month", "month is there twice"),
        ("§month, hour, carrier, late, origin", "36,000 groups, and an answer has at most 10,000: group by less"),
    ],
)
def test_other_groups_are_refused(marked: str, hint: str) -> None:
    assert hint in refused(f"SELECT COUNT(*) FROM flights GROUP BY\n{marked}")


def test_a_number_of_cells_of_any_size_is_told() -> None:
    many = [Column(f"k{number}", "integer", 1, 999) for number in range(1500)]
    names = ", ".join(column.name for column in many)
    assert refused(f"SELECT COUNT(*) FROM flights GROUP BY §{names}", flights=table(*many)).startswith(
        "over 10^15 groups"
    )
    wide = [replace(column, upper=1 << 61) for column in many[:300]]
    key = tuple(column.name for column in wide)
    owned = table(*wide, name="weather", owner="met", key=key)
    text = f"SELECT COUNT(*) FROM flights JOIN §weather USING ({', '.join(key)})"
    assert "has over 10^15 cells, and a join at most 100,000" in refused(text, flights=table(*wide), weather=owned)


KINDS = "a shared table joins one company's table (owner and key in the spec): JOIN ... USING (its key)"
WHOLE_KEY = "USING names the key of weather, all of it: USING (origin, hour)"


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ("LEFT JOIN §weather USING (origin, hour)", KINDS),
        ("RIGHT OUTER JOIN §weather USING (origin, hour)", KINDS),
        ("FULL JOIN §weather USING (origin, hour)", KINDS),
        ("SEMI JOIN §weather USING (origin, hour)", KINDS),
        ("ANTI JOIN §weather USING (origin, hour)", KINDS),
        ("ASOF JOIN §weather USING (origin, hour)", KINDS),
        ("CROSS JOIN §weather", KINDS),
        ("NATURAL JOIN §weather", KINDS),
        ("POSITIONAL JOIN §weather", KINDS),
        ("a JOIN §flights b USING (origin, hour)", KINDS),
        ("JOIN §flights USING (origin, hour)", "flights is there twice"),
        ("f JOIN §weather f USING (origin, hour)", "f is there twice"),
        ("JOIN §weather", "write JOIN weather USING (origin, hour)"),
        ("JOIN §weather ON flights.hour = weather.hour", "write JOIN weather USING (origin, hour)"),
        (", §weather WHERE flights.hour = weather.hour", "write JOIN weather USING (origin, hour)"),
        ("JOIN §weather USING ()", "write JOIN weather USING (origin, hour)"),
        ("JOIN weather USING (§hour)", WHOLE_KEY),
        ("JOIN weather USING (§origin, hour, distance)", WHOLE_KEY),
        ("JOIN weather USING (§origin, origin)", WHOLE_KEY),
        ("JOIN weather USING (§origin(hour), hour)", WHOLE_KEY),
        (
            "JOIN weather USING (origin, hour) JOIN §weather w USING (origin, hour)",
            "one join at most: a shared table with one company's table",
        ),
        (
            "JOIN weather USING (origin, hour) GROUP BY §distance",
            "both tables have a column distance: write flights.distance or weather.distance",
        ),
        ("f JOIN weather w USING (origin, hour) GROUP BY f.origin, §w.origin", "origin is there twice"),
        (
            "JOIN weather USING (origin, hour) GROUP BY late, §precip",
            "precip is a decimal: group by an integer, a date, a category, a boolean or a text",
        ),
        (
            "JOIN weather USING (origin, hour) GROUP BY §hour, origin, carrier, month",
            "18,000 groups, and an answer has at most 10,000: group by less",
        ),
        (
            "JOIN weather USING (origin, hour) WHERE §distance > 1",
            "both tables have a column distance: write flights.distance or weather.distance",
        ),
        (
            "f JOIN weather w USING (origin, hour) WHERE §distance > 1",
            "both tables have a column distance: write f.distance or w.distance",
        ),
    ],
)
def test_other_joins_are_refused(marked: str, message: str) -> None:
    assert refused(f"SELECT COUNT(*)\nFROM flights {marked}") == message


def test_an_owned_table_joins_no_owned_table() -> None:
    assert refused("SELECT COUNT(*) FROM weather a JOIN §weather b USING (origin, hour)") == KINDS


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ("§VAR_SAMP(fare)", "VAR_SAMP is not supported in a join yet: COUNT, SUM, AVG are"),
        ("§COUNT(fare)", "in a join only COUNT(*) counts: exclude NULLs with WHERE x IS NOT NULL"),
        ("§HISTOGRAM(fare, 0, 1, 2)", "HISTOGRAM stands alone: one table, nothing beside it, no GROUP BY"),
        ("SUM(§distance)", "both tables have a column distance: write flights.distance or weather.distance"),
    ],
)
def test_other_outputs_of_a_join_are_refused(marked: str, message: str) -> None:
    assert refused(f"SELECT {marked} FROM flights JOIN weather USING (origin, hour)") == message


def test_a_join_needs_the_same_key_on_both_sides_with_few_enough_cells() -> None:
    text = "SELECT COUNT(*) FROM flights JOIN weather USING (§origin, hour)"
    lacking = table(ORIGIN, DISTANCE)
    assert refused(text, flights=lacking) == "flights has no column hour, the key of weather"
    for other in (
        replace(ORIGIN, values=ORIGINS[::-1]),
        replace(ORIGIN, upper=ORIGIN.upper - 1, values=ORIGINS[:-1]),
        Column("origin", "integer", 0, ORIGIN.upper),
    ):
        assert refused(text, flights=table(other, HOUR)) == (
            "origin has other values or bounds in flights than in weather: declare them alike"
        )
    parse(text.replace("§", ""), flights=table(replace(ORIGIN, nullable=True, unit="x"), HOUR))

    hour = Column("hour", "integer", 1, JOIN_CELLS // len(ORIGINS) + 1)
    owned = table(ORIGIN, hour, name="weather", owner="met", key=("origin", "hour"))
    marked = "SELECT COUNT(*) FROM flights JOIN §weather USING (origin, hour)"
    assert refused(marked, flights=table(ORIGIN, hour), weather=owned) == (
        "the key of weather has 100,005 cells, and a join at most 100,000: narrow its bounds"
    )


FORM = "write HISTOGRAM(x, lower, upper, bins), such as HISTOGRAM(delay, -60, 180, 24)"


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ("§HISTOGRAM(fare)", FORM),
        ("§HISTOGRAM()", FORM),
        ("§HISTOGRAM(*)", FORM),
        ("§HISTOGRAM(fare, 1, 2)", FORM),
        ("§HISTOGRAM(fare, 1, 2, 3, 4)", FORM),
        ("§HISTOGRAM(DISTINCT fare, 0, 1, 2)", FORM),
        ("§HISTOGRAM(origin, 1, 2, 3)", f"{FORM}: x a number, the others written out"),
        ("§HISTOGRAM(fare, month, 2, 3)", f"{FORM}: x a number, the others written out"),
        ("§HISTOGRAM(fare, 'a', 2, 3)", f"{FORM}: x a number, the others written out"),
        ("§HISTOGRAM(fare, 1 + 1, 20, 3)", f"{FORM}: x a number, the others written out"),
        ("§HISTOGRAM(fare, 2, 1, 3)", "the lower edge is not below the upper one"),
        ("§HISTOGRAM(fare, 1, 1.0, 3)", "the lower edge is not below the upper one"),
        ("§HISTOGRAM(fare, 1, 2, 0)", "the number of bins is between 1 and 9,998"),
        ("§HISTOGRAM(fare, 1, 2, -1)", "the number of bins is between 1 and 9,998"),
        ("§HISTOGRAM(fare, 1, 2, 1.5)", "the number of bins is between 1 and 9,998"),
        ("§HISTOGRAM(fare, 1, 2, 9999)", "the number of bins is between 1 and 9,998"),
        ("§HISTOGRAM(fare, 0, 1, 2) AS h", "HISTOGRAM has columns of its own (bin_lower, bin_upper, count): no AS"),
        ("COUNT(*), §HISTOGRAM(fare, 0, 1, 2)", "HISTOGRAM stands alone: one table, nothing beside it, no GROUP BY"),
        ("HISTOGRAM(§SUM(fare), 0, 1, 2)", "an aggregate stands in SELECT alone: not in WHERE, and not within another"),
        ("SUM(§HISTOGRAM(fare, 0, 1, 2))", "an aggregate stands in SELECT alone: not in WHERE, and not within another"),
        ("§HISTOGRAM(fare, 0, 1, 2) OVER ()", "window functions are not supported: GROUP BY gives a value a group"),
    ],
)
def test_histograms_of_another_form_are_refused(marked: str, message: str) -> None:
    assert refused(f"SELECT {marked} FROM flights") == message


def test_a_histogram_takes_no_group_by() -> None:
    message = "HISTOGRAM stands alone: one table, nothing beside it, no GROUP BY"
    assert refused("SELECT §HISTOGRAM(fare, 0, 1, 2) FROM flights GROUP BY late") == message


@pytest.mark.parametrize(
    ("marked", "hint"),
    [
        ("SELECT COUNT(*) §FROM", "expected table name"),
        ("SELECT COUNT(*) FROM flights §WHERE", "something is missing here"),
        ("SELECT COUNT(*) FROM flights WHERE fare §>", "something is missing here"),
        ("SELECT COUNT(* §FROM flights", "expecting )"),
        ("SELECT COUNT(*)§) FROM flights", "unexpected )"),
        ("SELECT SUM(§) FROM flights", "something is missing here"),
        ("SELECT SUM(fare, month§) FROM flights", "the number of provided arguments (2) is greater"),
        ("SELECT COUNT(*) FROM flights WHERE late §XOR night", "unexpected XOR"),
        ("SELECT COUNT(*)\nFROM flights f §'a\nb' WHERE late", "unexpected 'a\nb'"),
        ("SELECT SUM(CASE §END) FROM flights", "expected END after CASE"),
        ("SELECT SUM(0§x10) FROM flights", "expecting )"),
        ("SELECT COUNT(*)\nFROM flights WHERE origin = §'EWR", "a quote or comment does not end"),
        ('SELECT COUNT(*)\nFROM §"flights', "a quote or comment does not end"),
        ("SELECT COUNT(*)\n§/* FROM flights", "a quote or comment does not end"),
        ("SELECT COUNT(*) FROM flights WHERE origin = x§'zz'", "unexpected 'zz'"),
        ("§SELECT COUNT(*) FROM flights $", "this is no SQL"),
    ],
)
def test_what_is_no_sql_is_refused_where_it_stops_making_sense(marked: str, hint: str) -> None:
    assert refused(marked).startswith(f"not understood: {hint}")


def test_what_is_nested_too_deeply_is_refused() -> None:
    for inside, text in {
        "1": "SELECT SUM({}) FROM flights", "late": "SELECT COUNT(*) FROM flights WHERE {}",
    }.items():  # fmt: skip
        for opening, closing in (
            ("(", ")"),
            ("CASE WHEN TRUE THEN ", " END"),
            ("NOT ", ""),
            ("- ", ""),
            ("f(", ")"),
            ("(", ""),
        ):
            nested = opening * 1000 + inside + closing * 1000
            assert problem(text.format(nested)[:LONGEST]).message.startswith("nested too deeply")
    levels = f"nested too deeply (more than {DEEPEST} levels)"
    assert problem("SELECT SUM(1" + "+1" * DEEPEST + ") FROM flights").message == levels
    assert problem("SELECT COUNT(*) FROM flights WHERE late" + " OR late" * DEEPEST).message == levels
    parse("SELECT COUNT(*) FROM flights WHERE " + "(" * 15 + "late" + " OR late" * 60 + ")" * 15)


@pytest.mark.parametrize(
    "text",
    ["SELECT COUNT(*) FROM flights" + " JOIN flights" * 40, f"SELECT SUM({'struct(' * 40}1{')' * 40}) FROM flights"],
    ids=["joins", "types"],
)
def test_what_a_parser_would_try_for_ever_is_refused(text: str) -> None:
    assert problem(text).message == "nested too deeply"


def test_a_text_that_is_too_long_is_refused() -> None:
    text = "SELECT COUNT(*) FROM flights"
    assert parse(text + " " * (LONGEST - len(text))) == query(COUNT)
    assert refused("§" + text + " " * (LONGEST - len(text) + 1)) == "a query has at most 10,000 characters"


def test_control_characters_and_look_alikes_are_no_names() -> None:
    assert refused("SELECT COUNT(*) FROM §flights\x00").startswith("there is no table flights\x00")
    assert refused("SELECT COUNT(*) FROM §fl\u0131ghts").startswith("there is no table fl\u0131ghts")
    assert refused("SELECT COUNT(*) FROM §FL\u0130GHTS").startswith("there is no table FL\u0130GHTS")
    assert refused("SELECT SUM(§f\u0430re) FROM flights").startswith("there is no column f\u0430re")
    assert refused("SELECT SUM(§\u0661) FROM flights").startswith("there is no column \u0661")
    assert refused("SELECT SUM(1§\u0661) FROM flights").startswith("not understood")
    assert refused("SELECT §COUNT(*) AS \u00fc FROM flights").startswith("'\u00fc' is no name for a column")
    assert "is not a declared value" in refused("SELECT COUNT(*) FROM flights WHERE §origin = 'EWR\x00'")
    assert "is not a declared value" in refused("SELECT COUNT(*) FROM flights WHERE §origin = 'u\u0308\n--'")
    assert refused("SELECT COUNT(*) FROM flights WHERE origin = §\u2018EWR\u2019").startswith("there is no column")
    assert row("origin = '\u00fc\n--'") == Comparison("=", origin, Text(ORIGINS[-1]))


LINES = """SELECT origin,
       AVG(dep_delay) AS mean,  -- ü😀
       SUM(CASE WHEN fare > 2 THEN 1 ELSE 0 END)
  FROM flights AS f
 WHERE late AND
       origin IN ('EWR', 'JFK')
 GROUP BY origin
"""


@pytest.mark.parametrize(
    ("right", "wrong", "line", "column"),
    [
        ("SELECT origin", "SELECT origine", 1, 8),
        ("AVG(dep_delay)", "AVG(delay)", 2, 12),
        ("AVG(dep_delay)", "KURTOSIS(dep_delay)", 2, 8),
        ("AVG(dep_delay) AS mean", "AVG(dep_delay) AS origin", 2, 8),
        ("fare > 2", "2 < frae", 3, 26),
        ("SUM(CASE", "SUM((CASE", 4, 3),
        ("ELSE 0", "ELSE 'x'", 3, 12),
        ("FROM flights", "FROM x.flights", 4, 8),
        ("FROM flights", "FROM wether", 4, 8),
        ("late AND", "later AND", 5, 8),
        ("late AND", "late AND AND", 5, 17),
        ("'JFK'", "'LAX'", 6, 26),
        ("'JFK'", "'JFK", 6, 26),
        ("GROUP BY origin", "GROUP BY origin, f.distance", 7, 19),
        ("GROUP BY origin", "GROUP BY origin\n LIMIT 10", 8, 8),
    ],
)
def test_places_in_several_lines(right: str, wrong: str, line: int, column: int) -> None:
    assert len(parse(LINES).select) == 3
    found = problem(LINES.replace(right, wrong))
    assert (found.line, found.column) == (line, column), found


# --- properties -------------------------------------------------------------------------------------------------------

REFERENCES = tuple(Reference("flights", column) for column in FLIGHTS.columns.values())
EXPRESSIONS = truths(REFERENCES, 3) | numbers(REFERENCES, 3)
MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(EXPRESSIONS)
def test_the_text_of_a_tree_is_read_as_that_tree(node: Node) -> None:
    assert row(str(node)) == node


def literal(column: Column, value: Any) -> str:
    """A value in DuckDB's own SQL."""
    if value is None:
        text = "NULL"
    elif column.kind == "date" or column.kind == "timestamp":
        text = str(Moment(column.kind, value))
    else:
        text = str(Text(value) if isinstance(value, str) else Number(int(value), column.scale))
    kinds = {"decimal": "DECIMAL(9, 2)", "float": "DECIMAL(9, 2)", "category": "VARCHAR"}
    kind = kinds.get(column.kind, column.kind.upper())
    return f"CAST({text} AS {kind}) AS {column.name}"


def values(column: Column) -> st.SearchStrategy[Any]:
    present: st.SearchStrategy[Any] = st.integers(column.lower, column.upper)
    if column.kind in ("category", "boolean"):
        present = st.sampled_from(column.values) if column.values else st.booleans()
    return st.none() | present if column.nullable else present


ROWS = st.fixed_dictionaries({name: values(column) for name, column in FLIGHTS.columns.items()})


@pytest.fixture(scope="module")
def engine() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@MANY
@given(EXPRESSIONS, ROWS)
def test_a_text_without_parentheses_means_what_it_means_in_duckdb(
    engine: duckdb.DuckDBPyConnection, node: Node, values: dict[str, Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expression, "_inner", str)
        text = str(node)
    try:
        read = row(text)
    except SqlProblem:
        return
    data = ", ".join(literal(FLIGHTS.columns[name], value) for name, value in values.items())
    try:
        (found,) = engine.sql(f"SELECT {text} FROM (SELECT {data})").fetchone() or ()
    except duckdb.OutOfRangeException:
        return
    expected = exact(read, values)
    assert (found is None) == (expected is None)
    if isinstance(found, float):
        assert found == pytest.approx(float(expected), rel=1e-9)
    elif found is not None:
        assert expected == (found if read.type == "truth" else Fraction(found))
    assert evaluate(read, values) is None or read.lower <= evaluate(read, values) <= read.upper


def is_refused_or_read(text: str) -> None:
    try:
        read: Query | SqlProblem = parse(text)
    except SqlProblem as found:
        read = found
    if isinstance(read, Query):
        assert read.select or read.histogram
    else:
        lines = text.split("\n")
        assert 1 <= read.line <= len(lines)
        assert 1 <= read.column <= len(lines[read.line - 1]) + 1
        assert not any(word in read.message and word not in text for word in ("<class", "sqlglot", "Token", "None"))


@example("{:}")
@MANY
@given(st.text(max_size=60) | st.text("SELECT*()FROM,flights'\"=<.;-/[]{}$?:|@#\\\x00\n ", max_size=60))
def test_any_text_is_refused_or_read(text: str) -> None:
    is_refused_or_read(text)
    is_refused_or_read(f"SELECT SUM({text}) FROM flights")
    is_refused_or_read(f"SELECT COUNT(*) FROM flights {text}")


WORDS = [
    "SELECT", "FROM", "WHERE", "GROUP", "BY", "HAVING", "ORDER", "LIMIT", "JOIN", "LEFT", "USING", "ON", "AND", "OR",
    "NOT", "IS", "NULL", "TRUE", "CASE", "WHEN", "THEN", "ELSE", "END", "IN", "BETWEEN", "AS", "COUNT(", "SUM(",
    "HISTOGRAM(", "(", ")", "(", ")", ",", ".", "*", "+", "-", "/", "=", "<", "<>", "1", "2", "0.5", "'EWR'", "'x'",
    '"fare"', "fare", "month", "origin", "late", "f", "flights", "weather", "precip", "hour", ";", "DISTINCT", "OVER",
    "FILTER", "UNION", "WITH", "LATERAL", "UNNEST", "VALUES", "CAST(", "::", "INT", "[", "]", "{", "}", "->", "?", "$1",
    ":", "@", "#", "%", "^", "||", "&", "~", "!", "\\", "`", "date(", "struct(", "map", "LIKE", "EXISTS", "ANY", "ALL",
    "EXCLUDE", "REPLACE", "PIVOT", "TABLESAMPLE", "QUALIFY", "WINDOW", "ROWS", "lambda", "--", "/*", "*/", "COLUMNS(",
    "NULLS", "ARRAY", "ROLLUP", "FOR", "UPDATE", "INTO", "SET", "COPY", "\n",
]  # fmt: skip
QUERIES = (
    "SELECT COUNT ( * ) FROM flights WHERE fare > 1 AND origin IN ( 'EWR' , 'JFK' )",
    "SELECT origin , SUM ( CASE WHEN late THEN fare ELSE 0 END ) AS x FROM flights GROUP BY origin",
    "SELECT SUM ( f . fare * precip ) FROM flights f JOIN weather USING ( origin , hour ) WHERE precip BETWEEN 1 AND 2",
    "SELECT HISTOGRAM ( fare , - 1.5 , 10 , 5 ) FROM flights",
    "SELECT late , w . origin , COUNT ( * ) FROM flights JOIN weather w USING ( origin , hour ) GROUP BY late , origin",
)


@st.composite
def broken_queries(draw: st.DrawFn) -> str:
    words = draw(st.sampled_from(QUERIES)).split(" ")
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(words)))
        words[place : place + draw(st.integers(0, 2))] = draw(st.lists(st.sampled_from(WORDS), max_size=2))
    return " ".join(words)


@MANY
@given(broken_queries())
def test_any_broken_query_is_refused_or_read(text: str) -> None:
    is_refused_or_read(text)


def test_the_parsers_own_warnings_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for text in ("LOAD httpfs", "SELECT x'zz'", "CALL f()", "SELECT COUNT(*) FROM flights FOR UPDATE"):
            problem(text)
    assert not caplog.records
