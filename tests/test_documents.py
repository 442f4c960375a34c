"""What the documents tell people to type, typed: each document's blocks in order, in an empty folder and one shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parties.cli.local import free_ports
from parties.cli.reference import markdown

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- (run|file: (\S+)) -->\n```\w+\n(.*?)```", re.DOTALL)


def run(document: str, folder: Path) -> str:
    """Everything the blocks print. Ports are replaced by free ones."""
    text = (ROOT / document).read_text()
    ports = dict(zip(("7101", "7102", "7103", "7104"), free_ports(4), strict=True))
    script = ["set -euo pipefail"]
    for kind, name, body in BLOCK.findall(text):
        if kind == "run":
            script.append(re.sub(r"localhost:(71\d\d)", lambda m: f"localhost:{ports[m[1]]}", body))
        else:
            script.append(f"cat > {name} <<'END-OF-FILE'\n{body}END-OF-FILE")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # buffered, so that processes side by side write whole lines
    environment = {**os.environ, "PATH": path, "COLUMNS": "120", "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def test_readme(tmp_path: Path) -> None:
    out = run("README.md", tmp_path)
    assert "comity.toml is valid: 3 parties (acme, birch, cedar), queries pay" in out
    assert re.search(r"junior\s*│\s*true\s*│\s*3\s*│\s*41000.0", out)
    assert "junior,true,3,41000.0" in out
    assert "[10, 10, 10]" in out
    assert {"acme 10", "birch 10", "cedar 10"} <= set(out.splitlines())


def test_tutorial(tmp_path: Path) -> None:
    out = run("docs/tutorial.md", tmp_path)
    assert "did you mean amount?" in out
    assert re.search(r"64\.70\s*│\s*6\s*│\s*796\.00", out)
    assert '"rows": [["64.70", 6, "796.00"]]' in out
    assert re.search(r"letter\s*│\s*2\s*│\s*5\.0\s*│\n│\s*e-mail\s*│\s*2\s*│\s*7\.45", out)
    assert "adjusted: 0 values of amount in purchases clamped to its bounds" in out
    assert "approved different specs" in out
    assert re.search(r"14\.90\s*│\s*2\s*│\s*298\.00", out)


def test_the_reference_is_that_of_the_code() -> None:
    assert (ROOT / "docs/spec.md").read_text() == markdown(), "run `make docs`"


def test_every_query_of_the_readme_is_one_of_the_example() -> None:
    text = (ROOT / "README.md").read_text()
    example = (ROOT / "examples/flights/queries.toml").read_text()
    for query in re.findall(r"^\$ comity (?:run|explain \S+) (\w+)", text, re.MULTILINE):
        assert f"[queries.{query}]" in example


@pytest.mark.parametrize("document", sorted(str(p.relative_to(ROOT)) for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]))
def test_links_between_documents_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / document).parent.joinpath(target).exists(), target


def test_noise(tmp_path: Path) -> None:
    out = run("docs/noise.md", tmp_path)
    assert "protected: each patient, with all rows of it in visits" in out
    assert "Expected error" in out
    assert len(re.findall(r"(eye|heart|skin)\s*│ .* ± .* │ .* ± ", out)) == 3
    assert re.search(r"│ \d+\.\d+ ± [\d.]+ │ \d+\.\d+ ± [\d.]+ │", out)
    assert "refuses: it gives no exact answers over visits" in out
    assert re.findall(r'"state": "(\w+)"', out) == ["settled", "settled"]
    assert "48,710" in out
