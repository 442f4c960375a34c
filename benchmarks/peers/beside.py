"""Beside Comity's own lines, in the same run: MPyC, CrypTen and SPU, each where it installs."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.companies import outputs
from benchmarks.measure import Line
from benchmarks.peers.party import Job
from benchmarks.worker import WARM_UPS
from mpc.errors import ComityError
from parties.cli.local import free_ports

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Peer:
    """`packages` are the arguments of each `pip install`, `module` is run as a party."""

    name: str
    packages: tuple[tuple[str, ...], ...]
    module: str


@dataclass(frozen=True)
class Work:
    """What a peer does, beside Comity's line `beside` of the same group. One that is slow does it for a part of the
    elements, and is compared by the element."""

    peer: Peer
    group: str
    parties: int
    how: str
    name: str
    beside: str
    part: int = 1


MPYC = Peer("MPyC 0.11", (("mpyc==0.11", "numpy==2.4.6", "gmpy2==2.3.2"),), "benchmarks.peers.in_mpyc")
# what CrypTen asks for beyond this cannot be installed any more, and is for its examples
CRYPTEN = Peer(
    "CrypTen 0.4.1",
    (("torch==2.13.0", "numpy==2.4.6", "omegaconf==2.3.0", "onnx==1.23.2"), ("--no-deps", "crypten==0.4.1")),
    "benchmarks.peers.in_crypten",
)
SPU = Peer("SPU 0.9.5", (("spu==0.9.5", "jax==0.4.34", "numpy==1.26.4"),), "benchmarks.peers.in_spu")

RESHARING, ADDITIVE = "shamir over GF(2^61-1), gRPC", "additive over Z_2^64, gRPC"
DEALT, MADE = "additive over Z_2^64, dealt in the run, gRPC", "additive over Z_2^64, triples made by OT in the run, gRPC"
FIRST, MEDIAN = "over Z_2^64, first party deals", "10,000 rows, 1 cells, {}"
STOCKED, MADE_SHAMIR = "shamir over GF(2^61-1), triples preloaded, gRPC", "shamir over GF(2^61-1), triples made by OT in the run, gRPC"
REPLICATED = "replicated over Z_2^64, gRPC"
WORKS = (
    Work(MPYC, "multiply", 3, "", "Shamir over GF(2^61-1), resharing, TLS", RESHARING, part=16),
    Work(MPYC, "multiply", 3, "", "Shamir over GF(2^61-1), resharing, TLS", MADE, part=16),
    Work(MPYC, "sum", 3, "", "Shamir over GF(2^61-1), TLS", ADDITIVE, part=16),
    Work(CRYPTEN, "multiply", 2, "", f"additive {FIRST}, no TLS", DEALT),
    Work(CRYPTEN, "multiply", 3, "", f"additive {FIRST}, no TLS", DEALT),
    Work(CRYPTEN, "sum", 3, "", "additive over Z_2^64, no TLS", ADDITIVE),
    Work(SPU, "multiply", 2, "SEMI2K", f"SEMI2K {FIRST}, TLS", DEALT),
    Work(SPU, "multiply", 3, "SEMI2K", f"SEMI2K {FIRST}, TLS", DEALT),
    Work(SPU, "multiply", 2, "CHEETAH", "Cheetah over Z_2^64, homomorphic encryption, TLS", MADE),
    Work(SPU, "multiply", 3, "ABY3", "ABY3 over Z_2^64, TLS", RESHARING),
    Work(SPU, "multiply", 3, "ABY3", "ABY3 over Z_2^64, TLS", REPLICATED),
    Work(SPU, "sum", 3, "SEMI2K", "SEMI2K over Z_2^64, TLS", ADDITIVE),
    Work(MPYC, "compare", 3, "", "Shamir, 60-bit integers, resharing, TLS", STOCKED, part=256),
    Work(MPYC, "compare", 3, "", "Shamir, 60-bit integers, resharing, TLS", MADE_SHAMIR, part=16),
    Work(MPYC, "compare", 3, "", "Shamir, 60-bit integers, resharing, TLS", REPLICATED, part=256),
    Work(SPU, "compare", 2, "SEMI2K", f"SEMI2K {FIRST}, TLS", DEALT),
    Work(SPU, "compare", 2, "CHEETAH", "Cheetah over Z_2^64, TLS", MADE),
    Work(SPU, "compare", 3, "ABY3", "ABY3 over Z_2^64, TLS", REPLICATED),
    Work(MPYC, "median", 3, "", "Shamir, 60-bit integers, sorting, TLS", MEDIAN.format("additive"), part=64),
    Work(MPYC, "median", 3, "", "Shamir, 60-bit integers, sorting, TLS", MEDIAN.format("replicated"), part=64),
    Work(SPU, "median", 3, "SEMI2K", f"SEMI2K {FIRST}, sorting, TLS", MEDIAN.format("additive")),
    Work(SPU, "median", 3, "ABY3", "ABY3 over Z_2^64, sorting, TLS", MEDIAN.format("replicated")),
)


class Peers:
    """`absent` says why a peer is not among the lines."""

    def __init__(self, works: Sequence[Work] = WORKS, folder: Path = ROOT / "out" / "peers") -> None:
        self.absent: dict[str, str] = {}
        self._works = works
        self._folder = folder

    def beside(self, line: Line, runs: int) -> Iterator[Line]:
        """The peers' lines that belong beside this one of Comity's."""
        for work in self._works:
            name = work.peer.name
            if (work.group, work.parties, work.beside) != (line.group, line.parties, line.name) or name in self.absent:
                continue
            try:
                python = self._install(work.peer)
            except ComityError as error:
                self.absent[name] = f"{name}: does not install here: {error}"
                continue
            elements = line.elements // work.part
            try:
                seconds, peak = _run(python, work, elements, runs)
            except ComityError as error:
                self.absent[name] = f"{name}: does not run here: {error}"
                continue
            ours = [each / work.part for each in line.seconds]
            described = f"{name}, {work.name}"
            yield Line(line.group, described, line.parties, elements, seconds, "Comity's", ours, peak_mb=peak)

    def _install(self, peer: Peer) -> Path:
        """The Python of the peer's own virtual environment, which is kept for the next time."""
        home = self._folder / peer.name
        python, complete, wanted = home / "bin" / "python", home / "complete", json.dumps(peer.packages)
        if complete.exists() and complete.read_text() == wanted:
            return python
        click.echo(f"installing {peer.name} into {home}", err=True)
        rmtree(home, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", "--without-pip", str(home)], *([*pip, *p] for p in peer.packages)):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip().splitlines() or [f"{command[2]} failed"]
                raise ComityError(next((text for text in said if text.startswith("ERROR")), said[-1]))
        complete.write_text(wanted)
        return python


def _run(python: Path, work: Work, elements: int, runs: int) -> tuple[list[float], float]:
    """Each run's seconds at the slowest party, and the memory of the largest."""
    with TemporaryDirectory(prefix="comity-bench-") as folder:
        certify(Path(folder), work.parties)
        ports = free_ports(work.parties)
        jobs = [
            Job(work.group, work.how, me, work.parties, elements, WARM_UPS, runs, folder, ports)
            for me in range(work.parties)
        ]
        commands = [[str(python), "-m", work.peer.module, json.dumps(asdict(job))] for job in jobs]
        said = outputs(commands, ROOT)
    # among a peer's own log
    reports = [json.loads(next(text for text in out.splitlines() if text.startswith("{"))) for out in said]
    slowest = [max(run) for run in zip(*(report["seconds"] for report in reports), strict=True)]
    return slowest, max(report["peak_mb"] for report in reports)


def certify(folder: Path, parties: int) -> None:
    """An authority of this run alone, and what it certifies for each party: files and names as MPyC wants them."""
    day = datetime.now(UTC)
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
        names = [x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder(
                issuer, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key(),
                x509.random_serial_number(), day - timedelta(days=1), day + timedelta(days=1),
            )
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(issuer_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )  # fmt: skip

    keys = folder / ".config"
    keys.mkdir()
    (keys / "mpyc_ca.crt").write_bytes(certificate("benchmark", issuer_key, authority=True))
    for party in range(parties):
        key = ec.generate_private_key(ec.SECP256R1())
        (keys / f"party_{party}.crt").write_bytes(certificate(f"MPyC party {party}", key, authority=False))
        (keys / f"party_{party}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))  # fmt: skip
