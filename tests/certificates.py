"""Certificates in form only, made without a key: as much of X.509 as anybody here reads, the same on every run."""

from __future__ import annotations

from datetime import UTC, datetime


def tlv(tag: int, content: bytes) -> bytes:
    """A value in DER."""
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def bare_certificate(serial: int, not_after: datetime = datetime(2036, 11, 20, tzinfo=UTC)) -> bytes:
    """A certificate (DER) that ends at a moment from 2000 to 2049."""
    validity = tlv(0x17, b"260101000000Z") + tlv(0x17, f"{not_after:%y%m%d%H%M%SZ}".encode())
    members = [tlv(0xA0, tlv(2, b"\x02")), tlv(2, serial.to_bytes(8, "big")), tlv(0x30, b""), tlv(0x30, b"")]
    return tlv(0x30, tlv(0x30, b"".join([*members, tlv(0x30, validity)])))
