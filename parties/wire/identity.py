"""Who a node is: an ECDSA P-256 key and a self-signed certificate that its peers pin, whole, in the shared spec."""

import base64
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mpc.errors import ComityError

VALID_DAYS = 730

# Every certificate carries this one name: who a peer is follows from its whole certificate, never from a name in it.
TLS_NAME = "comity"

# TLS 1.2 suites with forward secrecy and AEAD only; TLS 1.3 has no others, and is what two gRPC nodes agree on.
CIPHERS = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"
os.environ["GRPC_SSL_CIPHER_SUITES"] = CIPHERS

# gRPC's own log on stderr would let any stranger fill the node's.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


@dataclass(frozen=True)
class Identity:
    """A node's own key and certificate, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def der(self) -> bytes:
        return der_of(self.certificate)


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def pem_of(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def one_line(der: bytes) -> str:
    """The certificate as it stands in a spec: base64 of its DER, on one line."""
    return base64.b64encode(der).decode()


def fingerprint(der: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize().hex()


def create(directory: Path, name: str) -> Identity:
    """A new key and certificate in `directory`: key.pem (mode 600) and certificate.pem. Never replaces a key."""
    key_file = directory / "key.pem"
    if key_file.exists():
        raise ComityError(f"{key_file} exists already: an identity is never replaced; choose another folder")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a peer's clock may be behind
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(TLS_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
    directory.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key_pem)
    (directory / "certificate.pem").write_bytes(certificate_pem)
    return Identity(certificate_pem, key_pem)


def load(directory: Path) -> Identity:
    """The identity in `directory`. ComityError where a file is missing, open to others, or the two do not match."""
    key_file, certificate_file = directory / "key.pem", directory / "certificate.pem"
    for file in (key_file, certificate_file):
        if not file.is_file():
            raise ComityError(f"{file} is missing: `comity init {directory} --name ... --address ...` makes it")
    mode = stat.S_IMODE(key_file.stat().st_mode)
    if mode & 0o077:
        raise ComityError(f"{key_file} can be read by others (mode {mode:o}): run `chmod 600 {key_file}`")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        certified = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise ComityError(f"{certificate_file} is not a PEM certificate") from None
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ComityError(f"{key_file} is not an unencrypted PEM key") from None
    if key.public_key() != certified:
        raise ComityError(f"{certificate_file} does not belong to {key_file}")
    check_dates(certificate, str(certificate_file))
    return Identity(certificate_file.read_bytes(), key_file.read_bytes())


def stands_alone(certificate: x509.Certificate) -> bool:
    """Whether it is signed by its own key and may sign no other: else TLS, which takes it as a root, would accept what
    it signed in its stead."""
    try:
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if constraints.ca:
            return False
        return not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid
    except (ValueError, TypeError, InvalidSignature, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False


def check_dates(certificate: x509.Certificate, where: str) -> None:
    """TLS reports a certificate out of date as a closed socket, so dates are checked before dialling."""
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise ComityError(
            f"{where} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: make a new identity with `comity init` "
            "and have all companies approve a spec with it"
        )
    if certificate.not_valid_before_utc > now:
        raise ComityError(f"{where} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: check the clock")


def server_credentials(identity: Identity, clients: Iterable[bytes]) -> grpc.ServerCertificateConfiguration:
    """What a server presents, and the certificates (DER) that clients may present. TLS alone would also accept what
    those clients sign, so a call's certificate is compared byte for byte (see `caller`)."""
    roots = b"".join(map(pem_of, sorted(set(clients))))
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.certificate)], roots)


def client_credentials(identity: Identity, peer: bytes) -> grpc.ChannelCredentials:
    """For dialling the holder of exactly the certificate `peer` (DER): it is the only root."""
    return grpc.ssl_channel_credentials(pem_of(peer), identity.key, identity.certificate)


def caller(context: grpc.ServicerContext) -> bytes | None:
    """The certificate (DER) that the caller of a server presented, whole."""
    # typed by the stubs as integers, in fact bytes
    presented = cast("Mapping[str, list[bytes]]", context.auth_context()).get("x509_pem_cert")
    return der_of(presented[0]) if presented else None
