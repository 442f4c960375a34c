"""Makes the wire code in parties/wire/v1 from proto/ anew: `python -m parties.wire.generate [FOLDER]` (`make proto`)."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def generate(into: Path) -> None:
    """Needs the development packages; the pinned grpcio-tools is the oldest that a user's grpcio may be."""
    from grpc_tools import protoc

    arguments = [f"--{kind}_out={into}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    beside = Path(sys.executable).parent  # the environment need not be activated
    arguments += [f"--plugin=protoc-gen-{kind}={beside / f'protoc-gen-{kind}'}" for kind in ("mypy", "mypy_grpc")]
    source = str(ROOT / "proto/parties/wire/v1/party.proto")
    if protoc.main(["protoc", f"-I{ROOT / 'proto'}", *arguments, source]) != 0:
        raise SystemExit("protoc failed")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
