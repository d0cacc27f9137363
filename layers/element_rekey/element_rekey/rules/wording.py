"""The words in which rules say what was decided; records keep them, notifications quote them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.cluster import ElementError, Unfamiliar
    from element_rekey.records import Following, KeptResult, KeyChange


def at_time(moment: datetime) -> str:
    """A moment for people, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def key_replaced(change: KeyChange) -> str:
    """One sentence on a change of keys."""
    return f"Key {change.old_key.key_id} was replaced by {change.new_key.key_id}."


def in_spite_of(warnings: tuple[str, ...]) -> str:
    """The end of a sentence on what is done although there are warnings."""
    return f" in spite of {', '.join(warnings)}" if warnings else ""


def quoted(unfamiliar: tuple[Unfamiliar, ...]) -> str:
    """The end of a sentence on an answer, with what could not be interpreted in it."""
    return "".join(f"; {one.member} is {one.value}" for one in unfamiliar)


def error_text(error: ElementError) -> str:
    """An error as the cluster words it."""
    return f"{error.name}: {error.message}"


def result_released(kept: KeptResult) -> str:
    """A further sentence on a rekey that was sent once more."""
    handle = kept.job.async_handle
    return f" It was refused at first; the cluster kept the result of rekey {handle}, which this record holds now."


def somebody_elses(following: Following) -> str:
    """One sentence on a rekey we did not begin."""
    return f"Following rekey {following.async_handle}, begun by somebody else."
