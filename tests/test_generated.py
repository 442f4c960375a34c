"""The wire code that is committed is the one that proto/ gives."""

from pathlib import Path

from parties.wire.generate import ROOT, generate

FOLDER = "parties/wire/v1"


def test_the_wire_code_is_that_of_the_contract(tmp_path: Path) -> None:
    generate(tmp_path)
    made = {file.name: file.read_text() for file in (tmp_path / FOLDER).iterdir()}
    committed = {file.name: file.read_text() for file in (ROOT / FOLDER).glob("*.py*") if file.name != "__init__.py"}
    assert sorted(made) == ["party_pb2.py", "party_pb2.pyi", "party_pb2_grpc.py", "party_pb2_grpc.pyi"]
    assert committed == made, "run `make proto`"
