"""The shared spec: what is wrong with it is said, all at once, with its place; what is right is read as it stands."""

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpc.schemes.named import RING, RING128
from parties.spec.load import DOTS, LARGEST_FILE, Peer, Spec, SpecError, load, loads
from parties.spec.models import LARGEST, SpecFile, json_schema
from parties.spec.problems import LONGEST, SHOWN, nearest
from parties.wire import identity
from protocols.accounting import micro_rho
from protocols.planning.explain import at_home
from protocols.planning.plan import Security
from protocols.planning.privacy import Privacy
from protocols.tables import Column, Table, Unit

# --- a sound spec -----------------------------------------------------------------------------------------------------

PARTIES = ("agency", "corner", "market")
ADDRESSES = {
    "agency": "localhost:7101",
    "corner": "127.0.0.1:7102",
    "market": "[::1]:7103",
    "dealer": "a-b.example:65535",
}

SECURITY = """
[security]
scheme = "additive"
colluding = 2
triples = "dealer"
"""
TABLES = """
[tables.purchases]
holders = ["market", "corner"]
max_rows = 10_000
[tables.purchases.columns]
customer = { type = "integer", lower = 1, upper = 5000 }
amount = { type = "decimal", scale = 2, lower = "-0.50", upper = "999.99", unit = "EUR" }
kind = { type = "category", values = ["food", "other"], nullable = true }
gift = { type = "boolean" }

[tables.vouchers]
owner = "agency"
key = ["customer"]
max_rows = 5_000
[tables.vouchers.columns]
customer = { type = "integer", lower = 1, upper = 5000 }
percent = { type = "integer", lower = 0, upper = 50 }
"""
JOIN = """
  SELECT SUM(amount) AS revenue, SUM(amount * percent) AS hundredfold
  FROM purchases JOIN vouchers USING (customer)
  WHERE percent > 0
"""
QUERIES = f'''
[queries.brought]
sql = """{JOIN}"""
receivers = ["market", "agency"]

[queries.by_kind]
sql = "SELECT kind, AVG(amount) AS mean FROM purchases GROUP BY kind"
receivers = ["corner"]
'''
DEALER_WANTED = 'triples = "dealer"\n'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("identities")
    return {name: identity.one_line(identity.create(folder / name, name).der) for name in (*PARTIES, "dealer")}


@pytest.fixture(scope="module")
def stanza(certificates: dict[str, str]) -> Callable[[str], str]:
    def write(name: str) -> str:
        head = "[dealer]" if name == "dealer" else f"[parties.{name}]"
        return f'{head}\naddress = "{ADDRESSES[name]}"\ncertificate = "{certificates[name]}"\n'

    return write


@pytest.fixture(scope="module")
def sound(stanza: Callable[[str], str]) -> str:
    stanzas = "".join(map(stanza, (*PARTIES, "dealer")))
    return f'version = 1\nname = "campaign"\n{stanzas}{SECURITY}{TABLES}{QUERIES}'


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, f"{old!r} is not in the spec"
        text = text.replace(old, new)
    return text


VISITS = """
[tables.visits]
max_rows = 100
[tables.visits.columns]
day = { type = "date", lower = 2013-01-01, upper = 2013-12-31 }
start = { type = "timestamp", lower = 2013-01-01T00:00:00, upper = 2014-01-01T00:00:00.5 }
level = { type = "float", step = "0.25", lower = "-10", upper = "20.5", unit = "m" }
[queries.visited]
sql = "SELECT day, COUNT(*), AVG(level) FROM visits WHERE start >= '2013-06-01 12:00' AND level > 0.3 GROUP BY day"
receivers = ["market"]
"""


def told(text: str | bytes) -> list[tuple[str, str]]:
    """(place, message) of every problem."""
    with pytest.raises(SpecError) as refused:
        loads(text.encode() if isinstance(text, str) else text)
    error = refused.value
    lines = str(error).split("\n")
    assert lines == [
        f"{problem.place}: {problem.message}" if problem.place else problem.message for problem in error.problems
    ]
    assert not re.search("[A-Za-z0-9+/]{60}", str(error)), "part of a certificate is shown"
    return [(problem.place, problem.message) for problem in error.problems]


