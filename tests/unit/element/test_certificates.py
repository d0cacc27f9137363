from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.element.certificates import expires, fingerprint, from_pem
from tests.certificates import bare_certificate, tlv

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
BEGIN = datetime(2019, 1, 1, tzinfo=UTC)
NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


def made(not_after: datetime, name: str = "cluster") -> x509.Certificate:
    """By the library that everybody uses."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(KEY.public_key())
    return builder.serial_number(1).not_valid_before(BEGIN).not_valid_after(not_after).sign(KEY, None)


@given(st.integers(0, 80 * 365 * 86_400), st.integers(1, 64))
def test_the_end_of_a_certificate_is_read_as_others_read_it(seconds: int, length: int) -> None:
    one = made(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds), "n" * length)
    der = one.public_bytes(Encoding.DER)
    assert expires(der) == one.not_valid_after_utc
    assert fingerprint(der) == sha256(der).hexdigest()


def test_the_end_of_a_certificate_of_an_authority_is_read() -> None:
    leaf = trustme.CA().issue_cert("127.0.0.1", not_after=NOON)
    pem = b"".join(blob.bytes() for blob in leaf.cert_chain_pems).decode()
    assert [expires(der) for der in from_pem(f"text before\n{pem}and after")] == [NOON]


@pytest.mark.parametrize("year", [2101, 9999])
def test_an_end_that_nobody_can_mean_is_none(year: int) -> None:
    never = made(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert expires(never.public_bytes(Encoding.DER)) is None


TIMES = (tlv(0x17, b"260101000000Z"), tlv(0x17, b"360101000000Z"))


def shaped(*validity: bytes, before: int = 3, tag: int = 0x30) -> bytes:
    body = tlv(2, b"\x01") * before + tlv(0x30, b"".join(validity))
    return tlv(tag, tlv(0x30, body))


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30",
        b"\x30\x84",
        b"\x30\x80\x00",  # of no definite length
        b"\x30\x85\x01\x00\x00\x00\x00",  # of a length nobody has
        b"no certificate",
        bare_certificate(1)[:-1],
        shaped(*TIMES, tag=0x31),
        shaped(*TIMES, before=2),
        shaped(TIMES[0]),
        shaped(*TIMES, *TIMES),
        shaped(TIMES[0], tlv(0x04, b"360101000000Z")),
        shaped(TIMES[0], tlv(0x17, b"3601010000Z")),
        shaped(TIMES[0], tlv(0x17, b"361301000000Z")),  # a month 13
        shaped(TIMES[0], tlv(0x18, b"360101000000Z")),
    ],
)
def test_what_is_no_certificate_ends_at_no_time(der: bytes) -> None:
    assert expires(der) is None


@given(st.binary(max_size=64), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_are_too_odd(noise: bytes, at: int, byte: int) -> None:
    der = bytearray(made(NOON).public_bytes(Encoding.DER))
    der[at % len(der)] = byte
    for odd in (noise, bytes(der), bytes(der[:at])):
        found = expires(odd)
        assert found is None or found.tzinfo is UTC


def test_a_time_without_a_century_is_of_ours_below_fifty() -> None:
    assert expires(shaped(TIMES[0], tlv(0x17, b"491231235959Z"))) == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert expires(shaped(TIMES[0], tlv(0x17, b"500101000000Z"))) is None


@pytest.mark.parametrize("text", ["", "none", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----"])
def test_a_text_without_certificates_has_none(text: str) -> None:
    assert list(from_pem(text)) == []
