"""Registrations, requests and records of a whole fleet to begin a test with."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from element_rekey.outcomes import Outcome, Trigger
from element_rekey.ports import Ports
from element_rekey.records import Execution, Failure, FleetRequest, Registered, Rotation, Selected
from element_rekey.rules.selection import TAG_MAX_KEY_AGE
from element_rekey.settings import FleetSettings
from tests.fakes import NOW, SETTINGS, FakeClock, FakeCluster, FakeClusters, FakeLedger, FakeTopic
from tests.unit.samples import DAY, HOUR, rotated

if TYPE_CHECKING:
    from collections.abc import Collection

MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey"
FLEET_ARN = "arn:aws:states:eu-central-1:123456789012:execution:element-rekey-rotate-fleet:one"
EXECUTION = Execution(FLEET_ARN, NOW)
FLEET = FleetSettings(
    max_key_age=90 * DAY,
    cool_down=HOUR,
    spread=timedelta(minutes=30),
    max_concurrency=1,
    urgent_max_concurrency=500,
    alarm_prefix="element-key-compromise-",
)
SCHEDULED = FleetRequest(trigger=Trigger.SCHEDULE)


def registered(*clusters: str, **tags: str) -> list[Registered]:
    return [Registered(cluster, tuple(tags.items())) for cluster in clusters]


def aged(cluster: str, days: object) -> Registered:
    return Registered(cluster, ((TAG_MAX_KEY_AGE, str(days)),))


class Registrations(FakeClusters):
    """Registrations that a test may change at any time."""

    def __init__(self, *known: Registered) -> None:
        super().__init__({one.cluster: FakeCluster(FakeClock()) for one in known})
        self.known = list(known)

    def registered(self, names: Collection[str] | None = None) -> tuple[Registered, ...]:
        if names is None:
            return tuple(one for one in self.known if one.cluster not in self.unlisted)
        return tuple(one for one in self.known if one.cluster in names)


def fleet_ports(*known: Registered) -> Ports:
    return Ports(Registrations(*known), FakeLedger(), FakeTopic(), FakeClock(), SETTINGS)


def finish(ports: Ports, selected: Selected, outcome: Outcome | None = Outcome.ROTATED, **changes: Any) -> Rotation:  # noqa: ANN401
    """What the rotation of a selected cluster leaves in the ledger."""
    arn = f"{MACHINE.replace(':stateMachine:', ':execution:')}:{selected.execution_name}"
    failure = None if outcome is None or outcome.succeeded else Failure("RekeyFailed", "It ended.", "Mend it.")
    record = rotated(execution=Execution(arn, NOW), cluster=selected.cluster, outcome=outcome, failure=failure)
    return ports.ledger.save(replace(record, **changes))
