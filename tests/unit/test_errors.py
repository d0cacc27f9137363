from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from element_rekey import errors
from element_rekey.errors import ElementApiError, ElementRekeyError
from tests.retries import retried_errors
from tests.template import ROOT, state_machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MACHINES = sorted((ROOT / "statemachines").glob("*.asl.json"))


def tree(error: type[ElementRekeyError] = ElementRekeyError, depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, error.__name__
    for child in error.__subclasses__():
        yield from tree(child, depth + 1)


def drawn() -> Iterator[tuple[int, str]]:
    assert errors.__doc__
    for line in errors.__doc__.splitlines():
        branch = re.match(r"    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)", line)
        if branch:
            yield len(branch[1]) // 4, branch[2]


CLASSES = [getattr(errors, name) for _, name in tree()]


def test_the_drawn_tree_is_the_real_one() -> None:
    assert list(drawn()) == list(tree())
    assert len(CLASSES) > 20


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_says_what_to_do_next(error: type[ElementRekeyError]) -> None:
    message = str(error("It happened.", cluster="prod-a"))
    assert message == f"Cluster prod-a: It happened. Next: {error.next_step}"
    assert error.next_step.endswith((".", "examples."))
    if not error.__subclasses__():
        assert error.next_step != ElementRekeyError.next_step, "a leaf has a next step of its own"


def test_an_error_without_a_cluster_does_not_name_one() -> None:
    assert str(ElementRekeyError("It happened.")).startswith("It happened. Next: ")


def test_an_error_of_the_api_keeps_the_name_the_cluster_gave_it() -> None:
    error = ElementApiError("GetClusterInfo was answered with xUnknownAPIMethod.", name="xUnknownAPIMethod")
    assert error.name == "xUnknownAPIMethod"
    assert ElementApiError("It happened.").name == ""


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.name)
def test_every_error_a_state_machine_retries_exists(path: Path) -> None:
    names = set(retried_errors(json.loads(path.read_text())))
    assert names
    ours = {name for name in names if "." not in name}  # AWS names have one
    assert ours <= {error.__name__ for error in CLASSES}


def test_the_errors_marked_as_retried_are_those_the_rotation_retries() -> None:
    assert errors.__doc__
    marked = set(re.findall(r"(\w+) +[^\n]*\(retried", errors.__doc__))
    ours = {name for name in retried_errors(state_machine()) if "." not in name}
    assert ours == marked
