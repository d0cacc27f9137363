"""What every command is given, and how each may end."""

from __future__ import annotations

import functools
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from element_rekey.codec import encode
from element_rekey.errors import ElementRekeyError, InvalidInput

from .deployment import DEFAULT_STACK, CommandFailed, Deployment, find
from .exits import Exit
from .pages import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def now() -> datetime:
    """The clock of this machine, in UTC."""
    return datetime.now(UTC)


@dataclass
class Tool:
    """What a command reaches the world by; tests put others in their place."""

    find: Callable[..., Deployment] = find
    clock: Callable[[], datetime] = now
    sleep: Callable[[float], None] = time.sleep
    console: Callable[..., Console] = field(default=functools.partial(Console, highlight=False))


@dataclass
class Given:
    """The options that every command has, and what follows from them."""

    tool: Tool
    stack: str
    local: bool
    as_json: bool

    @functools.cached_property
    def deployment(self) -> Deployment:
        """The deployment. Raises CommandFailed."""
        return self.tool.find(self.stack, local=self.local, clock=self.tool.clock)

    @functools.cached_property
    def console(self) -> Console:
        """Where people read: beside the document where there is one."""
        return self.tool.console(stderr=self.as_json)

    @functools.cached_property
    def page(self) -> Page:
        """The same, with its rows and sentences."""
        return Page(self.console)

    def say(self, document: object) -> None:
        """Print a document on standard output, with two spaces of indent."""
        click.echo(json.dumps(encode(document), indent=2))

    @property
    def options(self) -> str:
        """The options with which another call finds the same deployment."""
        if self.local:
            return " --local"
        return "" if self.stack == DEFAULT_STACK else f" --stack {self.stack}"


_DEPLOYMENT = (
    click.option("--stack", default=DEFAULT_STACK, show_default=True, envvar="ELEMENT_REKEY_STACK", help="The stack."),
    click.option("--local", is_flag=True, help="The deployment that `make up` keeps running on this machine."),
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


def command(call: Callable[..., Exit]) -> Callable[..., None]:
    """A command on a deployment: its exit code is what it returns, or that of the error it ends with."""
    return _with_options(call, (*_DEPLOYMENT, _JSON))


def offline(call: Callable[..., Exit]) -> Callable[..., None]:
    """A command that needs no deployment."""
    return _with_options(call, (_JSON,))


def _with_options(call: Callable[..., Exit], options: Sequence[Callable[..., Any]]) -> Callable[..., None]:
    def with_options(context: click.Context, *, as_json: bool, **more: Any) -> None:  # noqa: ANN401 - of click
        tool = context.ensure_object(Tool)
        stack, local = more.pop("stack", DEFAULT_STACK), more.pop("local", False)
        context.exit(ended(lambda: call(Given(tool, stack, local, as_json), **more)))

    functools.update_wrapper(with_options, call)
    made: Callable[..., None] = click.pass_context(with_options)
    for option in reversed(options):
        made = option(made)
    return made


def ended(call: Callable[[], Exit]) -> Exit:
    """The exit code of a call; what it ended with is one sentence on standard error."""
    try:
        return call()
    except CommandFailed as failed:
        what, code = str(failed), failed.code
    except InvalidInput as refused:
        what, code = refused.what, Exit.USAGE
    except ElementRekeyError as error:
        what, code = f"{error.what} Next: {error.next_step}", Exit.NO_ANSWER
    except (ClientError, BotoCoreError) as error:
        what, code = f"AWS did not do as asked: {error}", Exit.NO_ANSWER
    except KeyboardInterrupt:
        what, code = "Stopped.", Exit.STOPPED
    click.echo(f"element-rekey: {what}", err=True)
    return code
