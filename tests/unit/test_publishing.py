"""Publishing an ended execution, once. Every rule here holds for rotations and for fleet runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey.errors import AwsCallFailed, ExecutionAborted, LedgerConflict
from element_rekey.fleet.select import select_clusters
from element_rekey.fleet.summarize import summarize_fleet
from element_rekey.publishing import CLAIM
from element_rekey.records import CloseRequest, Failure, FleetRequest, FleetRun, Request, Rotation
from element_rekey.rotation.publish import publish_outcome
from element_rekey.rotation.start import start_rekey
from tests.fakes import SETTINGS, FakeClock, FakeTopic
from tests.unit.fleet_samples import EXECUTION, FLEET, MACHINE, fleet_ports, registered
from tests.unit.samples import SECOND, execution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from element_rekey.ports import Ports

ABORTED = Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step)
LATER_WORD = Failure("Other", "Other.", "Other.")


class Died(Exception):
    """What stops a function without a word; no code of the application sees it."""


@dataclass
class Publication:
    """An ended execution that nobody has published yet."""

    ports: Ports
    close: Callable[[Ports, Failure], bool]
    """Close and publish it; whether this call published."""
    record: Callable[[Ports], Rotation | FleetRun | None]
    read: str
    """The ledger's method that reads its record."""
    save: str
    """The ledger's method that writes its record."""
    send: str
    """The topic's method that publishes it."""

    @property
    def clock(self) -> FakeClock:
        assert isinstance(self.ports.clock, FakeClock)
        return self.ports.clock

    @property
    def topic(self) -> FakeTopic:
        assert isinstance(self.ports.topic, FakeTopic)
        return self.ports.topic

    def publish(self, failure: Failure = ABORTED) -> bool:
        return self.close(self.ports, failure)

    def kept(self) -> Rotation | FleetRun:
        kept = self.record(self.ports)
        assert kept
        return kept

    def published(self) -> Sequence[Rotation | FleetRun]:
        """What the topic took, in the order of time."""
        return [*self.topic.published, *(run for run, _ in self.topic.summaries)]

    def settle_after(self, settling: timedelta) -> None:
        self.ports = replace(self.ports, settings=replace(SETTINGS, settling=settling))


def of_a_rotation() -> Publication:
    ports, request = fleet_ports(*registered("prod-a")), Request("prod-a")
    start_rekey(ports, execution(), request)

    def close(ports: Ports, failure: Failure) -> bool:
        return publish_outcome(ports, CloseRequest(execution(), request, failure, "prod-a")).published_now

    return Publication(ports, close, lambda ports: ports.ledger.rotation(execution()), "rotation", "save", "publish")


def of_a_fleet_run() -> Publication:
    ports, request = fleet_ports(*registered("prod-a")), FleetRequest()
    select_clusters(ports, FLEET, EXECUTION, request)

    def close(ports: Ports, failure: Failure) -> bool:
        return summarize_fleet(ports, MACHINE, CloseRequest(EXECUTION, request, failure)).published_now

    return Publication(
        ports,
        close,
        lambda ports: ports.ledger.fleet_run(EXECUTION),
        "fleet_run",
        "save_fleet_run",
        "publish_summary",
    )


@pytest.fixture(params=[of_a_rotation, of_a_fleet_run], ids=["rotation", "fleet run"])
def publication(request: pytest.FixtureRequest) -> Publication:
    made: Publication = request.param()
    return made


SETTLINGS = pytest.mark.parametrize("settling", [1, 120, 3600], ids=lambda seconds: f"{seconds} s")


def test_an_ended_execution_is_published_once(publication: Publication) -> None:
    assert publication.publish()
    assert not publication.publish(LATER_WORD)
    (published,) = publication.published()
    assert published.failure == publication.kept().failure == ABORTED
    assert publication.kept().notified_at == publication.clock.now


# --- a publication that fails ---


@SETTLINGS
def test_a_publication_that_fails_gives_its_claim_back_and_the_next_attempt_publishes_at_once(
    publication: Publication, settling: int
) -> None:
    publication.settle_after(timedelta(seconds=settling))
    publication.topic.failures = 2
    for _ in range(2):
        with pytest.raises(AwsCallFailed, match="SNS did not publish"):
            publication.publish()
        assert publication.kept().publishing_until is None
        assert publication.kept().notified_at is None
    ended_at = publication.kept().ended_at
    publication.clock.advance(1)
    assert publication.publish(LATER_WORD)
    assert (publication.kept().ended_at, publication.kept().failure) == (ended_at, ABORTED), "the first word counts"
    assert len(publication.published()) == 1


