"""Every paper that a docstring cites is in the bibliography, and every one in it is cited."""

import ast
import re
from pathlib import Path

import pytest

from protocols.papers import PAPERS

ROOT = Path(__file__).parents[1]
KEY = r"[A-Z][A-Za-z]*\d\d[a-z]?"
CITATION = re.compile(rf"\[({KEY}(?:; {KEY})*)\]")

FOR_DOCUMENTS: set[str] = set()
"""Keys that only docs/ cites."""


def cited_in(source: str) -> set[str]:
    """The keys cited in a module's docstrings, its own and those of its classes and functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for group in CITATION.findall(ast.get_docstring(node) or ""):
                found.update(group.split("; "))
    return found


def citations() -> dict[str, list[str]]:
    """Key -> the files that cite it."""
    found: dict[str, list[str]] = {}
    for room in ("mpc", "protocols", "parties"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if path.name == "papers.py" or path.name.endswith("_pb2.py"):
                continue
            for key in cited_in(path.read_text(encoding="utf-8")):
                found.setdefault(key, []).append(str(path.relative_to(ROOT)))
    return found


def test_citations_are_found_where_they_stand():
    source = '"""Of [Shamir79]."""\nclass A:\n    """As in [CDI05; GRR98]."""\n    def f(self):\n        """[0, p) and x[i] cite nothing. [Beaver91]"""\n'
    assert cited_in(source) == {"Shamir79", "CDI05", "GRR98", "Beaver91"}
    assert {"Beaver91", "GRR98", "CDI05", "Shamir79"} <= citations().keys()


def test_every_citation_has_an_entry():
    missing = {key: files for key, files in citations().items() if key not in PAPERS}
    assert not missing


def test_every_entry_is_cited():
    assert PAPERS.keys() - citations().keys() == FOR_DOCUMENTS


@pytest.mark.parametrize("key", list(PAPERS))
def test_a_key_is_the_authors_and_the_year(key):
    paper = PAPERS[key]
    assert str(paper.year)[2:] == key[-2:]
    assert all((paper.authors, paper.title, paper.venue))
    names = [author.split()[-1] for author in paper.authors.split(", ")]
    assert key[:-2] in (names[0], "".join(name[0] for name in names))


def test_the_bibliography_is_in_order():
    assert list(PAPERS) == sorted(PAPERS)
