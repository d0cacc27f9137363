"""Lost answers that somebody else's rekey came into: nothing is told that nobody can know. Directed, since rare."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.model import Request
from local.simulator import Fault
from tests.reliability.light import NAME, REKEY
from tests.reliability.player import Game, Played
from tests.reliability.sabotage import Moment, Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELD_BACK = Fault("applyDelay", method=REKEY, seconds=50.0)
THEIRS = Fault("competingRekey", seconds=20.0)


class Scene(Game):
    """A game with one execution."""

    def __init__(self, held: ExitStack) -> None:
        super().__init__(held, "lost")
        self.one = self.player.start(Request(NAME))

    def run(self, one: Played) -> dict[str, Any]:
        """Play an execution to its end; what was told of it."""
        while not one.ended:
            self.player.step(one)
        (told,) = self.board.of(one.arn)
        return told


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as held:
        yield Scene(held)


def held_back(scene: Scene) -> None:
    """The cluster carries ours out only after somebody else's, which is over by then."""
    scene.cluster.inject(HELD_BACK)
    scene.player.step(scene.one)
    scene.time.pass_by(1)
    scene.cluster.inject(THEIRS)


def held_back_and_read_away(scene: Scene) -> None:
    """As above, and somebody reads the other one's result away before we look."""
    held_back(scene)
    scene.time.pass_by(22)
    scene.cluster.call("GetAsyncResult", {"asyncHandle": scene.cluster.rekeys[-1].handle})


def sent_by_a_zombie(scene: Scene) -> None:
    """The function hangs before it sends; its retry takes somebody else's for ours; then it wakes up and sends."""
    about_to_send = next(number for number in itertools.count(1) if intends_after(number))
    scene.player.step(scene.one, Point(about_to_send, Moment.AFTER), hang=True)
    scene.time.pass_by(1)
    scene.cluster.inject(THEIRS)
    scene.player.step(scene.one)
    scene.time.pass_by(10)
    scene.player.wake(scene.player.zombies[0])


def intends_after(number: int) -> bool:
    """Whether a StartRekey that dies after so many side effects has written its intent down."""
    with ExitStack() as held:
        scene = Scene(held)
        scene.player.step(scene.one, Point(number, Moment.AFTER))
        record = scene.ledger.rotation(scene.one.arn)
        return record is not None and record.intent is not None


@pytest.mark.parametrize("happens", [held_back, held_back_and_read_away, sent_by_a_zombie])
def test_what_came_after_a_rekey_taken_for_ours_is_not_told_as_ended(
    scene: Scene, happens: Callable[[Scene], None]
) -> None:
    happens(scene)
    told = scene.run(scene.one)
    ours = [rekey for rekey in scene.cluster.rekeys if rekey.own]
    assert len(ours) == 1
    assert (told["outcome"], told["error"]) == ("OutcomeUnknown", "RekeyOutcomeUnknown")
    again = scene.run(scene.player.start(Request(NAME, key_created_after=scene.one.execution.started_at)))
    assert again["outcome"] in {"Followed", "NotDue"}
    assert [rekey for rekey in scene.cluster.rekeys if rekey.own] == ours
    assert scene.ledger.lock(NAME) is None
