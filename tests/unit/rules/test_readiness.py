"""What a look says of a rotation that would begin now, and what of it is news."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.cluster import Certificate, CertificateOf, ClusterFault
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import (
    ClusterResult,
    Failure,
    FleetReadiness,
    FleetRequest,
    FleetRun,
    NotReady,
    NotSelected,
    Readiness,
    Request,
    Selected,
)
from element_rekey.rules.readiness import (
    LISTED,
    clusters_of,
    is_judged,
    is_published,
    judge,
    judges,
    looked_at_before,
    unfit,
)
from tests.fakes import NOW
from tests.unit.samples import DAY, HOUR, MINUTE, SECOND, demand, execution, external, failed, key, rotated, seen

if TYPE_CHECKING:
    from element_rekey.records import Rotation

LOOKS = FleetRequest(trigger=Trigger.READINESS, dry_run=True)
SCHEDULE = FleetRequest(trigger=Trigger.SCHEDULE)
ENDED = NOW + 4 * MINUTE
NO_KEY_SERVER = Failure("KeyProviderUnusable", "KMIP key provider 15 has no key server.", "Mend it.")
READY = Readiness(NOW - DAY, NOW - 30 * DAY)
NOT_READY = Readiness(NOW - DAY, NOW - 2 * DAY, NO_KEY_SERVER)


def planned(**changes: Any) -> Rotation:  # noqa: ANN401 - one argument for each member
    return rotated(outcome=Outcome.PLANNED, change=None, **changes)


def refused(failure: Failure = NO_KEY_SERVER, **changes: Any) -> Rotation:  # noqa: ANN401 - likewise
    return rotated(outcome=Outcome.WOULD_BE_REFUSED, failure=failure, change=None, **changes)


def run_of(*clusters: str, request: FleetRequest | None = LOOKS, **changes: Any) -> FleetRun:  # noqa: ANN401 - likewise
    selected = tuple(Selected(cluster, f"{cluster}-1", NOW) for cluster in clusters)
    return replace(FleetRun(execution(), request=request, selected=selected), **changes)


def found(
    rotation: Rotation | None, before: Readiness | None = None, request: FleetRequest = LOOKS
) -> tuple[FleetReadiness, Readiness | None]:
    """What a run over one cluster reports, and what is kept of it."""
    run = run_of("prod-a", request=request)
    known = {"prod-a": before} if before else {}
    judgement = judge(run, [ClusterResult(run.selected[0], rotation)], known)
    return judgement.report, judgement.found.get("prod-a")


# --- who says anything ---


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (LOOKS, True),
        (SCHEDULE, True),
        (replace(SCHEDULE, dry_run=True), False),
        (replace(SCHEDULE, ignore_faults=("nodeOffline",)), False),
        (FleetRequest(), False),
        (FleetRequest(dry_run=True), False),
        (FleetRequest(trigger=Trigger.ALARM), False),
    ],
)
def test_only_the_daily_runs_judge(request_: FleetRequest, *, says: bool) -> None:
    assert judges(request_) is judges(request_.request_for("prod-a")) is says
    assert is_judged(run_of("prod-a", request=request_)) is says


def test_a_run_that_broke_before_it_selected_says_nothing_and_one_without_clusters_that_all_is_well() -> None:
    assert not is_judged(run_of())
    assert not is_judged(run_of("prod-a", request=None))
    none_registered = run_of(looked_at_before=())
    assert is_judged(none_registered)
    assert judge(none_registered, [], {}).report == FleetReadiness(0)


def test_what_would_refuse_a_rekey_is_asked_only_for_the_daily_runs() -> None:
    offline = seen(faults=(ClusterFault("nodeOffline"),))
    problem = unfit(Request("prod-a", trigger=Trigger.SCHEDULE), demand(), offline)
    assert problem
    assert problem.error == "ClusterFaultsBlock"
    assert unfit(Request("prod-a", trigger=Trigger.SCHEDULE), demand(), seen()) is None
    assert unfit(Request("prod-a"), demand(), offline) is None


# --- what one look says ---


@pytest.mark.parametrize("outcome", [Outcome.ROTATED, Outcome.FOLLOWED, Outcome.PLANNED])
def test_what_was_rotated_or_would_be_is_ready(outcome: Outcome) -> None:
    assert found(rotated(outcome=outcome)) == (FleetReadiness(0), Readiness(ENDED, ENDED))


@pytest.mark.parametrize(
    "error",
    [
        "KeyProviderUnusable",
        "CredentialsRefused",
        "ClusterUnavailable",
        "AnswerNotUnderstood",
        "AwsCallFailed",
        "RekeyFailed",
    ],
)
def test_what_would_be_refused_or_failed_is_not_ready(error: str) -> None:
    for rotation in (refused(Failure(error, "It is so.", "Mend it.")), failed(error)):
        report, kept = found(rotation)
        assert kept == Readiness(ENDED, ENDED, rotation.failure)
        assert report.clusters_not_ready == 1
        assert [one.error for one in report.became_not_ready] == [error]


@pytest.mark.parametrize(
    "error", ["ClusterBusy", "LedgerConflict", "ExecutionAborted", "ExecutionBroken", "SomethingOdd"]
)
def test_an_error_that_says_nothing_of_the_cluster_changes_nothing(error: str) -> None:
    assert found(failed(error), NOT_READY) == (FleetReadiness(1), None)
    assert found(failed(error)) == (FleetReadiness(0), None)


@pytest.mark.parametrize("outcome", [Outcome.ROTATED_WITH_ERROR, Outcome.OVERDUE, Outcome.OUTCOME_UNKNOWN])
def test_what_is_not_settled_is_told_of_elsewhere(outcome: Outcome) -> None:
    assert found(failed("RekeyOutcomeUnknown", outcome), READY) == (FleetReadiness(0), None)


@pytest.mark.parametrize("rotation", [None, rotated(outcome=None, ended_at=None), rotated(outcome=None)])
def test_what_was_not_begun_or_has_not_ended_says_nothing(rotation: Rotation | None) -> None:
    assert found(rotation, NOT_READY) == (FleetReadiness(1), None)


def test_nothing_due_and_nothing_in_the_way_is_ready() -> None:
    not_due = rotated(outcome=Outcome.NOT_DUE, change=None, current_key=key())
    assert found(not_due, NOT_READY, SCHEDULE) == (FleetReadiness(0, ready_again=("prod-a",)), Readiness(ENDED, ENDED))


def test_nothing_due_and_something_in_the_way_is_not() -> None:
    not_due = rotated(outcome=Outcome.NOT_DUE, change=None, current_key=external(), unfit=NO_KEY_SERVER)
    assert found(not_due, READY, SCHEDULE)[1] == Readiness(ENDED, ENDED, NO_KEY_SERVER)


@pytest.mark.parametrize("current", [external(), None])
def test_nothing_due_on_an_external_key_says_nothing_since_its_provider_was_not_tested(current: Any) -> None:  # noqa: ANN401
    not_due = rotated(outcome=Outcome.NOT_DUE, change=None, current_key=current)
    assert found(not_due, READY, SCHEDULE) == (FleetReadiness(0), None)


def certificate(
    days: float | None, of: CertificateOf = CertificateOf.CLUSTER, server: int | None = None
) -> Certificate:
    return Certificate(of, "ab" * 32, None if days is None else ENDED + days * DAY, server)


@pytest.mark.parametrize(
    ("certificates", "cause"),
    [
        ((certificate(29.5),), "The certificate of the cluster ends at 2026-12-22 15:04:00 UTC."),
        ((certificate(-1),), "The certificate of the cluster ends at 2026-11-22 03:04:00 UTC."),
        (
            (certificate(400), certificate(3, CertificateOf.KEY_SERVER, 5)),
            "The certificate of key server 5 ends at 2026-11-26 03:04:00 UTC.",
        ),
        (
            (certificate(20), certificate(10, CertificateOf.KEY_SERVER_CLIENT, 5)),
            "The certificate of the cluster as the client of key server 5 ends at 2026-12-03 03:04:00 UTC.",
        ),
    ],
)
def test_a_certificate_that_ends_within_a_month_is_told_while_there_is_time(
    certificates: tuple[Certificate, ...], cause: str
) -> None:
    report, kept = found(planned(certificates=certificates))
    assert [(one.error, one.cause) for one in report.became_not_ready] == [("CertificateExpiring", cause)]
    assert kept
    renewed = found(planned(certificates=(certificate(365),), ended_at=ENDED + DAY), kept)
    assert renewed[0].ready_again == ("prod-a",)


@pytest.mark.parametrize("certificates", [None, (), (certificate(None),), (certificate(90), certificate(400))])
def test_a_certificate_that_ends_later_or_nobody_knows_when_is_no_news(certificates: Any) -> None:  # noqa: ANN401
    assert found(planned(certificates=certificates))[0] == FleetReadiness(0)


def test_people_are_told_of_a_certificate_ninety_sixty_and_thirty_days_before_its_end_and_on_no_other_day() -> None:
    end, server = ENDED + 100 * DAY, CertificateOf.KEY_SERVER
    known: Readiness | None = None
    told = []
    for day in range(105):
        seen_then = None if day == 50 else (Certificate(server, "ab" * 32, end, 5),)  # nobody saw it on that day
        report, known = found(planned(certificates=seen_then, ended_at=ENDED + day * DAY), known)
        told += [(day, one.of, one.days_left) for one in report.ending_certificates or ()]
        run = run_of("prod-a", readiness=report)
        assert is_published(run) == bool(report.ending_certificates or report.became_not_ready)
    assert told == [(11, "key server 5", 89), (41, "key server 5", 59), (71, "key server 5", 29)]
    assert known
    assert found(planned(certificates=(), ended_at=ENDED + 105 * DAY), known)[1] == replace(
        known, looked_at=ENDED + 105 * DAY, since=ENDED + 105 * DAY, failure=None, notices=None
    )


def test_what_would_refuse_a_rotation_goes_before_a_certificate_that_ends() -> None:
    assert found(refused(certificates=(certificate(3),)))[0].became_not_ready[0].error == NO_KEY_SERVER.error


# --- what is news ---


def test_a_cluster_becomes_not_ready_once_and_is_ready_again_once() -> None:
    report, first = found(refused(), READY)
    assert report.became_not_ready == (NotReady("prod-a", NO_KEY_SERVER.error, NO_KEY_SERVER.cause, "Mend it."),)
    assert first == Readiness(ENDED, ENDED, NO_KEY_SERVER)
    report, second = found(refused(ended_at=ENDED + DAY), first)
    assert report == FleetReadiness(1)
    assert second == Readiness(ENDED + DAY, ENDED, NO_KEY_SERVER), "since when it is so stays"
    report, third = found(planned(ended_at=ENDED + 2 * DAY), second)
    assert report == FleetReadiness(0, ready_again=("prod-a",))
    assert third == Readiness(ENDED + 2 * DAY, ENDED + 2 * DAY)
    report, fourth = found(planned(ended_at=ENDED + 3 * DAY), third)
    assert report == FleetReadiness(0)
    assert fourth == Readiness(ENDED + 3 * DAY, ENDED + 2 * DAY)


def test_another_reason_is_news_and_another_wording_of_it_is_none() -> None:
    other = replace(NO_KEY_SERVER, cause="KMIP key provider 15 fails its test with xTimeout.")
    assert found(refused(other), NOT_READY)[0] == FleetReadiness(1)
    report, kept = found(refused(Failure("CredentialsRefused", "HTTP 401.", "Mend it.")), NOT_READY)
    assert [one.error for one in report.became_not_ready] == ["CredentialsRefused"]
    assert kept
    assert kept.since == ENDED


def test_the_first_look_tells_of_what_is_not_ready_only() -> None:
    assert found(planned())[0] == FleetReadiness(0)
    assert len(found(refused())[0].became_not_ready) == 1


@pytest.mark.parametrize("later", [ENDED, ENDED + SECOND])
def test_a_later_look_is_not_written_over_nor_told_of_again(later: Any) -> None:  # noqa: ANN401 - a time
    assert found(refused(), Readiness(later, later)) == (FleetReadiness(0), None)


def test_all_clusters_are_counted_and_so_are_those_looked_at_before() -> None:
    run = run_of(
        "looked",
        "never-seen",
        looked_at_before=("before",),
        not_selected=(
            NotSelected("tagged-wrongly", "RegistrationInvalid", "Tag x is unknown."),
            NotSelected("mistyped", "ClusterNotRegistered", "There is no secret of this name."),
        ),
    )
    results = [ClusterResult(run.selected[0], refused()), ClusterResult(run.selected[1], None)]
    judgement = judge(run, results, {"before": NOT_READY, "gone": NOT_READY})
    assert clusters_of(run) == ("looked", "never-seen", "tagged-wrongly", "mistyped", "before")
    assert judgement.report.clusters_not_ready == 3
    assert judgement.found.keys() == {"looked", "tagged-wrongly"}
    assert judgement.found["tagged-wrongly"].looked_at == NOW
    assert [one.cluster for one in judgement.report.became_not_ready] == ["looked", "tagged-wrongly"]


def test_a_record_of_a_whole_fleet_that_is_not_ready_stays_small() -> None:
    names = tuple(f"{number:05}" for number in range(LISTED + 1))
    run = run_of(*names)
    long = replace(NO_KEY_SERVER, cause="x" * 5000)
    report = judge(run, [ClusterResult(one, refused(long)) for one in run.selected], {}).report
    assert report.clusters_not_ready == LISTED + 1
    assert [one.cluster for one in report.became_not_ready] == list(names[:LISTED])
    assert all(len(one.cause) < 400 for one in report.became_not_ready)
    again = judge(run, [ClusterResult(one, planned()) for one in run.selected], dict.fromkeys(names, NOT_READY)).report
    assert (again.clusters_not_ready, again.ready_again) == (0, names[:LISTED])


def test_what_was_found_ready_today_need_not_be_looked_at_again() -> None:
    known = {
        "this-morning": Readiness(NOW - 3 * HOUR, NOW - DAY),
        "yesterday": Readiness(NOW - 20 * HOUR, NOW - DAY),
        "not-ready": Readiness(NOW - 3 * HOUR, NOW - DAY, NO_KEY_SERVER),
    }
    assert looked_at_before(known, NOW) == {"this-morning"}


# --- who is told ---


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (run_of("prod-a", readiness=FleetReadiness(1)), False),
        (run_of("prod-a", readiness=FleetReadiness(1, (NotReady("prod-a", "E", "It is.", "Mend it."),))), True),
        (run_of("prod-a", readiness=FleetReadiness(0, ready_again=("prod-a",))), True),
        (run_of("prod-a", readiness=FleetReadiness(0), failure=NO_KEY_SERVER), True),
        (run_of(), False),
        (run_of(request=None), True),
        (run_of("prod-a", request=SCHEDULE, readiness=FleetReadiness(0)), True),
        (run_of("prod-a", request=FleetRequest()), True),
    ],
)
def test_a_run_that_only_looks_is_published_where_something_is_news_or_it_broke(run: FleetRun, *, told: bool) -> None:
    assert is_published(run) is told
