"""The application's own package, whose folder is a layer and not on the search path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

LAYER = Path(__file__).parents[1] / "layers" / "element_rekey"

if TYPE_CHECKING:
    from collections.abc import Mapping


def in_plain_words(document: Mapping[str, object]) -> str:
    """The e-mail that goes with a published rotation."""
    _find_layer()
    from element_rekey.codec import decode  # noqa: PLC0415 - after the path is set
    from element_rekey.notifications import Notification, plain_words  # noqa: PLC0415 - likewise

    return plain_words(decode(Notification, dict(document), strict=False))


def summary_in_plain_words(document: Mapping[str, object]) -> str:
    """The e-mail that goes with a published summary of a fleet run."""
    _find_layer()
    from element_rekey.codec import decode  # noqa: PLC0415 - after the path is set
    from element_rekey.summary import Summary, summary_in_words  # noqa: PLC0415 - likewise

    return summary_in_words(decode(Summary, dict(document), strict=False))


def _find_layer() -> None:
    if str(LAYER) not in sys.path:
        sys.path.append(str(LAYER))
