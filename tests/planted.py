"""What no log may show: values that stand in companies' data, keys, and whatever looks like a seed, a key or a share."""

import base64
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

NUMBER = 7_368_787
"""Values that begin with the same digits but the last are planted as well."""
TEXT = "quixotic kumquat"

LOGS = ("log", "*.log", "*.said")
"""Names of the files: nodes' logs, this process's own, and what commands said."""

_MARKERS = {
    "a planted number": re.compile(rf"(?<![0-9a-f]){str(NUMBER)[:-1]}[0-9]+(?![0-9a-f])"),
    "a planted text": re.compile(TEXT),
    "a private key": re.compile("PRIVATE KEY"),
}
_SHAPES = {
    "hex of 16 bytes or more": re.compile(r"[0-9a-fA-F]{32,}"),
    "base64 of a seed": re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}="),
    "bytes as Python writes them": re.compile(r"(\\x[0-9a-f]{2}.{0,3}){4}"),
    "a residue, such as a share": re.compile(r"(?<![0-9a-zA-Z])-?[0-9]{17,}"),
}


def found_in(folder: Path) -> list[str]:
    """Each place below `folder` where a log shows what it must not, without the thing itself."""
    secrets = {**_MARKERS, **dict(_keys(folder))}
    digests = re.compile("|".join({file.read_text().strip() for file in folder.rglob("approved.sha256")} or {"$^"}))
    found = []
    for file in sorted({file for pattern in LOGS for file in folder.rglob(pattern)}):
        # what a command says has certificates, and a spec's long numbers
        looked_for = secrets if file.suffix == ".said" else {**secrets, **_SHAPES}
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            public = digests.sub("", line)
            found += [f"{file}, line {number}: {what}" for what, pattern in looked_for.items() if pattern.search(public)]
    return found


def _keys(folder: Path) -> Iterator[tuple[str, re.Pattern[str]]]:
    for file in folder.rglob("key.pem"):
        pem = file.read_bytes()
        try:
            key = serialization.load_pem_private_key(pem, None)
        except ValueError:  # a test has spoilt it
            continue
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        scalar = key.private_numbers().private_value
        raw = scalar.to_bytes(32, "big")
        # the last line of the PEM is of the public key alone, which is in the certificate as well
        forms = [*pem.decode().splitlines()[1:3], raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), repr(raw)[2:-1]]
        yield f"the key in {file.parent.name}", _any_of([*forms, str(scalar)])


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)))
