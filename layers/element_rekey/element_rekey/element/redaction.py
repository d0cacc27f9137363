"""What a cluster says, without our credentials: servers and what stands before them echo requests in many spellings."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from html.entities import html5

from element_rekey.text import one_line

_HIDDEN = "***"
_PADDING = "(?:=|%3d){0,2}"  # of Base64; not every encoder writes it


class Redaction:
    """Takes the credentials of one registration out of any text, and puts the text on one line.

    Found are the password and the token of HTTP Basic authentication, in any case, and each of their characters also as
    URLs, HTML and JSON write it. The same text always becomes the same, and what differed outside of a credential still
    does, so that ids can be compared as they are shown.
    """

    def __init__(self, username: str, password: str) -> None:
        """Look for what belongs to these."""
        encoded = (b64encode(text.encode()).decode() for text in (f"{username}:{password}", password))
        tokens = {token.rstrip("=") for token in encoded}
        cases = {password, password.upper(), password.lower(), one_line(password)}
        secrets = sorted(filter(None, tokens | cases), key=lambda secret: (-len(secret), secret))  # the longest wins
        patterns = ("".join(map(_spellings, secret)) + (_PADDING if secret in tokens else "") for secret in secrets)
        self._secrets = re.compile("|".join(patterns), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """The text on one line, with asterisks for each credential; looked for again, since lines can hide one."""
        return self._hide(one_line(self._hide(text)))

    def __repr__(self) -> str:
        """Show nothing."""
        return "Redaction(…)"

    def _hide(self, text: str) -> str:
        return self._secrets.sub(_HIDDEN, text)


@lru_cache(maxsize=256)
def _spellings(character: str) -> str:
    """A pattern for a character as itself, in a URL, in HTML and in JSON."""
    number, utf_16 = ord(character), character.encode("utf-16-be").hex()
    spellings = [
        re.escape(character),
        "".join(f"%{byte:02x}" for byte in character.encode()),
        f"&#0{{0,6}}{number};",
        f"&#x0{{0,6}}{number:x};",
        "".join(rf"\\u{utf_16[at : at + 4]}" for at in range(0, len(utf_16), 4)),
        *(f"&{re.escape(name)}" for name, value in html5.items() if value == character and name.endswith(";")),
        *([r"\+"] if character == " " else []),
        *([r'\\"'] if character == '"' else []),
        *([r"\\\\"] if character == "\\" else []),
    ]
    return f"(?:{'|'.join(spellings)})"
