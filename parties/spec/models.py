"""The shape of the shared spec file. `docs/spec.md` is generated from these models."""

import re
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from protocols.planning.privacy import Mechanism
from protocols.planning.rules import LARGEST_GROUP, Against, Rules
from protocols.tables import Neighbours, Outside

LARGEST = 1 << 62
"""Integers and scaled decimals lie below this in magnitude."""

PartyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Address = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")]
Whole = Annotated[int, Field(gt=-LARGEST, lt=LARGEST)]


_DECIMAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"


def _decimal(text: object) -> object:
    if not isinstance(text, str) or len(text) > 64 or not re.fullmatch(_DECIMAL, text):
        raise ValueError('a decimal is written as text with its digits, such as "0.00"')
    return text


def _without_zone(moment: datetime) -> datetime:
    if moment.tzinfo is not None:
        raise ValueError("has a time zone: timestamps have none, and companies agree on one, such as UTC, among themselves")
    return moment


def _plain(text: str, besides: str = "") -> str:
    """A partner's text is shown to the person who decides: nothing in it may move the cursor or hide what follows."""
    if not all(character.isprintable() or character in besides for character in text):
        raise ValueError("has a control or formatting character: only printable ones may stand here")
    return text


IsPlain = AfterValidator(_plain)
IsPlainLines = AfterValidator(partial(_plain, besides="\n\r\t"))
DecimalText = Annotated[str, BeforeValidator(_decimal), WithJsonSchema({"type": "string", "pattern": f"^{_DECIMAL}$"})]
# JSON Schema's date-time has a zone
Moment = Annotated[datetime, AfterValidator(_without_zone), WithJsonSchema({"type": "string"})]


class Model(BaseModel):
    # built at its first use: most commands read no spec
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class _JsonSchema(GenerateJsonSchema):
    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        """A name of another form is a mistake, not a key that is unknown."""
        made = super().dict_schema(schema)
        return made | {"additionalProperties": False} if "patternProperties" in made else made


def json_schema(model: type[BaseModel]) -> JsonSchemaValue:
    """A JSON Schema of the file, for editors."""
    return {"$schema": _JsonSchema.schema_dialect, **model.model_json_schema(schema_generator=_JsonSchema)}


class NodeStanza(Model):
    address: Annotated[Address, Field(description="where the others reach the node: `host:port`")]
    certificate: Annotated[
        str, Field(description="the node's whole certificate (DER, base64, one line), as `comity init` prints it")
    ]


class SecurityStanza(Model):
    scheme: Annotated[
        Literal["additive", "shamir", "replicated"],
        Field(
            description="additive: at least 2 parties; shamir: at least 3, with 2 * colluding < parties; replicated: just 3, with colluding = 1, "
            "the fastest where secrets are multiplied or compared"
        ),
    ]
    colluding: Annotated[
        int, Field(ge=1, lt=1 << 16, description="how many companies may pool all they saw and still learn nothing more")
    ]
    triples: Annotated[
        Literal["ot", "dealer"] | None,
        Field(
            description="where multiplying gets its random triples: `ot`, the companies make them among themselves, by oblivious "
            "transfer; `dealer`, a node that colludes with nobody deals them, which asks for `[dealer]`. Without it: `ot` with "
            "additive shares; with Shamir shares products are reshared, without triples; replicated shares take none"
        ),
    ] = None


class _Column(Model):
    nullable: Annotated[bool, Field(description="whether NULL may occur")] = False


class _Bounded(_Column):
    outside: Annotated[
        Outside,
        Field(
            description="what a company does with a value outside the bounds: `refuse` to answer, `clamp` it to the nearest bound, or "
            "`drop` its row; how many were clamped or dropped, at all companies together, is opened with every answer"
        ),
    ] = "refuse"


class _Measured(_Bounded):
    unit: Annotated[str, IsPlain, Field(description="for people")] = ""


class IntegerColumn(_Measured):
    type: Annotated[Literal["integer"], Field(description="whole numbers")]
    lower: Annotated[Whole, Field(description="the smallest value that may occur")]
    upper: Annotated[Whole, Field(description="the largest value that may occur")]


