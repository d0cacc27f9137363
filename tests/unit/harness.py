"""One cluster, one ledger, one topic, and the three steps called in the order of the state machine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from element_rekey.errors import ElementRekeyError
from element_rekey.records import CloseRequest, Execution, Failure, Request, Rotation
from element_rekey.rotation.check import check_status
from element_rekey.rotation.publish import Published, publish_outcome
from element_rekey.rotation.start import start_rekey
from element_rekey.rotation.steps import Status, Step
from tests.fakes import FakeClock, FakeCluster, FakeLedger, FakeTopic, fake_ports
from tests.retries import RetryCounter
from tests.template import CHECK, PUBLISH, START
from tests.unit.samples import execution

if TYPE_CHECKING:
    from collections.abc import Callable

    from element_rekey.cluster import ElementError
    from element_rekey.ports import Ports

T = TypeVar("T")

STEPS = 300
REKEY_TAKES = timedelta(seconds=40)


@dataclass
class RotationHarness:
    clock: FakeClock = field(default_factory=FakeClock)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    topic: FakeTopic = field(default_factory=FakeTopic)
    cluster: FakeCluster = field(init=False)
    ports: Ports = field(init=False)
    execution: Execution = field(default_factory=execution)
    request: Request = field(default_factory=lambda: Request("prod-a"))
    finish_with: ElementError | None = None
    finish_with_new_key: bool = False
    """Whether a rekey that ends with an error has changed the keys before."""

    def __post_init__(self) -> None:
        self.cluster = FakeCluster(self.clock)
        self.ports = fake_ports(self.clock, self.ledger, self.topic, self.cluster)

    def start(self) -> Step:
        return start_rekey(self.ports, self.execution, self.request)

    def check(self) -> Step:
        return check_status(self.ports, self.execution)

    def publish(self, failure: Failure | None = None) -> Published:
        return publish_outcome(self.ports, CloseRequest(self.execution, self.request, failure, self.request.cluster))

    def record(self) -> Rotation:
        kept = self.ledger.rotation(self.execution)
        assert kept
        return kept

    def change_record(self, **changes: Any) -> Rotation:  # noqa: ANN401 - members of Rotation
        return self.ledger.save(replace(self.record(), **changes))

    def another(self, arn: str, **changes: Any) -> RotationHarness:  # noqa: ANN401 - members of Request
        """A second execution in the same harness, begun now."""
        other = replace(self, execution=Execution(arn, self.clock.now), request=replace(self.request, **changes))
        other.cluster, other.ports = self.cluster, self.ports
        return other

    def run(self) -> Rotation:
        """The state machine from its start to its end, with its retries and waits; the clock passes by them."""
        try:
            self._until_ended()
        except ElementRekeyError as error:
            failure = Failure(type(error).__name__, error.what, error.next_step)
            return self._retried(PUBLISH, lambda: self.publish(failure)).rotation
        return self._retried(PUBLISH, self.publish).rotation

    def _until_ended(self) -> None:
        step = self._retried(START, self.start)
        for _ in range(STEPS):
            match step.status:
                case Status.PUBLISH:
                    return
                case Status.START_AGAIN | Status.CHECK_AGAIN:
                    self._wait(step.wait_seconds)
            again = step.status is Status.START_AGAIN
            step = self._retried(START, self.start) if again else self._retried(CHECK, self.check)
        raise AssertionError(f"The rotation does not end: {step}")

    def _retried(self, function: str, step: Callable[[], T]) -> T:
        retries = RetryCounter()
        while True:
            try:
                return step()
            except ElementRekeyError as error:
                wait = retries.next_wait(function, type(error).__name__)
                if wait is None:
                    raise
                self._wait(wait)

    def _wait(self, seconds: float) -> None:
        """Let time pass; a rekey that has run long enough ends meanwhile."""
        self.clock.advance(seconds)
        for job in self.cluster.jobs.values():
            running_since = (job.create_time or self.clock.now) - self.cluster.skew
            if job.async_handle == self.cluster.handle and not job.complete:
                if self.clock.now >= running_since + REKEY_TAKES:
                    replaced = self.finish_with is None or self.finish_with_new_key
                    self.cluster.finish(self.finish_with, replaced=replaced)
                return
