"""Random scenarios of one cluster: executions by hand, by schedule and by alarm, every misfortune in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from element_rekey.cluster import KeyManagementType
from element_rekey.outcomes import Trigger
from element_rekey.records import Request
from element_rekey.settings import Settings  # noqa: TC001 - Hypothesis reads the annotations
from local.simulator import Assumptions
from tests.reliability.in_memory_harness import NAME
from tests.reliability.misfortunes import HOUR, OPERATORS, SKEWS, Misfortunes
from tests.reliability.step_harness import SLOW, StepHarness
from tests.workflow.clock import BEGIN

STEPS, EXAMPLES = 40, 60
KEPT_RESULTS = (Assumptions(), Assumptions(kept_result="blocks"))


class RotationTorture(Misfortunes):
    """One cluster."""

    alarm_at = BEGIN

    @initialize(operator=OPERATORS, skew=SKEWS, ahead=st.sampled_from([0, 200]), kept=st.sampled_from(KEPT_RESULTS))
    def begin(self, operator: Settings, skew: timedelta, ahead: int, kept: Assumptions) -> None:
        """What the operator chose, and how far the clocks of cluster and first alarm are ahead of ours."""
        spec = replace(SLOW, clock_skew=skew, assumptions=kept)
        self.use(StepHarness(self.held, "torture", (NAME,), operator, spec))
        self.alarm_at = BEGIN + timedelta(seconds=ahead)

    @rule(dry_run=st.booleans(), external=st.booleans(), force=st.booleans())
    def start_by_hand(self, *, dry_run: bool, external: bool, force: bool) -> None:
        by_hand = Request(NAME, "torture", dry_run=dry_run, force=force, cool_down_seconds=HOUR)
        kept_outside = replace(by_hand, key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
        self._start(kept_outside if external else by_hand)

    @rule(days=st.integers(1, 200))
    def start_by_schedule(self, days: int) -> None:
        after = self.clock() - timedelta(days=days)
        self._start(Request(NAME, trigger=Trigger.SCHEDULE, key_created_after=after))

    @rule(cool_down=st.sampled_from([0, HOUR, 2 * HOUR]), new=st.booleans())
    def raise_an_alarm(self, cool_down: int, *, new: bool) -> None:
        """A new one, or the last one again."""
        self.alarm_at = self.clock() if new else self.alarm_at
        self._start(Request(NAME, trigger=Trigger.ALARM, key_created_after=self.alarm_at, cool_down_seconds=cool_down))

    @precondition(lambda self: self.runner.executions)
    @rule(data=st.data())
    def start_the_same_demand_again(self, data: st.DataObject) -> None:
        self._start(data.draw(st.sampled_from(self.runner.executions)).request)

    def _start(self, request: Request) -> None:
        if len(self.runner.live()) < 4:
            self.runner.start(request)