class DecimalColumn(_Measured):
    type: Annotated[Literal["decimal"], Field(description="numbers with `scale` digits after the point, exact")]
    scale: Annotated[int, Field(ge=1, le=18, description="digits after the point")]
    lower: Annotated[DecimalText, Field(description='the smallest value that may occur, as text: `"0.00"`')]
    upper: Annotated[DecimalText, Field(description="the largest value that may occur, as text")]


class FloatColumn(_Measured):
    type: Annotated[
        Literal["float"],
        Field(description="binary floating point, rounded at home to the nearest multiple of `step` (half to even)"),
    ]
    step: Annotated[DecimalText, Field(description='what values are rounded to, as text: `"0.001"`; conditions compare the rounded values')]
    lower: Annotated[DecimalText, Field(description="the smallest value that may occur, as text, a multiple of `step`")]
    upper: Annotated[DecimalText, Field(description="the largest value that may occur, as text, a multiple of `step`")]


class DateColumn(_Bounded):
    type: Annotated[Literal["date"], Field(description="days; one less another is a number of days")]
    lower: Annotated[date, Field(description="the first day that may occur: `2013-01-01`, without quotes")]
    upper: Annotated[date, Field(description="the last day that may occur")]


class TimestampColumn(_Bounded):
    type: Annotated[Literal["timestamp"], Field(description="date and time to the microsecond, without a time zone; for conditions")]
    lower: Annotated[Moment, Field(description="the first that may occur: `2013-01-01T00:00:00`, without quotes")]
    upper: Annotated[Moment, Field(description="the last that may occur")]


class CategoryColumn(_Column):
    type: Annotated[Literal["category"], Field(description="one of a few texts")]
    values: Annotated[
        list[Annotated[str, StringConstraints(min_length=1), IsPlain]],
        Field(min_length=1, description="all values that may occur; answers list groups in this order"),
    ]
    outside: Annotated[
        Literal["refuse", "drop"], Field(description="what a company does with another value: `refuse` to answer, or `drop` its row")
    ] = "refuse"


class TextColumn(_Column):
    type: Annotated[Literal["text"], Field(description="a text of which no values are declared: only for GROUP BY, in a query with `privacy`, whose answer lists the groups that have rows enough")]
    keys: Annotated[
        int, Field(ge=1, le=4096, description="so many different values each company may have in the rows that count, or some more, up to a power of two; a node with more refuses")
    ] = 256
    length: Annotated[int, Field(ge=1, le=128, description="so many bytes of UTF-8 a value may have; a longer one does not count")] = 48


class BooleanColumn(_Column):
    type: Annotated[Literal["boolean"], Field(description="true or false")]


AnyColumn = Annotated[
    IntegerColumn | DecimalColumn | FloatColumn | CategoryColumn | TextColumn | BooleanColumn | DateColumn | TimestampColumn,
    Field(discriminator="type"),
]


class UnitStanza(Model):
    key: Annotated[
        Name | None,
        Field(
            description="a column of each company's view, agreed or not, that says whose a row is: all rows with one value are protected "
            "as a whole, and rows where it is NULL are left out; without it each row is protected by itself"
        ),
    ] = None
    companies: Annotated[int, Field(ge=1, lt=1 << 16, description="at how many companies one unit may have rows")] = 1
    rows: Annotated[
        int, Field(ge=1, lt=1 << 32, description="how many rows of a unit each company takes into account in one group of an answer")
    ] = 1
    groups: Annotated[
        int, Field(ge=1, lt=1 << 32, description="how many groups of an answer a unit's rows at each company count in")
    ] = 1


Positive = Annotated[float, Field(gt=0, le=1000, strict=False)]
Probability = Annotated[float, Field(gt=0, lt=1, strict=False)]


class PrivacyStanza(Model):
    mechanism: Annotated[
        Mechanism,
        Field(
            description="the noise: `gaussian` (epsilon and delta, or rho), or `laplace` (epsilon alone: pure differential privacy), of which each company adds its part; `joint` (as "
            "gaussian), drawn inside the computation: as little as a trusted party would add, for few values; or "
            "`randomised-response` (epsilon alone): each row's group is reported truthfully or not, by chance, and protected, "
            "but not how many rows there are; for COUNT(*) by groups and HISTOGRAM over a table with neighbours = \"replace\""
        ),
    ] = "gaussian"
    local: Annotated[
        bool,
        Field(
            description="whether what each company adds is enough by itself, even where all other companies pool what they have and "
            "the sharing is broken: more noise; not for joins. Randomised response always is"
        ),
    ] = False
    epsilon: Annotated[Positive | None, Field(description="how much the answer may depend on one unit")] = None
    delta: Annotated[
        Probability | None, Field(description="with what probability it may depend on it more: far less than one by the number of units")
    ] = None
    rho: Annotated[Positive | None, Field(description="the same as a zCDP budget, instead of epsilon and delta")] = None
    split: Annotated[
        dict[Name, Annotated[int, Field(ge=1, le=1000)]],
        Field(
            description="weights by output: what part of the budget each gets; by default all the same, which gives totals the same "
            "error relative to what one row can add"
        ),
    ] = {}


