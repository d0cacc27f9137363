"""What can go wrong with a call to a simulated cluster."""

from __future__ import annotations


class SimulatorError(Exception):
    """The simulator was set up wrongly; the message is one sentence for a person."""


class RpcError(Exception):
    """An error the cluster answers with: `name` and `message` as Element puts them, `code` always 500."""

    code = 500

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name
        # Element often repeats the name where it has nothing to add.
        self.message = message or name

    def to_json(self) -> dict[str, object]:
        """The `error` member of the answer."""
        return {"code": self.code, "name": self.name, "message": self.message}


class CallRefused(Exception):
    """The call was turned away before any method ran: HTTP status 401 or 404."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class AnswerLost(Exception):
    """An injected fault took the answer of a call made without a socket; `applied` says what a client cannot know."""

    def __init__(self, fault: str, *, applied: bool) -> None:
        super().__init__(f"the answer was lost to {fault}")
        self.fault = fault
        self.applied = applied
