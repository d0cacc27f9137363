"""Two registrations of one cluster: whatever order their executions make their steps in, one of them is locked out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from element_rekey.errors import ElementRekeyError
from element_rekey.outcomes import Outcome
from element_rekey.records import Execution, Failure, Request
from element_rekey.rotation.steps import Status
from tests.fakes import FakeClusters
from tests.unit.harness import RotationHarness
from tests.unit.samples import ARN, UUID

NAMES = ("prod-a", "prod-a-too")
CALLS = ("check_api_version", "version", "faults", "encryption", "identity", "rekey")
ENDED = Failure("ExecutionAborted", "Stopped.", "Start again.")

starts = st.tuples(st.just("start"), st.sampled_from(NAMES), st.booleans())
steps = st.tuples(st.just("step"), st.integers(0, 5), st.none() | st.tuples(st.sampled_from(CALLS), st.integers(0, 5)))
others = st.sampled_from([("wait", 5, None), ("wait", 130, None), ("wait", 1000, None), ("finish", 0, None)])
stops = st.tuples(st.just("stop"), st.integers(0, 5), st.none())


@dataclass
class TwoNames:
    """One cluster under two names, and executions that ask for a new key under either."""

    first: RotationHarness = field(default_factory=RotationHarness)
    executions: list[RotationHarness] = field(default_factory=list)
    at_work: list[RotationHarness] = field(default_factory=list)
    ended: list[RotationHarness] = field(default_factory=list)

    def __post_init__(self) -> None:
        cluster = self.first.cluster
        self.first.ports = replace(self.first.ports, clusters=FakeClusters(dict.fromkeys(NAMES, cluster)))
        send = cluster.rekey

        def watched(*given: object) -> int:
            self.must_be_alone()
            return send(*given)  # type: ignore[arg-type]  # what it is called with

        cluster.rekey = watched  # type: ignore[method-assign, assignment]  # so that each rekey is looked at

    def must_be_alone(self) -> None:
        """A rekey is sent under the name that has the cluster, while nobody holds the lock of the other one."""
        name = self.at_work[-1].request.cluster
        (other,) = set(NAMES) - {name}
        ledger, now = self.first.ledger, self.first.clock.now
        assert ledger.owner(UUID) == name
        held = ledger.lock(other)
        sent = {one.execution.id for one in self.executions if one.request.cluster == other and self.may_run(one)}
        assert held is None or held.lease_until <= now or held.owner not in sent, "two names, two rekeys"

    def may_run(self, one: RotationHarness) -> bool:
        """Whether an execution has sent a rekey, and its end is not known."""
        record = self.first.ledger.rotation(one.execution)
        return bool(record and record.intent and record.outcome in (None, Outcome.OUTCOME_UNKNOWN))

    def start(self, name: str, *, consents: bool) -> None:
        """Begin an execution."""
        execution = Execution(f"{ARN}-{len(self.executions)}", self.first.clock.now)
        request = Request(name, accept_cluster_uuid=UUID if consents else "")
        self.executions.append(replace_execution(self.first, execution, request))

    def step(self, number: int, meanwhile: tuple[str, int] | None) -> None:
        """Let an execution make its next step; before one of its calls, another one makes a whole step."""
        one = self.executions[number % len(self.executions)]
        if one in self.ended or one in self.at_work:
            return
        if meanwhile:
            method, other = meanwhile
            self.first.cluster.before[method] = lambda: self.step(other, None)
        self.at_work.append(one)
        record = self.first.ledger.rotation(one.execution)
        try:
            step = one.check() if record and record.following else one.start()
            if step.status is Status.PUBLISH:
                self.stop(number, None)
        except ElementRekeyError as error:
            event(type(error).__name__)
        finally:
            self.at_work.pop()
            self.first.cluster.before.clear()

    def stop(self, number: int, failure: Failure | None = ENDED) -> None:
        """End an execution: it is closed, and its lock is freed."""
        one = self.executions[number % len(self.executions)]
        if one not in self.ended:
            self.ended.append(one)
            with suppress(ElementRekeyError):
                one.publish(failure)


def replace_execution(harness: RotationHarness, execution: Execution, request: Request) -> RotationHarness:
    """Another execution in the same harness."""
    other = replace(harness, execution=execution, request=request)
    other.cluster, other.ports = harness.cluster, harness.ports
    return other


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(st.one_of(starts, steps, steps, steps, others, stops), min_size=1, max_size=40))
def test_a_rekey_is_sent_under_one_name_alone(actions: list[tuple[str, object, object]]) -> None:
    both = TwoNames()
    both.start(NAMES[0], consents=False)
    both.start(NAMES[1], consents=True)
    for what, given_, more in actions:
        match what, given_, more:
            case "start", str(name), bool(consents):
                both.start(name, consents=consents)
            case "step", int(number), tuple() | None as meanwhile:
                both.step(number, meanwhile)
            case "stop", int(number), _:
                both.stop(number)
            case "wait", int(seconds), _:
                both.first.clock.advance(seconds)
            case _:
                job = both.first.cluster.jobs.get(both.first.cluster.handle or 0)
                if job and not job.complete:
                    both.first.cluster.finish()
    remembered = [name for name in NAMES if (memory := both.first.ledger.memory(name)) and memory.claimed]
    assert len(remembered) <= 1