def test_a_publisher_that_failed_at_both_topic_and_ledger_is_waited_for_as_if_it_had_died(
    publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication.topic.failures = 1
    real = getattr(publication.ports.ledger, publication.save)

    def broken(record: Rotation | FleetRun) -> object:
        if record.publishing_until is None:
            raise AwsCallFailed("DynamoDB did not answer.")
        return real(record)

    with monkeypatch.context() as patch:
        patch.setattr(publication.ports.ledger, publication.save, broken)
        with pytest.raises(AwsCallFailed):
            publication.publish()
    with pytest.raises(LedgerConflict):
        publication.publish()
    publication.clock.advance(CLAIM.total_seconds())
    assert publication.publish()
    assert len(publication.published()) == 1


# --- a publisher that dies ---


@SETTLINGS
def test_a_publisher_that_died_is_waited_for_a_hundred_and_twenty_seconds_and_no_longer(
    publication: Publication, settling: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the settling time: the state machines retry those who wait for 180 seconds at least."""
    publication.settle_after(timedelta(seconds=settling))

    def dying(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(publication.topic, publication.send, dying)
        with pytest.raises(Died):
            publication.publish()
    died_at = publication.clock.now
    assert publication.kept().publishing_until == died_at + 120 * SECOND
    publication.clock.advance(119)
    with pytest.raises(LedgerConflict, match="Another invocation is publishing this outcome"):
        publication.publish()
    publication.clock.advance(1)
    assert publication.publish(LATER_WORD)
    assert (publication.kept().ended_at, publication.kept().failure) == (died_at, ABORTED), "the first word counts"
    assert publication.kept().notified_at == died_at + 120 * SECOND
    assert len(publication.published()) == 1


def test_an_answer_lost_between_the_topic_and_the_ledger_is_published_again_under_the_same_id(
    publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: the alternative would be to notify nobody."""
    real = getattr(publication.ports.ledger, publication.save)

    def broken(record: Rotation | FleetRun) -> object:
        if record.notified_at:
            raise AwsCallFailed("DynamoDB did not answer.")
        return real(record)

    with monkeypatch.context() as patch:
        patch.setattr(publication.ports.ledger, publication.save, broken)
        with pytest.raises(AwsCallFailed):
            publication.publish()
    publication.clock.advance(CLAIM.total_seconds())
    publication.publish()
    assert [record.execution.id for record in publication.published()] == [publication.kept().execution.id] * 2


@pytest.mark.parametrize("method", ["read", "save"])
@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_publication_that_breaks_at_the_ledger_can_be_repeated(
    publication: Publication, method: str, *, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = getattr(publication, method)
    real = getattr(publication.ports.ledger, called)

    def broken(*arguments: object) -> object:
        if written:
            real(*arguments)
        raise AwsCallFailed("DynamoDB did not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(publication.ports.ledger, called, broken)
        with pytest.raises(AwsCallFailed):
            publication.publish()
    publication.clock.advance(CLAIM.total_seconds())
    publication.publish()
    assert len(publication.published()) == 1
    assert publication.kept().notified_at


# --- two at once ---


def test_while_one_publishes_a_second_one_waits(publication: Publication, monkeypatch: pytest.MonkeyPatch) -> None:
    real, waited = getattr(publication.topic, publication.send), []

    def meanwhile(*published: object) -> None:
        with pytest.raises(LedgerConflict, match="Another invocation is publishing") as caught:
            publication.publish()
        waited.append(caught.value.cluster)
        real(*published)

    monkeypatch.setattr(publication.topic, publication.send, meanwhile)
    assert publication.publish()
    assert waited == ["prod-a" if isinstance(publication.kept(), Rotation) else ""]
    assert len(publication.published()) == 1


def test_of_two_publishers_at_once_only_one_publishes(
    publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read an open record; the first one to write closes it."""
    read = getattr(publication.ports.ledger, publication.read)

    def read_and_be_late(execution_id: str) -> object:
        found = read(execution_id)
        monkeypatch.setattr(publication.ports.ledger, publication.read, read)
        publication.publish()
        return found

    monkeypatch.setattr(publication.ports.ledger, publication.read, read_and_be_late)
    with pytest.raises(LedgerConflict):
        publication.publish()
    assert len(publication.published()) == 1