def certificate(key: Any, since: int = 2001, until: int = 9999, *, ca: bool | None = False, signs: bool | None = None) -> bytes:
    """The DER of a self-signed certificate, valid in the years given; without the extension where it is None."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(since, 2, 3, 4, 5, tzinfo=UTC))
        .not_valid_after(datetime(until, 12, 30, tzinfo=UTC))
    )
    if ca is not None:
        built = built.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if signs is not None:
        built = built.add_extension(x509.KeyUsage(True, *[False] * 4, signs, *[False] * 3), critical=True)
    built = built.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return built.public_bytes(serialization.Encoding.DER)


# --- reading it -------------------------------------------------------------------------------------------------------


def test_a_sound_spec_is_read_as_it_stands(sound: str, certificates: dict[str, str]) -> None:
    spec = loads(sound.encode())
    assert spec.name == "campaign"
    assert list(spec.parties) == list(PARTIES)
    for name, peer in spec.parties.items():
        assert peer == Peer(name, ADDRESSES[name], base64.b64decode(certificates[name]))
    assert spec.dealer == Peer("dealer", ADDRESSES["dealer"], base64.b64decode(certificates["dealer"]))
    assert spec.security == Security(PARTIES, "additive", 2, "dealer")
    customer = Column("customer", "integer", 1, 5000)
    assert spec.tables == {
        "purchases": Table(
            "purchases",
            {
                "customer": customer,
                "amount": Column("amount", "decimal", -50, 99_999, scale=2, unit="EUR"),
                "kind": Column("kind", "category", 0, 1, values=("food", "other"), nullable=True),
                "gift": Column("gift", "boolean", 0, 1),
            },
            10_000,
            ("corner", "market"),
        ),
        "vouchers": Table(
            "vouchers",
            {"customer": customer, "percent": Column("percent", "integer", 0, 50)},
            5_000,
            ("agency",),
            "agency",
            ("customer",),
        ),
    }
    assert spec.sql == {
        "brought": JOIN.removeprefix("\n"), "by_kind": "SELECT kind, AVG(amount) AS mean FROM purchases GROUP BY kind",
    }  # fmt: skip
    assert {name: plan.query.name for name, plan in spec.plans.items()} == {"brought": "brought", "by_kind": "by_kind"}
    assert spec.plans["brought"].query.receivers == ("market", "agency")
    assert spec.plans["brought"].security == spec.security


def test_the_order_of_the_file_does_not_matter(sound: str, stanza: Callable[[str], str]) -> None:
    other = f'version = 1\nname = "campaign"\n{QUERIES}{TABLES}{SECURITY}' + "".join(
        map(stanza, ("dealer", *PARTIES[::-1]))
    )
    spec, same = loads(sound.encode()), loads(other.encode())
    assert list(same.parties) == list(spec.parties)
    assert {name: plan.digest for name, plan in same.plans.items()} == {
        n: plan.digest for n, plan in spec.plans.items()
    }


def test_a_table_is_held_by_all_parties_unless_it_says_by_whom(sound: str) -> None:
    spec = loads(changed(sound, ('holders = ["market", "corner"]\n', "")).encode())
    assert spec.tables["purchases"].holders == PARTIES


def test_a_spec_needs_neither_tables_nor_queries(sound: str) -> None:
    spec = loads(changed(sound, (TABLES, ""), (QUERIES, "")).encode())
    assert spec.tables == spec.plans == spec.sql == {}


def test_the_digest_is_that_of_the_bytes(sound: str) -> None:
    raw = sound.encode()
    assert loads(raw).digest == hashlib.sha256(raw).hexdigest()
    for other in (raw + b"\n", raw + b"# no comment", raw.replace(b"\n", b"\r\n")):
        assert loads(other).digest == hashlib.sha256(other).hexdigest() != loads(raw).digest


def test_a_file_is_read_like_its_bytes(tmp_path: Path, sound: str) -> None:
    file = tmp_path / "comity.toml"
    file.write_text(sound)
    assert load(file).digest == loads(sound.encode()).digest


def test_a_file_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SpecError, match=f"^{re.escape(str(path))}: {message}$"):
            load(path)


def test_a_spec_of_more_than_a_mebibyte_is_refused(tmp_path: Path, sound: str) -> None:
    raw = sound.encode()
    full = raw + b"#" * (LARGEST_FILE - len(raw))
    assert loads(full).digest == hashlib.sha256(full).hexdigest()
    file = tmp_path / "comity.toml"
    file.write_bytes(full + b"#")
    message = "a spec has at most 1,048,576 bytes"
    assert told(full + b"#") == [("", message)]
    with pytest.raises(SpecError, match=message):
        load(file)


def test_what_is_read_shows_no_certificate(sound: str, certificates: dict[str, str]) -> None:
    shown = repr(loads(sound.encode()))
    assert ADDRESSES["agency"] in shown
    for line in certificates.values():
        assert line[40:80] not in shown
        assert repr(base64.b64decode(line))[60:90] not in shown


# --- what is no TOML --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"version", "Expected '=' after a key in a key/value pair (at end of document)"),
        (b"version = 1\nname = campaign\n", "Invalid value (at line 2, column 8)"),
        (b"version = 1\nversion = 1\n", "Cannot overwrite a value (at line 2, column 12)"),
        (b"[parties.a]\n[parties.a]\n", "Cannot declare ('parties', 'a') twice (at line 2, column 11)"),
        (b"\xef\xbb\xbfversion = 1", "Invalid statement (at line 1, column 1)"),
        (b"version = 1\nname = 'Z\xfcrich'", "not UTF-8 at byte 21"),
        (b"version = " + b"9" * 5000, "a number has too many digits, or lists are nested too deeply"),
        (b"version = " + b"[" * 5000, "a number has too many digits, or lists are nested too deeply"),
        (b"version = " + b"{ a = " * 5000, "a number has too many digits, or lists are nested too deeply"),
        (b"\nversion" + b".a" * 400_000 + b" = 1", f"line 2 has more than {DOTS} dots: break it"),
    ],
    ids=[
        "no value",
        "no quotes",
        "twice",
        "table twice",
        "byte order mark",
        "Latin-1",
        "digits",
        "lists",
        "tables",
        "dots",
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(raw: bytes, message: str) -> None:
    assert told(raw) == [("TOML", message)]


# --- keys and forms ---------------------------------------------------------------------------------------------------

ALL = "there is dealer, name, parties, queries, security, tables, version"


@pytest.mark.parametrize(
    ("old", "new", "place", "hint"),
    [
        ('name = "campaign"', 'name = "campaign"\nnam = 1', "nam", "did you mean name?"),
        ("[queries.brought]", "[query.x]\n[queries.brought]", "query", "did you mean queries?"),
        ("[security]", "[x]\n[security]", "x", ALL),
        ('address = "localhost:7101"', 'address = "a:1"\nadress = 1', "parties.agency.adress", "did you mean address?"),
        ("[dealer]", "[dealer]\ncertficate = 1", "dealer.certficate", "did you mean certificate?"),
        ("colluding = 2", "colluding = 2\nsceme = 1", "security.sceme", "did you mean scheme?"),
        ("max_rows = 10_000", "max_rows = 1\nmaxrows = 1", "tables.purchases.maxrows", "did you mean max_rows?"),
        ("gift = {", "gift = { nulable = true,", "tables.purchases.columns.gift.nulable", "did you mean nullable?"),
        ("amount = {", "amount = { scal = 2,", "tables.purchases.columns.amount.scal", "did you mean scale?"),
        ("kind = {", "kind = { lower = 2,", "tables.purchases.columns.kind.lower", "there is nullable, outside, type, values"),
        ("gift = {", "category = { value = 2,", "tables.purchases.columns.category.value", "there is nullable, type"),
        ("gift = {", "boolean = { lower = 2,", "tables.purchases.columns.boolean.lower", "there is nullable, type"),
        ("[queries.by_kind]", "[queries.by_kind]\nreciever = 1", "queries.by_kind.reciever", "did you mean receivers?"),
        ("[security]", '["[key]"]\n[security]', "[key]", ALL),
    ],
)  # fmt: skip
def test_unknown_keys_are_refused_with_the_nearest_there_is(
    sound: str, old: str, new: str, place: str, hint: str
) -> None:
    assert told(changed(sound, (old, new))) == [(place, f"unknown key: {hint}")]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("version = 1\n", "version"),
        ('name = "campaign"\n', "name"),
        ('address = "localhost:7101"\n', "parties.agency.address"),
        ('scheme = "additive"\n', "security.scheme"),
        ("colluding = 2\n", "security.colluding"),
        ("max_rows = 10_000\n", "tables.purchases.max_rows"),
        (TABLES.partition("[tables.purchases.columns]")[2].partition("\n\n")[0], None),
        ("scale = 2, ", "tables.purchases.columns.amount.scale"),
        ('lower = "-0.50", ', "tables.purchases.columns.amount.lower"),
        ("lower = 0, ", "tables.vouchers.columns.percent.lower"),
        (", upper = 50 ", "tables.vouchers.columns.percent.upper"),
        (', values = ["food", "other"]', "tables.purchases.columns.kind.values"),
        ('receivers = ["corner"]\n', "queries.by_kind.receivers"),
        ('sql = "SELECT kind, AVG(amount) AS mean FROM purchases GROUP BY kind"\n', "queries.by_kind.sql"),
        (SECURITY, "security"),
    ],
)
def test_missing_keys_are_told(sound: str, line: str, place: str | None) -> None:
    message = "is missing" if place else "must not be empty"
    assert told(changed(sound, (line, ""))) == [(place or "tables.purchases.columns", message)]


def test_an_empty_file_lacks_everything() -> None:
    assert told("") == [(key, "is missing") for key in ("version", "name", "parties", "security")]


NAME = "must be of the form [a-z][a-z0-9_]*: small letters, digits, underscores"
PARTY = "must be of the form [a-z][a-z0-9-]*: small letters, digits, hyphens"
TABLE = "must be a table of keys and values"
DECIMAL = 'a decimal is written as text with its digits, such as "0.00"'


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("version = 1", "version = 2", "version", "must be 1"),
        ("version = 1", 'version = "1"', "version", "must be 1"),
        ('"campaign"', '""', "name", "must not be empty"),
        ('"campaign"', "7", "name", "must be a valid string"),
        ("[queries.by_kind]", "[queries.By_kind]", "queries.By_kind", NAME),
        ("[queries.by_kind]", "[queries.by-kind]", "queries.by-kind", NAME),
        ("[queries.by_kind]", '[queries.""]', "queries.", NAME),
        ("[queries.by_kind]", "[queries.2nd]", "queries.2nd", NAME),
        ("gift =", "Gift =", "tables.purchases.columns.Gift", NAME),
        ("[parties.agency]", "[parties.agency_x]", "parties.agency_x", PARTY),
        ("[parties.agency]", "[parties.-agency]", "parties.-agency", PARTY),
        ("[parties.agency]", '[parties."../agency"]', "parties.../agency", PARTY),
        ('holders = ["market", "corner"]', 'holders = ["Market"]', "tables.purchases.holders.0", PARTY),
        ('key = ["customer"]', 'key = ["Customer"]', "tables.vouchers.key.0", NAME),
        ("colluding = 2", "colluding = 0", "security.colluding", "must be greater than or equal to 1"),
        ("colluding = 2", "colluding = -1", "security.colluding", "must be greater than or equal to 1"),
        ("colluding = 2", "colluding = 65536", "security.colluding", "must be less than 65536"),
        ("colluding = 2", "colluding = 2.0", "security.colluding", "must be a valid integer"),
        ("colluding = 2", "colluding = true", "security.colluding", "must be a valid integer"),
        ('scheme = "additive"', 'scheme = "adititive"', "security.scheme", "must be 'additive', 'shamir' or 'replicated'"),
        ('scheme = "additive"', 'scheme = "plaintext"', "security.scheme", "must be 'additive', 'shamir' or 'replicated'"),
        (DEALER_WANTED, 'triples = "deeler"\n', "security.triples", "must be 'ot' or 'dealer'"),
        ("max_rows = 10_000", "max_rows = 0", "tables.purchases.max_rows", "must be greater than or equal to 1"),
        ("max_rows = 10_000", f"max_rows = {1 << 48}", "tables.purchases.max_rows", f"must be less than {1 << 48}"),
        ("max_rows = 10_000", "max_rows = 1e4", "tables.purchases.max_rows", "must be a valid integer"),
        ('holders = ["market", "corner"]', "holders = []", "tables.purchases.holders", "must not be empty"),
        ('key = ["customer"]', "key = []", "tables.vouchers.key", "must not be empty"),
        ('key = ["customer"]', 'key = "customer"', "tables.vouchers.key", "must be a valid list"),
        ('receivers = ["corner"]', "receivers = []", "queries.by_kind.receivers", "must not be empty"),
        ('"boolean"', '"bool"', "tables.purchases.columns.gift.type", "must be integer, decimal, float, category, boolean, date, timestamp or text"),
        ('type = "boolean"', "", "tables.purchases.columns.gift.type", "must be integer, decimal, float, category, boolean, date, timestamp or text"),
        ('{ type = "boolean" }', "3", "tables.purchases.columns.gift", TABLE),
        ("[security]", "[queries]\nx = 3\n[security]", "queries.x", TABLE),
        ("nullable = true", "nullable = 1", "tables.purchases.columns.kind.nullable", "must be a valid boolean"),
        ('["food", "other"]', "[]", "tables.purchases.columns.kind.values", "must not be empty"),
        ('["food", "other"]', '["food", ""]', "tables.purchases.columns.kind.values.1", "must not be empty"),
        ('["food", "other"]', '["food", 1]', "tables.purchases.columns.kind.values.1", "must be a valid string"),
        ("upper = 50 ", "upper = 50.0 ", "tables.vouchers.columns.percent.upper", "must be a valid integer"),
        ("upper = 50 ", 'upper = "50" ', "tables.vouchers.columns.percent.upper", "must be a valid integer"),
        ("upper = 50 ", f"upper = {LARGEST} ", "tables.vouchers.columns.percent.upper", f"must be less than {LARGEST}"),
        (
            "lower = 0,",
            f"lower = {-LARGEST},",
            "tables.vouchers.columns.percent.lower",
            f"must be greater than {-LARGEST}",
        ),
        ("scale = 2", "scale = 0", "tables.purchases.columns.amount.scale", "must be greater than or equal to 1"),
        ("scale = 2", "scale = 19", "tables.purchases.columns.amount.scale", "must be less than or equal to 18"),
        ('"-0.50"', "-0.50", "tables.purchases.columns.amount.lower", DECIMAL),
        ('"-0.50"', "0", "tables.purchases.columns.amount.lower", DECIMAL),
        ('"-0.50"', '"-5e-1"', "tables.purchases.columns.amount.lower", DECIMAL),
        ('"-0.50"', '"NaN"', "tables.purchases.columns.amount.lower", DECIMAL),
        ('"-0.50"', '"-Infinity"', "tables.purchases.columns.amount.lower", DECIMAL),
        ('"999.99"', '"999,99"', "tables.purchases.columns.amount.upper", DECIMAL),
        ('"999.99"', '""', "tables.purchases.columns.amount.upper", DECIMAL),
    ],
)
def test_values_of_another_form_are_refused(sound: str, old: str, new: str, place: str, message: str) -> None:
    assert told(changed(sound, (old, new))) == [(place, message)]


def test_values_that_are_too_long_are_refused(sound: str) -> None:
    name = "g_" * 33
    for old, new, place, message in (
        ('"campaign"', f'"{"x " * 51}"', "name", "must have at most 100 characters"),
        ("gift =", f"{name} =", f"tables.purchases.columns.{name}", "must have at most 64 characters"),
        ('"SELECT kind,', f'"{" " * 10_000}SELECT kind,', "queries.by_kind.sql", "must have at most 10000 characters"),
        ("colluding = 2", f"colluding = 0x{'f' * 5000}", "security.colluding", "must be less than 65536"),
        ('"999.99"', f'"{"9" * 1_000_001}"', "tables.purchases.columns.amount.upper", DECIMAL),
    ):
        assert told(changed(sound, (old, new))) == [(place, message)]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost", 'must be "host:port"'),
        ("localhost:", 'must be "host:port"'),
        (":7101", 'must be "host:port"'),
        ("local host:7101", 'must be "host:port"'),
        ("localhost:7101 ", 'must be "host:port"'),
        ("localhost:7101\\n", 'must be "host:port"'),
        ("http://localhost:7101", 'must be "host:port"'),
        ("user@localhost:7101", 'must be "host:port"'),
        ("dns:localhost:7101", 'must be "host:port"'),
        ("::1:7101", 'must be "host:port"'),
        ("[::1:7101", 'must be "host:port"'),
        ("l\u00f6cal:7101", 'must be "host:port"'),
        ("localhost:-1", 'must be "host:port"'),
        ("localhost:7101a", 'must be "host:port"'),
        ("localhost:\u0667\u0661", 'must be "host:port"'),
        ("localhost:123456", 'must be "host:port"'),
        ("localhost:0", "a port is between 1 and 65535"),
        ("localhost:65536", "a port is between 1 and 65535"),
        ("[::1]:99999", "a port is between 1 and 65535"),
    ],
)
def test_addresses_of_another_form_are_refused(sound: str, address: str, message: str) -> None:
    for name in ("agency", "dealer"):
        place = "dealer.address" if name == "dealer" else f"parties.{name}.address"
        assert told(changed(sound, (ADDRESSES[name], address))) == [(place, message)]


def test_ports_and_numbers_at_their_ends_are_taken(sound: str) -> None:
    spec = loads(changed(
        sound, ("localhost:7101", "x:1"), ("max_rows = 10_000", f"max_rows = {(1 << 48) - 1}"),
        ("upper = 50 ", f"upper = {LARGEST - 1} "), ("lower = 0,", f"lower = {1 - LARGEST},"), (QUERIES, ""),
    ).encode())  # fmt: skip
    assert spec.parties["agency"].address == "x:1"
    assert spec.tables["purchases"].max_rows == (1 << 48) - 1
    percent = spec.tables["vouchers"].columns["percent"]
    assert (percent.lower, percent.upper) == (1 - LARGEST, LARGEST - 1)


# --- certificates -----------------------------------------------------------------------------------------------------



def with_bytes(line: str, old: str, new: str) -> str:
    """The certificate with other bytes in one place, given in hex."""
    return base64.b64encode(base64.b64decode(line).replace(bytes.fromhex(old), bytes.fromhex(new))).decode()


NO_CERTIFICATE = "is no certificate: copy the whole line that `comity init` printed"
P256 = "must have an ECDSA P-256 key, as those of `comity init` do"


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: "",
        lambda line: line[:-8],
        lambda line: line[8:],
        lambda line: line[:100] + line[104:],
        lambda line: line.replace("A", "\u00c4", 1),
        lambda line: f" {line}",
        lambda line: line[:64] + "\\n" + line[64:],
        lambda line: line + "AAAA",
        lambda line: base64.b64encode(b"certificate").decode(),
        lambda line: with_bytes(line, "a003020102", "a003020101"),
        lambda line: with_bytes(line, "2a8648ce3d0201", "2a8648ce3d0209"),
    ],
    ids=[
        "nothing", "no end", "no start", "a gap", "a letter", "a blank", "two lines", "more", "not DER",
        "another version", "an unknown kind of key",
    ],
)  # fmt: skip
def test_a_certificate_that_does_not_parse_is_refused(
    sound: str, certificates: dict[str, str], damage: Callable[[str], str]
) -> None:
    for name, place in (("corner", "parties.corner.certificate"), ("dealer", "dealer.certificate")):
        line = certificates[name]
        assert damage(line) != line
        assert told(changed(sound, (line, damage(line)))) == [(place, NO_CERTIFICATE)]


@pytest.mark.parametrize(("ca", "signs", "fits"), [
    (False, None, True), (False, False, True), (False, True, False), (True, None, False), (None, None, False),
])  # fmt: skip
def test_a_certificate_that_could_sign_others_is_refused(
    sound: str, certificates: dict[str, str], ca: bool | None, signs: bool | None, fits: bool
) -> None:
    """TLS takes it as a root, and would accept what it signs in its stead."""
    own = identity.one_line(certificate(ec.generate_private_key(ec.SECP256R1()), ca=ca, signs=signs))
    text = changed(sound, (certificates["market"], own))
    if fits:
        loads(text.encode())
    else:
        [(place, message)] = told(text)
        assert place == "parties.market.certificate"
        assert message.startswith("must be self-signed and unable to sign others")


def test_a_certificate_whose_signature_is_damaged_is_refused(sound: str, certificates: dict[str, str]) -> None:
    der = bytearray(certificate(ec.generate_private_key(ec.SECP256R1())))
    der[-1] ^= 1
    [(place, message)] = told(changed(sound, (certificates["market"], identity.one_line(bytes(der)))))
    assert (place, message[:19]) == ("parties.market.certificate", "must be self-signed")


@pytest.mark.parametrize("character", ["\\u001b[8m", "\\u0000", "\\u202e", "\\u0007"])
def test_text_that_could_hide_other_text_is_refused(sound: str, character: str) -> None:
    for old, new, place in (
        ('"campaign"', f'"cam{character}paign"', "name"),
        ('"SELECT kind,', f'"SELECT /*{character}*/ kind,', "queries.by_kind.sql"),
        ('"EUR"', f'"EUR{character}"', "tables.purchases.columns.amount.unit"),
    ):
        [(found, message)] = told(changed(sound, (old, new)))
        assert (found, message) == (place, "has a control or formatting character: only printable ones may stand here")


def test_a_certificate_out_of_date_is_refused(sound: str, certificates: dict[str, str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    place = "parties.market.certificate"
    expired = identity.one_line(certificate(key, 2001, 2002))
    assert told(changed(sound, (certificates["market"], expired))) == [(
        place,
        "it expired on 2002-12-30: make a new identity with `comity init` "
        "and have all companies approve a spec with it",
    )]  # fmt: skip
    early = identity.one_line(certificate(key, 9000))
    assert told(changed(sound, (certificates["market"], early))) == [
        (place, "it is valid from 9000-02-03 04:05 UTC: check the clock")
    ]
    loads(changed(sound, (certificates["market"], identity.one_line(certificate(key)))).encode())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        lambda: ed25519.Ed25519PrivateKey.generate(),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "secp256k1", "Ed25519", "RSA"],
)
def test_a_key_of_another_type_is_refused(sound: str, certificates: dict[str, str], make: Callable[[], Any]) -> None:
    other = identity.one_line(certificate(make()))
    assert told(changed(sound, (certificates["agency"], other))) == [("parties.agency.certificate", P256)]
    assert told(changed(sound, (certificates["dealer"], other))) == [("dealer.certificate", P256)]


def test_two_parties_with_one_certificate_are_refused(sound: str, certificates: dict[str, str]) -> None:
    assert told(changed(sound, (certificates["market"], certificates["agency"]))) == [
        ("parties.market.certificate", "is also that of agency: each has one of its own")
    ]


def test_a_dealer_that_is_a_party_is_refused(sound: str, certificates: dict[str, str]) -> None:
    assert told(changed(sound, (certificates["dealer"], certificates["corner"]))) == [
        ("dealer.certificate", "is also that of corner: the dealer may not be a party")
    ]
    assert told(changed(sound, ("[dealer]", "[parties.dealer]"))) == [
        ("parties.dealer", "no party may be named dealer"),
        ("security.triples", "asks for [dealer]: add the stanza that `comity init DIR --role dealer` prints"),
    ]


# --- security ---------------------------------------------------------------------------------------------------------


def test_triples_and_the_dealer_go_together(sound: str, stanza: Callable[[str], str]) -> None:
    assert told(changed(sound, (stanza("dealer"), ""))) == [
        ("security.triples", "asks for [dealer]: add the stanza that `comity init DIR --role dealer` prints")
    ]
    assert told(changed(sound, (DEALER_WANTED, ""), (QUERIES, ""))) == [
        ("dealer", 'is there, but not asked for: set security.triples = "dealer", or remove [dealer]')
    ]


def test_the_companies_make_their_triples_themselves_where_nothing_else_is_asked_for(sound: str, stanza: Callable[[str], str]) -> None:
    without = changed(sound, (DEALER_WANTED, ""), (stanza("dealer"), ""))
    assert loads(without.encode()).plans["brought"].triples == "ot"
    assert loads(changed(without, ("colluding = 2", 'colluding = 2\ntriples = "ot"')).encode()).plans == loads(without.encode()).plans
    assert told(changed(sound, (DEALER_WANTED, 'triples = "ot"\n'))) == [
        ("dealer", 'is there, but not asked for: set security.triples = "dealer", or remove [dealer]')
    ]
    shamir = ('scheme = "additive"\ncolluding = 2', 'scheme = "shamir"\ncolluding = 1')
    assert loads(changed(without, shamir).encode()).security == Security(PARTIES, "shamir", 1, None)
    assert loads(changed(without, shamir).encode()).plans["brought"].triples is None  # reshared
    assert loads(changed(sound, shamir).encode()).plans["brought"].triples == "dealer"


def test_replicated_shares_are_for_three_and_take_no_triples(sound: str, stanza: Callable[[str], str]) -> None:
    replicated = ('scheme = "additive"\ncolluding = 2', 'scheme = "replicated"\ncolluding = 1')
    without = changed(sound, (DEALER_WANTED, ""), (stanza("dealer"), ""), replicated)
    assert loads(without.encode()).security == Security(PARTIES, "replicated", 1, None)
    assert loads(without.encode()).plans["brought"].triples is None
    assert told(changed(without, ("colluding = 1", 'colluding = 1\ntriples = "ot"'))) == [
        ("security.triples", "replicated shares are multiplied without triples: remove it")
    ]


@pytest.mark.parametrize(
    ("scheme", "parties", "colluding"),
    [
        ("additive", 3, 3),
        ("additive", 2, 2),
        ("additive", 3, 65_535),
        ("shamir", 3, 2),
        ("shamir", 2, 1),
        ("shamir", 3, 3),
        ("replicated", 3, 2),
        ("replicated", 2, 1),
    ],
)
def test_too_many_colluding_parties_are_refused(
    sound: str, stanza: Callable[[str], str], scheme: str, parties: int, colluding: int
) -> None:
    rule = {
        "additive": "additive sharing needs colluding < parties",
        "shamir": "Shamir sharing needs at least 3 parties and 2 * colluding < parties",
        "replicated": "replicated sharing is for just 3 parties, of which colluding = 1 may be corrupted",
    }[scheme]
    text = changed(
        sound, (TABLES, ""), (QUERIES, ""), *((stanza(name), "") for name in PARTIES[parties:]),
        ('scheme = "additive"\ncolluding = 2', f'scheme = "{scheme}"\ncolluding = {colluding}'),
    )  # fmt: skip
    assert [said for said in told(text) if said[0] != "security.triples"] == [("security.colluding", f"{rule}: here are {parties} parties, and colluding = {colluding}")]


@pytest.mark.parametrize("parties", [0, 1])
def test_a_company_alone_computes_without_others(sound: str, stanza: Callable[[str], str], parties: int) -> None:
    text = changed(sound, (TABLES, ""), (QUERIES, ""), *((stanza(name), "") for name in PARTIES[parties:]))
    text = text if parties else changed(text, ("[security]", "[parties]\n[security]"))
    assert told(text) == [("parties", f"a spec has at least 2 parties, this one {parties}")]


# --- tables -----------------------------------------------------------------------------------------------------------

HELD = 'holders = ["market", "corner"]'
OWNED = 'owner = "agency"\nkey = ["customer"]'


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (
            HELD,
            'holders = ["market", "cornr"]',
            "tables.purchases.holders.1",
            "there is no party cornr: did you mean corner?",
        ),
        (HELD, 'holders = ["x"]', "tables.purchases.holders.0", "there is no party x: there is agency, corner, market"),
        (
            HELD,
            'holders = ["dealer"]',
            "tables.purchases.holders.0",
            "there is no party dealer: there is agency, corner, market",
        ),
        (HELD, 'holders = ["market", "market"]', "tables.purchases.holders", "names one twice"),
        (HELD, f"{HELD}\nowner = 'market'", "tables.purchases.holders", None),
        (HELD, 'owner = "market"', "tables.purchases.key", "is missing: owner and key go together"),
        (HELD, 'key = ["customer"]', "tables.purchases.owner", "is missing: key and owner go together"),
        (
            'owner = "agency"',
            'owner = "agenci"',
            "tables.vouchers.owner",
            "there is no party agenci: did you mean agency?",
        ),
        (OWNED, 'owner = "agency"', "tables.vouchers.key", "is missing: owner and key go together"),
        (OWNED, f'{OWNED}\nholders = ["agency"]', "tables.vouchers.holders", None),
        (
            'key = ["customer"]',
            'key = ["custmer"]',
            "tables.vouchers.key",
            "there is no column custmer: did you mean customer?",
        ),
        (
            'key = ["customer"]',
            'key = ["x"]',
            "tables.vouchers.key",
            "there is no column x: there is customer, percent",
        ),
        ('key = ["customer"]', 'key = ["customer", "customer"]', "tables.vouchers.key", "names one twice"),
        ('["food", "other"]', '["food", "other", "food"]', "tables.purchases.columns.kind.values", "names one twice"),
        ("lower = 0, upper = 50 ", "lower = 1, upper = 0 ", "tables.vouchers.columns.percent.lower", "is above upper"),
        ('"999.99"', '"-0.51"', "tables.purchases.columns.amount.lower", "is above upper"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(
    sound: str, old: str, new: str, place: str, message: str | None
) -> None:
    both = "an owned table is held by its owner: remove holders, or owner and key"
    found = told(changed(sound, (old, new)))
    assert (place, message or both) in found
    assert len(found) == (2 if "owner = 'market'" in new else 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("amount", "amount is a decimal: keys are integers, dates, categories or booleans"),
        ("kind", "kind is nullable: a key has a value in every row"),
        ("knd", "there is no column knd: did you mean kind?"),
    ],
)
def test_keys_are_columns_of_exact_values_in_every_row(sound: str, column: str, message: str) -> None:
    owned = f'owner = "market"\nkey = ["customer", "{column}"]'
    assert told(changed(sound, (HELD, owned))) == [("tables.purchases.key", message)]


def test_dates_timestamps_and_floats(sound: str) -> None:
    spec = loads((sound + VISITS).encode())
    assert spec.tables["visits"].columns == {
        "day": Column("day", "date", 15_706, 16_070),
        "start": Column("start", "timestamp", 15_706 * 86_400_000_000, 16_071 * 86_400_000_000 + 500_000),
        "level": Column("level", "float", -1000, 2050, scale=2, step=25, unit="m"),
    }
    assert spec.plans["visited"].cells == 365
    said = " ".join(text for _, text, _ in at_home(spec.plans["visited"]))
    assert "where start >= TIMESTAMP '2013-06-01 12:00:00' AND level > 0.3; level is rounded to multiples of 0.25" in said


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("lower = 2013-01-01,", 'lower = "2013-01-01",', "day.lower", "must be a date such as 2013-01-31, without quotes"),
        ("lower = 2013-01-01,", "lower = 2013-01-01T00:00:00,", "day.lower", "must be a date such as 2013-01-31, without quotes"),
        ("upper = 2013-12-31", "upper = 2012-12-31", "day.lower", "is above upper"),
        ("00:00.5", "00:00.5Z", "start.upper", "has a time zone: timestamps have none, and companies agree on one, such as UTC, among themselves"),
        ("2013-01-01T00:00:00", "2013-01-01", "start.lower", "must be a date and time such as 2013-01-31T00:00:00, without quotes"),
        ('"0.25"', '"0"', "level.step", "must lie above 0, with at most 18 digits after the point"),
        ('"0.25"', '"-0.25"', "level.step", "must lie above 0, with at most 18 digits after the point"),
        ('"0.25"', f'"0.{"0" * 18}1"', "level.step", "must lie above 0, with at most 18 digits after the point"),
        ('"0.25"', "0.25", "level.step", 'a decimal is written as text with its digits, such as "0.00"'),
        ('"0.25"', '"0.2"', "level.upper", "is no multiple of the step, 0.2"),
        ('"20.5"', '"20.55555"', "level.upper", "has more than 2 digits after the point (step = 0.25)"),
        ('"20.5"', '"9007199254740993"', "level.step", "is too fine: between 0 and upper lie more steps than the 2^53 that a float tells apart"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_dates_timestamps_and_floats(sound: str, old: str, new: str, place: str, message: str) -> None:
    if old == '"0.25"' and new == '"0.2"':
        message = "is no multiple of the step, 0.2"
    assert (f"tables.visits.columns.{place}", message) in told(sound + changed(VISITS, (old, new)))


def test_the_schema_for_editors_takes_sound_specs_and_marks_mistakes(sound: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(SpecFile))

    def mistakes(text: str) -> list[str]:
        document = json.loads(json.dumps(tomllib.loads(text), default=str))
        return [error.message for error in validator.iter_errors(document)]

    assert mistakes(sound + VISITS) == []
    for old, new in (("nullable", "nulable"), ("scale = 2", "scale = 0"), ('"additive"', '"adding"'), ("[parties.market]", "[parties.Market]")):
        assert mistakes(changed(sound, (old, new)))


@pytest.mark.parametrize(
    ("scale", "bound", "message"),
    [
        (2, "0.001", "has more than 2 digits after the point (scale = 2)"),
        (1, "0.25", "has more than 1 digits after the point (scale = 1)"),
        (2, f"0.{'0' * 50}1", "has more than 2 digits after the point (scale = 2)"),
        (2, f"12345678901234567.{'0' * 40}1", "has more than 2 digits after the point (scale = 2)"),
        (2, "46116860184273879.04", "is too large: with scale = 2 it must lie below 46,116,860,184,273,879"),
        (18, "4.611686018427387904", "is too large: with scale = 18 it must lie below 4"),
        (1, "9" * 64, "is too large: with scale = 1 it must lie below 461,168,601,842,738,790"),
    ],
)
def test_decimal_bounds_fit_their_scale_exactly(sound: str, scale: int, bound: str, message: str) -> None:
    text = changed(sound, (QUERIES, ""), ("scale = 2", f"scale = {scale}"), ('"-0.50"', '"0"'))
    assert told(changed(text, ('"999.99"', f'"{bound}"'))) == [("tables.purchases.columns.amount.upper", message)]


@pytest.mark.parametrize(
    ("scale", "bound"),
    [(2, "46116860184273879.03"), (18, "4.611686018427387903"), (2, "7"), (2, "+7.0"), (3, "0.1230000")],
)
def test_decimal_bounds_are_exact(sound: str, scale: int, bound: str) -> None:
    text = changed(
        sound, (QUERIES, ""), ("scale = 2", f"scale = {scale}"), ('"-0.50"', '"0"'), ('"999.99"', f'"{bound}"')
    )
    assert loads(text.encode()).tables["purchases"].columns["amount"].upper == int(Decimal(bound) * 10**scale)


# --- queries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("receivers", "problems"),
    [
        ('["cornr"]', [(".0", "there is no party cornr: did you mean corner?")]),
        ('["corner", "x", "dealer"]', [
            (".1", "there is no party x: there is agency, corner, market"),
            (".2", "there is no party dealer: there is agency, corner, market"),
        ]),
        ('["corner", "corner"]', [("", "names one twice")]),
    ],
)  # fmt: skip
def test_receivers_are_parties(sound: str, receivers: str, problems: list[tuple[str, str]]) -> None:
    found = told(changed(sound, ('receivers = ["corner"]', f"receivers = {receivers}")))
    assert found == [(f"queries.by_kind.receivers{place}", message) for place, message in problems]


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (
            "amount * percent",
            "amount * prcent",
            "line 1, column 47",
            "there is no column prcent: did you mean percent?",
        ),
        ("JOIN vouchers", "JOIN voucher", "line 2, column 23", "there is no table voucher: did you mean vouchers?"),
        ("percent > 0", "percent > '0'", "line 3, column 9", "cannot compare percent with '0': different types"),
        ("(customer)", "(customer", "line 3, column 3", "not understood: expecting )"),
        ("percent > 0", "percent > 0\n LIMIT 3", "line 4, column 8", None),
    ],
)
def test_mistakes_in_sql_have_line_and_column(sound: str, old: str, new: str, place: str, message: str | None) -> None:
    limit = "LIMIT is not supported: the answer has a row for each declared group"
    assert told(changed(sound, (old, new))) == [(f"queries.brought.sql, {place}", message or limit)]


def test_ranges_that_could_wrap_are_refused_naming_what_to_change(sound: str) -> None:
    largest = ('"999.99"', '"46116860184273879.03"')
    advice = "lower tables.purchases.max_rows or the bounds of tables.purchases.columns.amount"
    cube = told(changed(sound, largest, ("SUM(amount) AS revenue", "SUM(amount * amount * amount) AS cubes")))
    assert cube == [(
        "queries.brought",
        f"(amount * amount) * amount may reach 2^185 at home, beyond 2^126: {advice}",
    )]  # fmt: skip
    many = told(
        changed(sound, largest, ("AVG(amount)", "SUM(amount * amount)"), ("max_rows = 10_000", "max_rows = 100"))
    )
    assert many == [(
        "queries.by_kind",
        f"SUM(amount * amount) may reach 2^130 at one company (100 rows), beyond 2^126: {advice}",
    )]  # fmt: skip
    shamir = changed(sound, ('scheme = "additive"\ncolluding = 2', 'scheme = "shamir"\ncolluding = 1'))
    squares = ('"999.99"', f'"{Decimal(1 << 40).scaleb(-2)}"'), ("AVG(amount)", "SUM(amount * amount)")
    widest = told(changed(shamir, *squares, ("max_rows = 10_000", f"max_rows = {(1 << 45) + (1 << 44)}")))
    assert [place for place, _ in widest] == ["queries.by_kind"]
    assert widest[0][1].startswith(
        "SUM(amount * amount) over purchases (2 x 52,776,558,133,248 rows) may reach 2^126, beyond"
    )
    assert widest[0][1].endswith("lower max_rows or the bounds of its columns")


def test_the_smallest_domain_that_holds_a_range_is_planned(sound: str) -> None:
    plans = loads(sound.encode()).plans
    assert plans["by_kind"].scheme.algebra is RING
    wide = changed(sound, ('"999.99"', '"46116860184273879.03"'))
    assert loads(wide.encode()).plans["by_kind"].scheme.algebra is RING128


# --- all problems at once ---------------------------------------------------------------------------------------------


def test_all_problems_of_form_are_told_at_once(sound: str) -> None:
    found = told(changed(
        sound, ("version = 1", "vrsion = 1"), ("localhost:7101", "localhost"), ("colluding = 2", "colluding = 0"),
        ("max_rows = 5_000", "max_rows = -1"), ('"boolean"', '"bool"'), ('"-0.50"', "-0.50"),
        ("receivers =", "receiver ="),
    ))  # fmt: skip
    assert {place for place, _ in found} == {
        "version", "vrsion", "parties.agency.address", "security.colluding", "tables.vouchers.max_rows",
        "tables.purchases.columns.gift.type", "tables.purchases.columns.amount.lower",
        *(f"queries.{query}.{key}" for query in ("brought", "by_kind") for key in ("receiver", "receivers")),
    }  # fmt: skip
    assert len(found) == 11


def test_all_problems_of_content_are_told_at_once(sound: str, certificates: dict[str, str]) -> None:
    found = told(changed(
        sound, (certificates["agency"], "AAAA"), (certificates["dealer"], certificates["market"]), (":7102", ":0"),
        ("colluding = 2", "colluding = 3"), ('["market", "corner"]', '["markt"]'), ('"999.99"', '"0.001"'),
        ('["food", "other"]', '["food", "food"]'), ('key = ["customer"]', 'key = ["custmer"]'),
        ('receivers = ["corner"]', 'receivers = ["cornr"]'),
    ))  # fmt: skip
    assert [place for place, _ in found] == [
        "parties.agency.certificate", "parties.corner.address", "dealer.certificate", "security.colluding",
        "tables.purchases.columns.amount.upper", "tables.purchases.columns.kind.values", "tables.purchases.holders.0",
        "tables.vouchers.key", "queries.by_kind.receivers.0",
    ]  # fmt: skip


def test_every_query_is_read_whatever_else_is_wrong(sound: str) -> None:
    found = told(changed(sound, ("colluding = 2", "colluding = 3"), ("SUM(amount)", "SUM(amunt)"), ("kind,", "knd,")))
    assert [place for place, _ in found] == [
        "security.colluding", "queries.brought.sql, line 1, column 14", "queries.by_kind.sql, line 1, column 8",
    ]  # fmt: skip


def test_what_is_wrong_with_a_table_is_not_told_again_of_its_queries(sound: str) -> None:
    assert told(changed(sound, ('["market", "corner"]', '["markt"]'))) == [
        ("tables.purchases.holders.0", "there is no party markt: did you mean market?")
    ]
    found = told(changed(sound, ('"999.99"', '"0.001"'), ("AVG(amount)", "AVG(amont)")))
    assert [place for place, _ in found] == [
        "tables.purchases.columns.amount.upper", "queries.by_kind.sql, line 1, column 18",
    ]  # fmt: skip


def test_no_problem_fills_the_screen_or_commands_a_terminal() -> None:
    raw = b'"\\u001b[31mred\\nline 2" = 1\n' + b"".join(b"key_%d = 1\n" % number for number in range(200))
    raw += b'"' + b"long" * 10_000 + b'" = 1\n'
    with pytest.raises(SpecError) as refused:
        loads(raw)
    lines = str(refused.value).split("\n")
    assert len(refused.value.problems) == 4 + 202
    assert len(lines) == SHOWN + 1
    assert lines[-1] == "... and 106 more"
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[31mred\\nline 2: unknown key: there is dealer, name, parties" in lines[4]
    longest = str(refused.value.problems[-1])
    assert len(longest) < LONGEST + 10
    assert longest.endswith("unknown key: there is dealer, name, parties, queries, security, tables, version")


def test_hints() -> None:
    assert nearest("unted", ["united", "delta"]) == "did you mean united?"
    assert nearest("x", ["united", "delta"]) == "there is united, delta"
    assert nearest("x", map(str, range(10, 20))) == "there is 10, 11, 12, 13, 14, 15, 16, 17, ..."
    assert nearest("x", []) == "there is none"


# --- properties -------------------------------------------------------------------------------------------------------

MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


def is_refused_or_read(raw: bytes) -> None:
    try:
        read: Spec | SpecError = loads(raw)
    except SpecError as error:
        read = error
    if isinstance(read, Spec):
        assert read.digest == hashlib.sha256(raw).hexdigest()
    else:
        assert read.problems
        assert all(line.isprintable() and len(line) < LONGEST + 10 for line in str(read).split("\n"))


@MANY
@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.text("[]{}=.,\"'\\#\n abc1_-:T+\u00e9", max_size=100).map(str.encode)
)
def test_any_bytes_are_refused_or_read(raw: bytes) -> None:
    is_refused_or_read(raw)
    is_refused_or_read(b"version = 1\nname = 'x'\n[parties]\n" + raw)


PARTS = re.compile(r'"""|"[^"\n]*"|[A-Za-z_][\w-]*|[\d_]+|\s+|.')
VALUES = (
    "0", "1", "-1", "2", "3", "7_000", str(1 << 48), str(1 << 62), "-9223372036854775809", "0xffffffffffffffffffff",
    "1.5", "1e400", "nan", "-inf", "true", "false", '""', '"x"', '"agency"', '"customer"', '"amount"', '"kind"',
    '"integer"', '"decimal"', '"category"', '"boolean"', '"shamir"', '"additive"', '"dealer"', '"0.00"', '"-1e5"',
    '"NaN"', '"\\u0000"', '"\\u001b[2J"', "'''\n'''", "[]", "{}", "[1]", '["agency", "agency"]', "[[[]]]", "{ a = 1 }",
    "1979-05-27", "07:32:00", "agency", "holders", "owner", "key", "columns", "=", ".", ",", "[", "]", "{", "}", "\n",
    "#", '"SELECT COUNT(*) FROM purchases"', '"SELECT SUM(percent) FROM vouchers"',
)  # fmt: skip