class TableStanza(Model):
    max_rows: Annotated[
        int, Field(ge=1, lt=1 << 48, description="rows at each company; ranges are proven from it, a node with more refuses")
    ]
    holders: Annotated[
        list[PartyName] | None,
        Field(min_length=1, description="the parties that hold rows of it (default: all); not with `owner`"),
    ] = None
    owner: Annotated[PartyName | None, Field(description="the one party that holds all of it; asks for `key`")] = None
    key: Annotated[
        list[Name] | None,
        Field(min_length=1, description="columns of an owned table of which no two rows agree on all; joins use them"),
    ] = None
    unit: Annotated[
        UnitStanza | None,
        Field(
            description="who is protected by differential privacy; queries over the table then need `privacy`, or every company's leave "
            "to be exact"
        ),
    ] = None
    neighbours: Annotated[
        Neighbours,
        Field(
            description="what an answer may hardly depend on: whether a unit's rows are there (`add-remove`), or which unit's "
            "they are (`replace`, twice the noise)"
        ),
    ] = "add-remove"
    columns: Annotated[dict[Name, AnyColumn], Field(min_length=1, description="the agreed columns, by name")]


class RulesStanza(Model):
    minimum_group: Annotated[
        int | None,
        Field(ge=1, le=LARGEST_GROUP, description="so many of the rows of a cell must remain when any company takes its own away, and of each part, if it is not empty, into which the conditions of other such queries of the same table and GROUP BY cut it; beside `privacy`, so many must be in it by its noisy count"),
    ] = None
    minimum_contributors: Annotated[int | None, Field(ge=2, le=1 << 16, description="so many companies must have a row in a cell")] = None
    maximum_share: Annotated[
        Probability | None,
        Field(description="no company may have more than this part of a cell's rows, nor of the sizes of all companies' sums together"),
    ] = None
    against: Annotated[
        Against,
        Field(description="whose rows are taken away for `minimum_group`: any `company`'s, or those of any `colluding` ones (`coalition`)"),
    ] = "company"

    def rules(self) -> Rules:
        share = Fraction(1) if self.maximum_share is None else Fraction(Decimal(str(self.maximum_share)))
        return Rules(self.minimum_group or 0, self.minimum_contributors or 0, share, self.against)

    @model_validator(mode="after")
    def _is_against_something(self) -> Self:
        if self.minimum_group is None and "against" in self.model_fields_set:
            raise ValueError("against says whose rows minimum_group takes away: set that, or leave this out")
        return self


class _Asked(Model):
    sql: Annotated[str, StringConstraints(max_length=10_000), IsPlainLines, Field(description="the query, in the SQL subset below")]
    receivers: Annotated[
        list[PartyName], Field(min_length=1, description="the parties that receive the answer, and may run the query")
    ]
    privacy: Annotated[
        PrivacyStanza | None,
        Field(description="noise for all that is opened, which no company knows, charged to every company's budget"),
    ] = None


class QueryStanza(RulesStanza, _Asked):
    """What is asked, and what a cell must meet so that it is not withheld."""


class SpecFile(Model):
    """The whole file."""

    version: Annotated[Literal[1], Field(description="of this format")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=100), IsPlain, Field(description="of the study, for people")]
    parties: Annotated[dict[PartyName, NodeStanza], Field(description="the companies, by name")]
    dealer: Annotated[NodeStanza | None, Field(description="only where `triples = \"dealer\"`")] = None
    security: Annotated[SecurityStanza, Field(description="how secrets are kept")]
    tables: Annotated[dict[Name, TableStanza], Field(description="what data the companies hold, by table")] = {}
    queries: Annotated[dict[Name, QueryStanza], Field(description="what may be computed, by query")] = {}
