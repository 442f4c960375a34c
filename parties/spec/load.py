"""Reads a spec: every problem is found and told with its place, and every query is planned."""

import base64
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from mpc.errors import ComityError
from mpc.schemes.named import schemes
from parties.spec.models import (
    LARGEST,
    AnyColumn,
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    DecimalColumn,
    FloatColumn,
    NodeStanza,
    PrivacyStanza,
    QueryStanza,
    SpecFile,
    TableStanza,
    TextColumn,
    TimestampColumn,
)
from parties.spec.problems import Problem, SpecError, explain_validation, nearest
from parties.spec.sql import SqlProblem, parse_query
from parties.wire.identity import check_dates, stands_alone
from protocols.accounting import micro_rho, pure_micro_rho
from protocols.planning.filters import overlapping
from protocols.planning.gates import gives_away
from protocols.planning.plan import Plan, Security
from protocols.planning.planner import plan_query
from protocols.planning.privacy import Privacy
from protocols.planning.query import PlanError, Query
from protocols.tables import Column, Table, Unit, days, microseconds

__all__ = ["Peer", "Problem", "Spec", "SpecError", "explain_validation", "load", "loads"]

LARGEST_FILE = 1 << 20
JOINABLE = "keys are integers, dates, categories or booleans"
LONGEST_STEP = 18
"""Digits after the point."""
EXACT_FLOAT = 1 << 53
"""Above, not every integer is a float."""
DOTS = 250
"""At most on one line: tomllib takes time and memory with the square of a dotted key's length."""


@dataclass(frozen=True)
class Peer:
    """A node of the spec; `certificate` is its DER."""

    name: str
    address: str
    certificate: bytes = field(repr=False)


@dataclass(frozen=True)
class Spec:
    """A sound spec. `digest` is the SHA-256 of the file's bytes, in hex; parties are in the order of their names."""

    name: str
    digest: str
    parties: Mapping[str, Peer]
    dealer: Peer | None
    security: Security
    tables: Mapping[str, Table]
    plans: Mapping[str, Plan]
    sql: Mapping[str, str]