@MANY
@given(st.data())
def test_any_broken_spec_is_refused_or_read(sound: str, data: st.DataObject) -> None:
    parts = PARTS.findall(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(parts)))
        parts[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.lists(st.sampled_from(VALUES) | st.sampled_from(parts).filter(lambda part: len(part) < 60), max_size=2)
        )
    is_refused_or_read("".join(parts).encode())


@MANY
@given(st.data())
def test_any_altered_bytes_of_a_spec_are_refused_or_read(sound: str, data: st.DataObject) -> None:
    raw = bytearray(sound.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw)))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    is_refused_or_read(bytes(raw))


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@MANY
@given(st.data())
def test_any_altered_certificate_is_refused_or_read(
    sound: str, certificates: dict[str, str], data: st.DataObject
) -> None:
    der = bytearray(base64.b64decode(certificates["corner"]))
    place = data.draw(st.integers(0, len(der)))
    der[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    altered = changed(sound, (certificates["corner"], base64.b64encode(der).decode()), (TABLES, ""), (QUERIES, ""))
    is_refused_or_read(altered.encode())


# --- who is protected, and by how much noise ---------------------------------------------------------------------------------

PRIVATE = (
    ("max_rows = 10_000\n", 'max_rows = 10_000\nunit = { key = "person", companies = 2, rows = 3, groups = 4 }\nneighbours = "replace"\n'),
    ('receivers = ["corner"]\n', 'receivers = ["corner"]\nprivacy = { epsilon = 1, delta = 1e-6, split = { mean = 2 } }\n'),
)


def with_privacy(text: str, privacy: str, unit: str = 'key = "person", companies = 2') -> str:
    return changed(text, ("max_rows = 10_000\n", f"max_rows = 10_000\nunit = {{ {unit} }}\n"),
                   ('receivers = ["corner"]\n', f'receivers = ["corner"]\nprivacy = {{ {privacy} }}\n'))  # fmt: skip


def test_a_unit_and_a_budget_are_read(sound: str) -> None:
    spec = loads(changed(sound, *PRIVATE).encode())
    assert spec.tables["purchases"].unit == Unit("person", 2, 3, 4, "replace")
    assert spec.tables["vouchers"].unit is None
    privacy = spec.plans["by_kind"].query.privacy
    assert privacy == Privacy("gaussian", micro_rho(1, 1e-6), Fraction(1), Fraction(1, 10**6), (("mean", 2),))
    assert spec.plans["by_kind"].adding == ("corner", "market")
    assert spec.plans["brought"].exact_over == (spec.tables["purchases"],)
    by_rho = loads(with_privacy(sound, "rho = 0.0123456789").encode()).plans["by_kind"].query.privacy
    assert by_rho == Privacy("gaussian", 12_345)
    pure = loads(with_privacy(sound, 'mechanism = "laplace", epsilon = 0.1').encode()).plans["by_kind"].query.privacy
    assert pure == Privacy("laplace", 5_000, Fraction(1, 10))


@pytest.mark.parametrize(
    ("privacy", "unit", "place", "message"),
    [
        ("epsilon = 1", "", "queries.by_kind.privacy", "epsilon and delta, or rho alone"),
        ("epsilon = 1, delta = 1e-6, rho = 1", "", "queries.by_kind.privacy", "epsilon and delta, or rho alone"),
        ('mechanism = "laplace", epsilon = 1, delta = 1e-6', "", "queries.by_kind.privacy", "takes epsilon, and neither"),
        ('mechanism = "laplace"', "", "queries.by_kind.privacy", "takes epsilon, and neither"),
        ("rho = 0.0000001", "", "queries.by_kind.privacy", "too small a budget"),
        ("rho = 1, split = { men = 2 }", "", "queries.by_kind.privacy.split.men", "did you mean mean?"),
        ("rho = 0", "", "queries.by_kind.privacy.rho", "greater than 0"),
        ("epsilon = 1, delta = 1", "", "queries.by_kind.privacy.delta", "less than 1"),
        ("epsilon = nan, delta = 1e-6", "", "queries.by_kind.privacy.epsilon", ""),
        ("epsilon = inf, delta = 1e-6", "", "queries.by_kind.privacy.epsilon", ""),
        ('mechanism = "uniform", epsilon = 1', "", "queries.by_kind.privacy.mechanism", ""),
        ("rho = 1", "rows = 2", "tables.purchases.unit", "without a key each row is a unit"),
        ("rho = 1", 'key = "person", rows = 0', "tables.purchases.unit.rows", ""),
        ("rho = 1", 'keys = "person"', "tables.purchases.unit.keys", "did you mean key?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_privacy_is_told_with_its_place(sound: str, privacy: str, unit: str, place: str, message: str) -> None:
    found = told(with_privacy(sound, privacy, unit or 'key = "person"'))
    assert [(where, message in what) for where, what in found] == [(place, True)]


def test_privacy_needs_somebody_to_protect(sound: str) -> None:
    lone = changed(sound, ('receivers = ["corner"]\n', 'receivers = ["corner"]\nprivacy = { rho = 1 }\n'))
    ((place, message),) = told(lone)
    assert (place, "add tables.purchases.unit" in message) == ("queries.by_kind", True)
    ((place, message),) = told(changed(sound, ("max_rows = 10_000\n", 'max_rows = 10_000\nneighbours = "replace"\n')))
    assert (place, "goes with unit" in message) == ("tables.purchases.neighbours", True)
