"""The exit codes, one for each kind of end; ``docs/command.md`` has the same table."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from element_rekey.outcomes import Outcome

if TYPE_CHECKING:
    from typing import Self


class Exit(IntEnum):
    """How the command ended."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A code that carries what it means."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "It went as asked, and nothing is open."
    OPEN = 1, "Something is open, or a rotation or a fleet run failed."
    USAGE = 2, "The command line or the request is wrong; nothing was started."
    NO_ANSWER = 3, "No answer of AWS, or no such deployment: nothing is known."
    NOT_FOUND = 4, "The cluster, execution or entry that was named does not exist."
    REFUSED = 5, "A dry run found that a rotation would be refused."
    UNKNOWN = 6, "A rekey was sent and its outcome is not known: element-rekey again."
    STILL_RUNNING = 7, "The rekey was still running at the deadline: element-rekey again."
    WITH_ERROR = 8, "The key was replaced, but its job reported an error."
    STOPPED = 130, "Ctrl-C stopped the watching, not the rotation."


_OF_OUTCOME = {
    Outcome.WOULD_BE_REFUSED: Exit.REFUSED,
    Outcome.OUTCOME_UNKNOWN: Exit.UNKNOWN,
    Outcome.OVERDUE: Exit.STILL_RUNNING,
    Outcome.ROTATED_WITH_ERROR: Exit.WITH_ERROR,
}


def exit_of(outcome: Outcome | None) -> Exit:
    """The exit code of a rotation that ended so; None: it was closed without anybody knowing."""
    if outcome is None:
        return Exit.UNKNOWN
    return _OF_OUTCOME.get(outcome, Exit.DONE if outcome.succeeded else Exit.OPEN)
