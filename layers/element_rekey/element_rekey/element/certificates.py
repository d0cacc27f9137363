"""What a certificate says of its end: a reader of the one member of X.509 that is needed here.

No I/O, and no check of anything: whether a certificate is trusted is for ``transport``, or for the cluster. Python's
``ssl`` does not read a certificate that it was told not to verify, and a library for the rest of X.509 would be the
largest part of the layer. https://www.rfc-editor.org/rfc/rfc5280#section-4.1
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from element_rekey.moments import is_plausible

if TYPE_CHECKING:
    from collections.abc import Iterator

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_FORMATS: Final = {_UTC_TIME: re.compile(rb"[0-9]{12}Z"), _GENERALIZED_TIME: re.compile(rb"[0-9]{14}Z")}
_BEFORE_VALIDITY: Final = 3  # serialNumber, signature, issuer
_LONG_FORM: Final = 0x80
_MOST_LENGTH_BYTES: Final = 4
_FIRST_OF_1900: Final = 50  # a UTCTime of 50 or more is one of the last century


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER), in hexadecimal."""
    return sha256(certificate).hexdigest()


def expires(certificate: bytes) -> datetime | None:
    """``notAfter`` of a certificate (DER); None where it cannot be read, or is a time for never, such as year 9999."""
    try:
        body = _content(_content(certificate, _SEQUENCE), _SEQUENCE)
        members = [(tag, content) for tag, content in _members(body) if tag != _VERSION]
        validity = members[_BEFORE_VALIDITY]
        _, not_after = _members(validity[1])
        moment = _time(*not_after)
    except (ValueError, IndexError):
        return None
    return moment if is_plausible(moment) else None


def from_pem(text: str) -> Iterator[bytes]:
    """Each certificate (DER) in a text of PEM; what is none is passed over."""
    for encoded in _PEM.findall(text):
        try:
            yield b64decode("".join(encoded.split()), validate=True)
        except binascii.Error:
            continue


def _members(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value in a row. Raises ValueError, IndexError."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length >= _LONG_FORM:
            size = length - _LONG_FORM
            if not 0 < size <= _MOST_LENGTH_BYTES:
                raise ValueError("no length of DER")
            length, at = int.from_bytes(der[at : at + size]), at + size
        content = der[at : at + length]
        if len(content) < length:
            raise ValueError("cut off")
        yield tag, content
        at += length


def _content(der: bytes, tag: int) -> bytes:
    found, content = next(_members(der), (None, b""))
    if found != tag:
        raise ValueError("not what was expected")
    return content


def _time(tag: int, text: bytes) -> datetime:
    form = _FORMATS.get(tag)
    if form is None or not form.fullmatch(text):
        raise ValueError("no time")
    digits = text.decode()
    if tag == _UTC_TIME:
        digits = ("19" if int(digits[:2]) >= _FIRST_OF_1900 else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
