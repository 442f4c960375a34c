"""What is installed is what requirements.lock says, with hashes, and that is what pyproject.toml asks for."""

import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OWN = {"comity", "pip", "setuptools"}  # the project, and what a new virtual environment has of itself


def locked() -> list[tuple[Requirement, str]]:
    """Each locked requirement and the lines that follow it."""
    entries: list[tuple[Requirement, str]] = []
    for line in LOCK.splitlines():
        if line[:1].isalnum():
            entries.append((Requirement(line.removesuffix("\\")), ""))
        elif entries:
            entries[-1] = (entries[-1][0], entries[-1][1] + line)
    return entries


def test_installed_set_is_the_locked_one() -> None:
    here = {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each, _ in locked()
        if each.marker is None or each.marker.evaluate()
    }
    installed = {canonicalize_name(each.name): each.version for each in distributions()}
    wrong = [
        f"{name}: installed {installed.get(name, 'not at all')}, locked {here.get(name, 'not at all')}"
        for name in sorted((here.keys() | installed.keys()) - OWN)
        if installed.get(name) != here.get(name)
    ]
    assert not wrong, f"not what requirements.lock says; make it so with: rm -rf .venv; make install ({'; '.join(wrong)})"


def test_each_is_pinned_with_hashes() -> None:
    for each, rest in locked():
        (version,) = each.specifier
        assert version.operator == "==", each
        assert rest.count("--hash=sha256:") > 0, f"{each} has no hash"
    assert "://" not in LOCK
    assert "-url" not in LOCK


def test_lock_has_what_the_project_asks_for() -> None:
    stale = []
    for each in asked():
        versions = [one.specifier for one, _ in locked() if canonicalize_name(one.name) == canonicalize_name(each.name)]
        if not versions or not all(each.specifier.contains(str(version).removeprefix("==")) for version in versions):
            stale.append(str(each))
    assert not stale, f"pyproject.toml asks for what requirements.lock does not have; run: make lock ({'; '.join(stale)})"


def asked() -> Iterator[Requirement]:
    """By the project, for development and for building; an extra of its own is what that asks for."""
    extras = PROJECT["project"]["optional-dependencies"]
    texts = [*PROJECT["project"]["dependencies"], *extras["dev"], *PROJECT["build-system"]["requires"]]
    while texts:
        each = Requirement(texts.pop())
        if each.name == PROJECT["project"]["name"]:
            texts += [text for extra in each.extras for text in extras[extra]]
        else:
            yield each
