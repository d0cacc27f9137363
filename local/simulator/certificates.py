"""The TLS side of a simulated cluster: a CA for all of them, a certificate for each, and self-signed ones."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

LOOPBACK = ("127.0.0.1", "::1")
ELEMENT_SUITES = (
    *("DHE-RSA-AES256-SHA256", "DHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    *("DHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
)
"""The mandatory and the default supplemental ones of GetNodeSupportedTlsCiphers."""


@dataclass(frozen=True)
class Identity:
    """A server certificate ready for use, its SHA-256 fingerprint, and the PEM text a client has to trust."""

    context: ssl.SSLContext
    authority_pem: str
    fingerprint: str


def issued(authority: trustme.CA, name: str, folder: Path) -> Identity:
    """A certificate of the CA for the loopback addresses, localhost and the cluster's name."""
    leaf = authority.issue_cert(*LOOPBACK, "localhost", name)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return _identity(chain, leaf.private_key_pem.bytes(), authority.cert_pem.bytes().decode(), folder)


def self_signed(name: str, folder: Path) -> Identity:
    """A certificate that vouches for itself, for the same names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in LOOPBACK]
    names += [x509.DNSName("localhost"), x509.DNSName(name)]
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _identity(pem, private, pem.decode(), folder)


def as_documented(name: str, folder: Path) -> Identity:
    """As documented for Element: RSA-2048, no subjectAltName, no CN, TLS 1.2 with the suites of Element 12.

    https://docs.netapp.com/us-en/element-software/api/reference_element_api_getnodesupportedtlsciphers.html
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "NetApp, Inc."),
            x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, name),
        ]
    )
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    identity = _identity(pem, private, pem.decode(), folder)
    identity.context.maximum_version = ssl.TLSVersion.TLSv1_2
    identity.context.set_ciphers(":".join(ELEMENT_SUITES))
    return identity


def of_key_server(name: str, begins: datetime, days: int) -> str:
    """A certificate as ListKeyServersKmip has them, in PEM; the same arguments give the same one."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .sign(key, None)
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _identity(chain: bytes, private: bytes, authority_pem: str, folder: Path) -> Identity:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The standard library loads a certificate from a file only; it is gone again at once.
    path = folder / "loading.pem"
    path.touch(mode=0o600)
    path.write_bytes(private + chain)
    try:
        context.load_cert_chain(path)
    finally:
        path.unlink()
    der = ssl.PEM_cert_to_DER_cert(
        chain.decode().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    )
    digest = hashlib.sha256(der).hexdigest().upper()
    return Identity(context, authority_pem, ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)))
