"""What no log may show: values that stand in companies' data, keys, and whatever looks like a seed, a key or a share."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

NUMBER = 7_368_787
"""Values that begin with the same digits but the last are planted as well."""
TEXT = "quixotic kumquat"

OWN_LOG, SAID = "comity.log", "commands.said"
"""The log of nodes within the tests' process, in which tests also make up what peers say, and what commands said, which
has certificates and a spec's long numbers: these two are searched for markers and keys, not for what looks like one."""
LOGS = ("log", "*.log", SAID)

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

_WORD = re.compile(r"[A-Za-z0-9+/=]{20,}")
_APPROVED = re.compile(r"approved spec.*digest\W+([0-9a-f]{64})\b")


def found_in(folder: Path) -> list[str]:
    """Each place below `folder` where a log shows what it must not, without the thing itself."""
    keys = dict(_keys(folder))
    texts = {file: file.read_text(errors="replace") for pattern in LOGS for file in folder.rglob(pattern)}
    approved = {file.read_text(errors="replace").strip() for file in folder.rglob("approved.sha256")}
    approved.update(digest for text in texts.values() for digest in _APPROVED.findall(text))  # also before the last time
    found = []
    for file, text in sorted(texts.items()):
        patterns = _MARKERS if file.name in (SAID, OWN_LOG) else {**_MARKERS, **_SHAPES}
        places = [
            (match.start(), what)
            for what, pattern in patterns.items()
            for match in pattern.finditer(text)
            if match[0] not in approved
        ]
        words = " ".join(set(_WORD.findall(text)))  # all keys are searched for in what could be one: logs are long
        for form, what in keys.items():
            if form in (words if _WORD.fullmatch(form) else text):
                places.append((text.find(form), what))
        found += [f"{file}, line {text.count(chr(10), 0, place) + 1}: {what}" for place, what in sorted(places)]
    return found


def _keys(folder: Path) -> Iterator[tuple[str, str]]:
    """The forms in which a log could show a private key, and whose it is."""
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
        texts = [*pem.decode().splitlines()[1:3], raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), repr(raw)[2:-1]]
        for text in (*texts, str(scalar)):
            yield text, f"the key in {file.parent}"
