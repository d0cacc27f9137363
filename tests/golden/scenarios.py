"""What is played for the golden files: every outcome and every wait, of single clusters and of fleets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from local.simulator import Assumptions, ProviderSpec
from tests.golden.harness import BEGIN, ClusterSpec, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.golden.harness import GoldenHarness

A = ClusterSpec(name="prod-a", rekey_seconds=8.0, seed="golden")
B = ClusterSpec(name="prod-b", rekey_seconds=8.0, seed="golden", key_age=timedelta(days=10))
C = ClusterSpec(name="prod-c", rekey_seconds=8.0, seed="golden", key_age=timedelta(days=40))
REKEY, RESULT = "RekeySoftwareEncryptionAtRestMasterKey", "GetAsyncResult"
SCENARIOS: dict[str, Scenario] = {}
"""By the name of their files."""


def scenario(
    *clusters: ClusterSpec, history_days: int = 0
) -> Callable[[Callable[[GoldenHarness], None]], Callable[[GoldenHarness], None]]:
    """Have a function played on these clusters; on one usual one if none is given."""

    def known(play: Callable[[GoldenHarness], None]) -> Callable[[GoldenHarness], None]:
        SCENARIOS[play.__name__.replace("_", "-")] = Scenario(play, clusters or (A,), history_days)
        return play

    return known


def ago(**given: float) -> str:
    """So long before everything began."""
    return (BEGIN - timedelta(**given)).isoformat()


def rotation(**members: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """An input for one rotation."""
    return {"cluster": "prod-a", **members}


EXTERNAL = {"keyManagementType": "External", "keyProviderID": 15}


# -- one cluster that ends well ---------------------------------------------------------------------------------------


@scenario()
def rotated_by_hand(here: GoldenHarness) -> None:
    here.run(rotation(reason="quarterly rotation", requestedBy="j.doe"))


@scenario(
    replace(A, assumptions=Assumptions(result_shape="words", result_type="SearRekey", no_rekey="zero", numbers="texts"))
)
def rotated_on_a_cluster_with_unfamiliar_answers(here: GoldenHarness) -> None:
    here.run(rotation())


@scenario(replace(A, assumptions=Assumptions(kept_result="blocks", result_type="SearRekey")))
def rotated_after_the_last_result_was_released(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("phaseFailure", phase="DecommissionOldMasterKey"))
    here.run(rotation())
    here.run(rotation())
    here.run(rotation())


@scenario(history_days=400)
def rotated_to_an_external_key_and_back(here: GoldenHarness) -> None:
    here.run(rotation(**EXTERNAL, reason="schlüssel \N{EM DASH} audit"))
    here.run(rotation(keyManagementType="Internal"))


@scenario(ClusterSpec(name="prod-a", rekey_seconds=8.0, seed="golden", key_provider_id=15))
def rotated_under_the_same_provider(here: GoldenHarness) -> None:
    here.run(rotation())


@scenario(ClusterSpec(name="prod-a", rekey_seconds=8.0, seed="golden", cluster_faults=("nodeOffline",)))
def rotated_on_an_alarm_in_spite_of_a_fault(here: GoldenHarness) -> None:
    here.run(rotation(trigger="alarm", coolDownSeconds=3600, keyCreatedAfter=ago(seconds=20)))


@scenario(ClusterSpec(name="prod-a", rekey_seconds=8.0, seed="golden", cluster_faults=("nodeOffline",)))
def rotated_ignoring_a_fault(here: GoldenHarness) -> None:
    here.run(rotation(ignoreFaults=["nodeOffline"]))


@scenario(ClusterSpec(name="prod-a", rekey_seconds=8.0, seed="golden", key_age=timedelta(minutes=10)))
def cooling_down_unless_forced(here: GoldenHarness) -> None:
    alarm = rotation(trigger="alarm", coolDownSeconds=3600, keyCreatedAfter=ago(seconds=20))
    here.run(alarm)
    here.run({**alarm, "force": True, "reason": "key seen in a ticket"})


@scenario()
def not_due_by_the_schedule(here: GoldenHarness) -> None:
    here.run(rotation(trigger="schedule", keyCreatedAfter=ago(days=365)))


@scenario()
def dry_runs(here: GoldenHarness) -> None:
    here.run(rotation(dryRun=True))
    here.run(rotation(dryRun=True, keyCreatedAfter=ago(days=365)))
    here.run(rotation(dryRun=True, keyCreatedAfter=ago(days=1), coolDownSeconds=365 * 86400))
    here.cluster.inject(Fault("competingRekey", seconds=300.0))
    here.run(rotation(dryRun=True))


@scenario()
def one_waits_for_its_turn(here: GoldenHarness) -> None:
    here.start(rotation())
    here.start(rotation())


@scenario()
def one_waits_for_the_moment_asked_for(here: GoldenHarness) -> None:
    here.run(rotation(keyCreatedAfter=ago(seconds=-40)))


@scenario()
def followed_a_rekey_of_somebody_else(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("competingRekey", seconds=20.0))
    here.run(rotation(keyCreatedAfter=ago(days=30)))


@scenario()
def replanned_after_a_rekey_that_is_not_as_asked(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("competingRekey", seconds=20.0))
    here.run(rotation(**EXTERNAL))


@scenario()
def replanned_after_a_rekey_that_is_never_shown(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("competingRekey", seconds=1.0))
    here.cluster.inject(Fault("handleNotYetVisible", times=7))
    here.change_settings(settling=timedelta(seconds=20))
    here.run(rotation(keyCreatedAfter=ago(days=30), **EXTERNAL))


@scenario()
def superseded_by_a_rekey_of_somebody_else(here: GoldenHarness) -> None:
    here.clock.after(9.0, lambda: here.cluster.inject(Fault("competingRekey", seconds=0.0)))
    here.run(rotation(keyCreatedAfter=ago(seconds=1)))


@scenario()
def the_answer_to_the_rekey_is_lost(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("resetAfterProcessing", method=REKEY))
    here.change_settings(settling=timedelta(seconds=20))
    here.run(rotation())


@scenario()
def the_result_of_the_rekey_is_read_away(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("handleVanished", method=RESULT))
    here.run(rotation())


@scenario()
def the_cluster_is_away_for_a_while(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("html503", method="GetClusterVersionInfo"))
    here.cluster.inject(Fault("html502", method=RESULT))
    here.run(rotation())


@scenario()
def the_topic_is_away_for_a_while(here: GoldenHarness) -> None:
    here.subscriber.deaf = 1
    here.run(rotation(keyCreatedAfter=ago(days=365)))


@scenario()
def the_topic_is_away_for_long(here: GoldenHarness) -> None:
    here.subscriber.deaf = 11
    here.run(rotation(keyCreatedAfter=ago(days=365)))


# -- one cluster that does not ----------------------------------------------------------------------------------------


@scenario()
def failed_before_the_change_of_keys(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("phaseFailure", phase="RewrapDataEncryptionKeys", message="out of entropy"))
    here.run(rotation(reason="quarterly rotation"))


@scenario()
def rotated_with_error_which_is_told_once(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("phaseFailure", phase="DecommissionOldMasterKey"))
    here.run(rotation(keyCreatedAfter=ago(seconds=1)))
    here.run(rotation(keyCreatedAfter=ago(seconds=1)))


@scenario(ClusterSpec(name="prod-a", rekey_seconds=40.0, seed="golden"))
def overdue_and_followed_by_the_next(here: GoldenHarness) -> None:
    settings = here.ports.settings
    here.change_settings(deadline=timedelta(seconds=12))
    here.run(rotation(**EXTERNAL, requestedBy="j.doe"))
    here.change_settings(deadline=settings.deadline)
    here.run(rotation(**EXTERNAL, requestedBy="j.doe", keyCreatedAfter=BEGIN.isoformat()))


@scenario()
def unknown_what_became_of_the_rekey(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("resetBeforeProcessing", method=REKEY, times=None))
    here.run(rotation(trigger="alarm", coolDownSeconds=3600, keyCreatedAfter=ago(seconds=20)))


@scenario()
def not_proven_to_be_rotated(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("competingRekey", method=REKEY, seconds=0.0))
    here.run(rotation())


@scenario(ClusterSpec(name="prod-a", rekey_seconds=2.0, seed="golden"))
def undone_by_somebody_else(here: GoldenHarness) -> None:
    def rekey_back() -> None:
        here.cluster.call(REKEY, {"keyManagementType": "internal"})

    here.clock.after(2.5, rekey_back)
    here.run(rotation(**EXTERNAL))


@scenario()
def aborted_by_hand(here: GoldenHarness) -> None:
    arn = here.start(rotation(reason="change CHG-1001"))
    here.clock.after(6.0, lambda: here.stop(arn))


@scenario()
def aborted_and_its_error_told_by_the_next(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("phaseFailure", phase="DecommissionOldMasterKey"))
    arn = here.start(rotation())
    here.clock.after(6.0, lambda: here.stop(arn))
    here.clock.run()
    here.clock.advance(here.ports.settings.settling.total_seconds())  # so long its lock is kept
    here.run(rotation(keyCreatedAfter=BEGIN.isoformat(), dryRun=True))
    here.run(rotation(keyCreatedAfter=BEGIN.isoformat()))


@scenario()
def timed_out_and_told_without_its_input(here: GoldenHarness) -> None:
    arn = here.start(rotation())
    event = here.status_event(arn, "TIMED_OUT")
    del event["detail"]["input"]
    here.deliver(event)


@scenario()
def an_input_that_is_no_request(here: GoldenHarness) -> None:
    for given in (rotation(colour="red"), {}, "prod-a", rotation(force=True)):
        here.run(given)


@scenario()
def a_cluster_nobody_registered(here: GoldenHarness) -> None:
    here.run({"cluster": "prod-z"})


@scenario(ClusterSpec(name="prod-a", seed="golden", cluster_faults=("blocksDegraded",)))
def refused_for_the_state_of_the_cluster(here: GoldenHarness) -> None:
    here.run(rotation())
    here.run(rotation(keyManagementType="External", keyProviderID=16))


@scenario()
def refused_by_the_cluster(here: GoldenHarness) -> None:
    here.cluster.inject(Fault("rpcError", name="xRekeyNotPossible", message="Not now.", method=REKEY))
    here.run(rotation())


@scenario()
def another_cluster_until_it_is_accepted(here: GoldenHarness) -> None:
    here.run(rotation(keyCreatedAfter=ago(days=365)))
    here.cluster.inject(Fault("otherCluster"))
    here.run(rotation())
    here.run(rotation(acceptClusterUUID=here.cluster.uuid))


@scenario()
def busy_until_the_deadline(here: GoldenHarness) -> None:
    here.change_settings(deadline=timedelta(seconds=20))
    arn = here.start(rotation())
    here.clock.after(6.0, lambda: here.stop(arn))
    here.clock.run()
    here.run(rotation(requestedBy="j.doe"))  # while the lock is kept until it shows what became of the rekey


# -- fleets -----------------------------------------------------------------------------------------------------------

ALARM = {
    "version": "0",
    "id": "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92",
    "detail-type": "CloudWatch Alarm State Change",
    "source": "aws.cloudwatch",
    "account": "123456789012",
    "time": "2026-11-23T02:59:40Z",
    "region": "eu-central-1",
    "resources": ["arn:aws:cloudwatch:eu-central-1:123456789012:alarm:element-key-compromise-prod-a"],
    "detail": {
        "alarmName": "element-key-compromise-prod-a",
        "previousState": {"timestamp": "2026-11-22T13:56:40.987+0000", "value": "OK"},
        "state": {"reason": "Threshold Crossed", "timestamp": "2026-11-23T02:59:40.989+0000", "value": "ALARM"},
    },
}
REPORT = {
    "version": "0",
    "id": "7bf73129-1428-4cd3-a780-95db273d1602",
    "detail-type": "Key Compromise Reported",
    "source": "element-rekey",
    "account": "123456789012",
    "time": "2026-11-23T02:58:00Z",
    "region": "eu-central-1",
    "resources": [],
    "detail": {
        "clusters": ["prod-a", "prod-b"],
        "reason": "INC-4711: key server backup found on a public share",
        "requestedBy": "siem@example.com",
        "reportedAt": "2026-11-23T02:57:12.345Z",
    },
}


@scenario(A, B, C, history_days=731)
def fleet_by_the_schedule(here: GoldenHarness) -> None:
    here.tag("prod-c", "30")
    here.run_fleet({"trigger": "schedule", "reason": "daily"})


@scenario(A, B)
def fleet_on_an_alarm(here: GoldenHarness) -> None:
    here.run_fleet(ALARM)


@scenario(A, B, C)
def fleet_on_a_report(here: GoldenHarness) -> None:
    here.run_fleet(REPORT)


@scenario(A, B, C)
def fleet_of_named_clusters_behind_a_canary(here: GoldenHarness) -> None:
    here.run_fleet(
        {
            "clusters": ["prod-a", "prod-b", "prod-z"],
            "canary": "prod-b",
            "maxConcurrency": 1,
            "toleratedFailures": 1,
            "keyCreatedAfter": ago(days=20),
            "requestedBy": "j.doe",
        }
    )


@scenario(A, B, C)
def fleet_whose_canary_fails(here: GoldenHarness) -> None:
    here.clusters["prod-b"].inject(Fault("phaseFailure", phase="CreateNewMasterKey"))
    here.run_fleet({"canary": "prod-b", "reason": "quarterly rotation"})


@scenario(A, B, C)
def fleet_that_stops_after_a_failure(here: GoldenHarness) -> None:
    here.clusters["prod-c"].inject(Fault("phaseFailure", phase="CreateNewMasterKey"))  # the first by its slot
    here.tag("prod-c", "30")
    here.tag("prod-b", "soon")
    here.run_fleet({"toleratedFailures": 0, "trigger": "schedule"})


@scenario(A, B)
def fleet_in_a_dry_run(here: GoldenHarness) -> None:
    here.run_fleet({"dryRun": True, "force": True, "reason": "rehearsal"})


@scenario(A, B)
def fleet_in_a_dry_run_that_would_be_refused(here: GoldenHarness) -> None:
    here.clusters["prod-a"].inject(Fault("passwordChanged"))
    here.run_fleet(
        {"clusters": ["prod-a", "prod-b", "prod-z"], "canary": "prod-a", "dryRun": True, "reason": "rehearsal"}
    )


@scenario(
    A,
    replace(B, cluster_faults=("nodeOffline",), key_provider_id=15, providers=(ProviderSpec(certificate_days=80),)),
)
def fleet_looked_at_every_day(here: GoldenHarness) -> None:
    looks = {"trigger": "readiness", "dryRun": True, "reason": "daily readiness"}
    here.run_fleet({"trigger": "schedule", "reason": "daily"})
    here.clusters["prod-a"].inject(Fault("passwordChanged"))
    here.clock.advance(86_400)
    here.run_fleet(looks)
    here.clock.advance(86_400)
    here.run_fleet(looks)


@scenario(A, B)
def fleet_that_moves_keys_and_fails(here: GoldenHarness) -> None:
    here.clusters["prod-a"].inject(Fault("phaseFailure", phase="CreateNewMasterKey"))
    here.run_fleet({"clusters": ["prod-a", "prod-b"], "canary": "prod-a", "reason": "HSM", **EXTERNAL})


@scenario(A, B)
def fleet_stopped_by_hand(here: GoldenHarness) -> None:
    arn = here.start_fleet({"reason": "change CHG-1001"})
    here.clock.after(6.0, lambda: here.stop(arn))


@scenario(A)
def fleet_with_an_input_that_is_no_request(here: GoldenHarness) -> None:
    here.run_fleet({"cluster": "prod-a"})
    here.run_fleet({"trigger": "schedule", "keyCreatedAfter": ago(days=1)})