def load(path: Path) -> Spec:
    """The spec in `path`, or a SpecError with all its problems."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SpecError([Problem(str(path), error.strerror or "cannot be read")]) from None
    return loads(raw)


def loads(raw: bytes) -> Spec:
    if len(raw) > LARGEST_FILE:
        raise SpecError([Problem("", f"a spec has at most {LARGEST_FILE:,} bytes")])
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.count(b".") > DOTS:
            raise SpecError([Problem("TOML", f"line {number} has more than {DOTS} dots: break it")])
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Problem("TOML", str(error))]) from None
    except UnicodeDecodeError as error:
        raise SpecError([Problem("TOML", f"not UTF-8 at byte {error.start}")]) from None
    except (ValueError, RecursionError):
        raise SpecError([Problem("TOML", "a number has too many digits, or lists are nested too deeply")]) from None
    try:
        file = SpecFile.model_validate(document)
    except ValidationError as error:
        raise SpecError(explain_validation(error, SpecFile)) from None
    return _Checker(file).spec(hashlib.sha256(raw).hexdigest())


class _Checker:
    """Collects all problems of a file whose form is right."""

    def __init__(self, file: SpecFile) -> None:
        self.file = file
        self.names = tuple(sorted(file.parties))
        self.problems: list[Problem] = []
        self.unsound: set[str] = set()  # tables whose queries can be read, but not planned

    def spec(self, digest: str) -> Spec:
        file = self.file
        parties = {name: self._peer(f"parties.{name}", name, file.parties[name]) for name in self.names}
        dealer = self._peer("dealer", "dealer", file.dealer) if file.dealer is not None else None
        self._identities(parties, dealer)
        security = self._security()
        tables = {name: table for name in file.tables if (table := self._table(name, file.tables[name])) is not None}
        queries = {name: query for name, stanza in file.queries.items() if (query := self._query(name, stanza, tables)) is not None}
        plans = {}
        for name, query in queries.items():
            plan = self._plan(query, queries.values(), security)
            if plan is not None:
                plans[name] = plan
        self._totals(plans)
        if self.problems or security is None:
            raise SpecError(self.problems)
        sql = {name: query.sql for name, query in file.queries.items()}
        return Spec(file.name, digest, parties, dealer, security, tables, plans, sql)

    def say(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message))

    def _peer(self, place: str, name: str, stanza: NodeStanza) -> Peer:
        der = b""
        try:
            der = base64.b64decode(stanza.certificate, validate=True)
            certificate = x509.load_der_x509_certificate(der)
            key = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            self.say(f"{place}.certificate", "is no certificate: copy the whole line that `comity init` printed")
            return Peer(name, stanza.address, der)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            self.say(f"{place}.certificate", "must have an ECDSA P-256 key, as those of `comity init` do")
        elif not stands_alone(certificate):
            self.say(
                f"{place}.certificate",
                "must be self-signed and unable to sign others (BasicConstraints CA:FALSE), as those of `comity init` are: "
                "a peer is the holder of this very certificate",
            )
        try:
            check_dates(certificate, "it")
        except ComityError as error:
            self.say(f"{place}.certificate", str(error))
        if not 0 < int(stanza.address.rpartition(":")[2]) < 65536:
            self.say(f"{place}.address", "a port is between 1 and 65535")
        return Peer(name, stanza.address, der)

    def _identities(self, parties: Mapping[str, Peer], dealer: Peer | None) -> None:
        seen: dict[bytes, str] = {}
        for name, peer in parties.items():
            if name == "dealer":
                self.say("parties.dealer", "no party may be named dealer")
            if peer.certificate and peer.certificate in seen:
                self.say(f"parties.{name}.certificate", f"is also that of {seen[peer.certificate]}: each has one of its own")
            seen.setdefault(peer.certificate, name)
        if dealer is not None and dealer.certificate and dealer.certificate in seen:
            self.say("dealer.certificate", f"is also that of {seen[dealer.certificate]}: the dealer may not be a party")

    def _security(self) -> Security | None:
        stanza, n = self.file.security, len(self.names)
        if stanza.triples == "dealer" and self.file.dealer is None:
            self.say("security.triples", "asks for [dealer]: add the stanza that `comity init DIR --role dealer` prints")
        if stanza.triples != "dealer" and self.file.dealer is not None:
            self.say("dealer", 'is there, but not asked for: set security.triples = "dealer", or remove [dealer]')
        if stanza.scheme == "replicated" and stanza.triples is not None:
            self.say("security.triples", "replicated shares are multiplied without triples: remove it")
        if n < 2:
            self.say("parties", f"a spec has at least 2 parties, this one {n}")
            return None
        try:
            schemes(stanza.scheme, n, stanza.colluding)
        except ValueError:
            if stanza.scheme == "replicated":
                rule = "replicated sharing is for just 3 parties, of which colluding = 1 may be corrupted"
            elif stanza.scheme == "shamir":
                rule = "Shamir sharing needs at least 3 parties and 2 * colluding < parties"
            else:
                rule = "additive sharing needs colluding < parties"
            self.say("security.colluding", f"{rule}: here are {n} parties, and colluding = {stanza.colluding}")
            return None
        return Security(self.names, stanza.scheme, stanza.colluding, stanza.triples)

    def _table(self, name: str, stanza: TableStanza) -> Table | None:
        place, started = f"tables.{name}", len(self.problems)
        columns = {n: self._column(f"{place}.columns.{n}", n, column) for n, column in stanza.columns.items()}
        if len(self.problems) > started:
            self.unsound.add(name)
        before = len(self.problems)
        if stanza.owner is not None and stanza.holders is not None:
            self.say(f"{place}.holders", "an owned table is held by its owner: remove holders, or owner and key")
        if (stanza.owner is None) != (stanza.key is None):
            there, lacking = ("owner", "key") if stanza.key is None else ("key", "owner")
            self.say(f"{place}.{lacking}", f"is missing: {there} and {lacking} go together")
        for number, holder in enumerate(stanza.holders or ()):
            self._known(f"{place}.holders.{number}", holder)
        if stanza.owner is not None:
            self._known(f"{place}.owner", stanza.owner)
        for where, listed in (("holders", stanza.holders), ("key", stanza.key)):
            if listed is not None and len(set(listed)) < len(listed):
                self.say(f"{place}.{where}", "names one twice")
        for column in stanza.key or ():
            if column not in stanza.columns:
                self.say(f"{place}.key", f"there is no column {column}: {nearest(column, stanza.columns)}")
            elif isinstance(stanza.columns[column], DecimalColumn | FloatColumn | TextColumn | TimestampColumn):
                self.say(f"{place}.key", f"{column} is a {stanza.columns[column].type}: {JOINABLE}")
            elif columns[column].outside == "clamp":
                self.say(f"{place}.key", f"{column} is clamped, so that keys would become alike: refuse or drop other values")
            elif stanza.columns[column].nullable:
                self.say(f"{place}.key", f"{column} is nullable: a key has a value in every row")
        if len(self.problems) > before:
            return None
        holders = (stanza.owner,) if stanza.owner is not None else tuple(sorted(stanza.holders or self.names))
        unit = None
        if stanza.unit is not None:
            own = stanza.unit
            if own.key is None and (own.rows, own.groups, own.companies) != (1, 1, 1):
                self.say(f"{place}.unit", "without a key each row is a unit: it is one row, in one group, at one company")
            unit = Unit(own.key, own.companies, own.rows, own.groups, stanza.neighbours)
        elif "neighbours" in stanza.model_fields_set:
            self.say(f"{place}.neighbours", "goes with unit: say who is protected, or remove it")
        return Table(name, columns, stanza.max_rows, holders, stanza.owner, tuple(stanza.key or ()), unit)

    def _column(self, place: str, name: str, stanza: AnyColumn) -> Column:
        if isinstance(stanza, CategoryColumn):
            if len(set(stanza.values)) < len(stanza.values):
                self.say(f"{place}.values", "names one twice")
            last, values = len(stanza.values) - 1, tuple(stanza.values)
            return Column(name, "category", 0, last, values=values, nullable=stanza.nullable, outside=stanza.outside)
        if isinstance(stanza, TextColumn):
            size = 1 << (stanza.keys - 1).bit_length()
            return Column(name, "text", 0, size - 1, nullable=stanza.nullable, length=stanza.length)
        if isinstance(stanza, BooleanColumn):
            return Column(name, "boolean", 0, 1, nullable=stanza.nullable)
        scale, step, unit = 0, 1, ""
        if isinstance(stanza, DecimalColumn):
            scale, unit = stanza.scale, stanza.unit
            lower, upper = self._scaled(place, stanza, scale, f"scale = {scale}")
        elif isinstance(stanza, FloatColumn):
            exact, unit = Fraction(Decimal(stanza.step)), stanza.unit
            scale = next((digits for digits in range(LONGEST_STEP + 1) if (exact * 10**digits).denominator == 1), -1)
            step = int(exact * 10**scale)
            if scale < 0 or not 0 < step < LARGEST:
                self.say(f"{place}.step", f"must lie above 0, with at most {LONGEST_STEP} digits after the point")
                return Column(name, "float", 0, 0)
            lower, upper = self._scaled(place, stanza, scale, f"step = {stanza.step}")
            for key, value in (("lower", lower), ("upper", upper)):
                if value % step:
                    self.say(f"{place}.{key}", f"is no multiple of the step, {stanza.step}")
                elif abs(value) // step > EXACT_FLOAT:
                    self.say(f"{place}.step", f"is too fine: between 0 and {key} lie more steps than the 2^53 that a float tells apart")
        elif isinstance(stanza, DateColumn):
            lower, upper = days(stanza.lower), days(stanza.upper)
        elif isinstance(stanza, TimestampColumn):
            lower, upper = microseconds(stanza.lower), microseconds(stanza.upper)
        else:
            lower, upper, unit = stanza.lower, stanza.upper, stanza.unit
        if lower > upper:
            self.say(f"{place}.lower", "is above upper")
        return Column(name, stanza.type, lower, upper, scale, step, (), stanza.nullable, unit, stanza.outside)

    def _scaled(self, place: str, stanza: DecimalColumn | FloatColumn, scale: int, setting: str) -> tuple[int, int]:
        """The bounds as integers times 10^-scale."""
        lower, upper = (Fraction(Decimal(bound)) * 10**scale for bound in (stanza.lower, stanza.upper))
        for key, value in (("lower", lower), ("upper", upper)):
            if value.denominator != 1:
                self.say(f"{place}.{key}", f"has more than {scale} digits after the point ({setting})")
            elif abs(value) >= LARGEST:
                self.say(f"{place}.{key}", f"is too large: with {setting} it must lie below {LARGEST // 10**scale:,}")
        return int(lower), int(upper)

    def _known(self, place: str, name: str) -> bool:
        if name not in self.names:
            self.say(place, f"there is no party {name}: {nearest(name, self.names)}")
        return name in self.names

    def _query(self, name: str, stanza: QueryStanza, tables: Mapping[str, Table]) -> Query | None:
        place = f"queries.{name}"
        known = [self._known(f"{place}.receivers.{i}", receiver) for i, receiver in enumerate(stanza.receivers)]
        if len(set(stanza.receivers)) < len(stanza.receivers):
            self.say(f"{place}.receivers", "names one twice")
        broken = self.file.tables.keys() - tables.keys()
        try:
            query = parse_query(name, stanza.sql, tables, tuple(stanza.receivers))
        except SqlProblem as problem:
            if problem.table not in broken:  # what is wrong with that table has been said
                self.say(f"{place}.sql, line {problem.line}, column {problem.column}", problem.message)
            return None
        if not all(known) or any(table.name in self.unsound for table in query.tables):
            return None
        privacy = self._privacy(f"{place}.privacy", stanza.privacy, query) if stanza.privacy is not None else None
        if stanza.privacy is not None and privacy is None:
            return None
        return replace(query, privacy=privacy, rules=stanza.rules())

    def _plan(self, query: Query, queries: Iterable[Query], security: Security | None) -> Plan | None:
        if security is None:
            return None
        try:
            return plan_query(replace(query, beside=overlapping(query, queries)), security)
        except PlanError as error:
            self.say(f"queries.{query.name}", str(error))
            return None

    def _totals(self, plans: Mapping[str, Plan]) -> None:
        """What one query withholds must not follow from another one."""
        for name, plan in plans.items():
            for other in plans.values() if plan.query.rules else ():
                if gives_away(plan, other):
                    self.say(
                        f"queries.{other.query.name}",
                        f"is over the same table as {name}, with weaker rules or, of the same rows, other groups: what {name} withholds could "
                        "follow from it. Group both by the same columns and give them the same rules, or remove one",
                    )

    def _privacy(self, place: str, stanza: PrivacyStanza, query: Query) -> Privacy | None:
        names = {output.name for output in query.statistics}
        for name in stanza.split.keys() - names:
            self.say(f"{place}.split.{name}", f"the query has no such output: {nearest(name, names)}")
        given = {name for name in ("epsilon", "delta", "rho") if getattr(stanza, name) is not None}
        split = tuple(sorted(stanza.split.items()))
        epsilon, delta = (None if x is None else Fraction(Decimal(str(x))) for x in (stanza.epsilon, stanza.delta))
        is_response = stanza.mechanism == "randomised-response"
        if is_response and "local" in stanza.model_fields_set and not stanza.local:
            self.say(f"{place}.local", "randomised response is local: remove local = false")
            return None
        if stanza.mechanism not in ("gaussian", "joint"):
            if given == {"epsilon"} and epsilon is not None:
                return Privacy(stanza.mechanism, pure_micro_rho(epsilon), epsilon, None, split, stanza.local or is_response)
            self.say(place, f"{'randomised response' if is_response else 'laplace noise'} takes epsilon, and neither delta nor rho")
            return None
        if given == {"rho"} and stanza.rho is not None:
            price = int(Fraction(Decimal(str(stanza.rho))) * 10**6)
        elif given == {"epsilon", "delta"} and stanza.epsilon is not None and stanza.delta is not None:
            price = micro_rho(stanza.epsilon, stanza.delta)
        else:
            self.say(place, f"{stanza.mechanism} noise takes epsilon and delta, or rho alone")
            return None
        if price < 1:
            self.say(place, "is too small a budget: less than a millionth of rho")
            return None
        return Privacy(stanza.mechanism, price, epsilon, delta, split, stanza.local)
