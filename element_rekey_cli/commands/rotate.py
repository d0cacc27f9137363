"""``element-rekey rotate``: replace the key of one cluster, or of many through the fleet machine."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from element_rekey.codec import encode
from element_rekey.inputs import parse_fleet_request, parse_request
from element_rekey.notifications import build_notification, plain_words
from element_rekey.summary import build_summary, summary_in_words
from element_rekey_cli.commands.status import document_of
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.display import Display
from element_rekey_cli.documents import STARTED_SCHEMA, StartedDocument
from element_rekey_cli.exits import Exit, exit_of
from element_rekey_cli.following import Execution, follow_fleet_run, follow_rotation
from element_rekey_cli.pages import indented, proof_of
from element_rekey_cli.reading import read
from element_rekey_cli.starting import caller, execution_name, start
from element_rekey_cli.tool import command

if TYPE_CHECKING:
    from collections.abc import Collection

    from element_rekey.records import Rotation
    from element_rekey_cli.deployment import Deployment
    from element_rekey_cli.tool import Given


@click.command()
@click.argument("clusters", nargs=-1, metavar="[CLUSTER]...")
@click.option("--all-due", is_flag=True, help="Every cluster whose key is older than it may be.")
@click.option("--wait", is_flag=True, help="Follow it to its end; the exit code says how that was.")
@click.option("--dry-run", is_flag=True, help="Look and plan, change nothing; waits for the answer.")
@click.option("--external", type=int, metavar="ID", help="Move the key to External, under the key provider ID.")
@click.option("--internal", is_flag=True, help="Move the key to Internal.")
@click.option("--reason", default="", help="Why; kept in the history and published.")
@click.option("--ignore-fault", "faults", multiple=True, metavar="CODE", help="A cluster fault that may not stop it.")
@click.option("--accept-cluster-uuid", default="", metavar="UUID", help="Accept that another cluster answers there.")
@command
def rotate(  # noqa: PLR0913 - one for each option
    given: Given,
    clusters: tuple[str, ...],
    *,
    all_due: bool,
    wait: bool,
    dry_run: bool,
    external: int | None,
    internal: bool,
    reason: str,
    faults: tuple[str, ...],
    accept_cluster_uuid: str,
) -> Exit:
    """Replace the master key of the CLUSTERs.

    Several, or all that are due, go through the fleet machine. Ctrl-C stops the watching, not the rotation.
    """
    if bool(clusters) == all_due:
        raise CommandFailed("Name the clusters, or say --all-due.", Exit.USAGE)
    if external is not None and internal:
        raise CommandFailed("--external and --internal exclude each other.", Exit.USAGE)
    deployment = given.deployment
    request: dict[str, Any] = {"reason": reason, "requestedBy": caller(deployment)}
    request |= {"dryRun": True} if dry_run else {}
    request |= {"ignoreFaults": list(faults)} if faults else {}
    request |= {"keyManagementType": "Internal"} if internal else {}
    request |= {"keyManagementType": "External", "keyProviderID": external} if external is not None else {}
    request = {name: value for name, value in request.items() if value != ""}
    if all_due:
        due, made_after = all_that_is_due(deployment)
        if not due:
            given.page.line("Nothing is due.")
            return Exit.DONE
        return rotate_many(given, due, {**request, "keyCreatedAfter": made_after}, wait=wait or dry_run)
    refuse_unknown(deployment, clusters)
    if len(set(clusters)) > 1:
        if accept_cluster_uuid:
            raise CommandFailed("--accept-cluster-uuid is for one cluster.", Exit.USAGE)
        return rotate_many(given, clusters, request, wait=wait or dry_run)
    request |= {"acceptClusterUUID": accept_cluster_uuid} if accept_cluster_uuid else {}
    return rotate_one(given, {"cluster": clusters[0], **request}, wait=wait or dry_run)


def refuse_unknown(deployment: Deployment, clusters: Collection[str]) -> None:
    """Raises CommandFailed where one of the clusters is not registered: nothing is started then."""
    registered = {one.cluster for one in deployment.registry.registered(clusters)}
    unknown = [one for one in dict.fromkeys(clusters) if one not in registered]
    if unknown:
        raise CommandFailed(f"No cluster is registered as {', '.join(unknown)}; nothing was started.", Exit.NOT_FOUND)


def all_that_is_due(deployment: Deployment) -> tuple[tuple[str, ...], str]:
    """The clusters whose key is older than it may be, and the moment after which a key is young enough on each."""
    seen = read(deployment)
    document = document_of(deployment, seen)
    due = [one.cluster for one in document.clusters if one.due_at and one.due_at <= seen.at and one.registered]
    due = [one for one in due if not seen.facts[one].running]
    youngest = min((seen.facts[one].max_key_age or timedelta() for one in due), default=timedelta())
    return tuple(sorted(due)), encode(seen.at - youngest)


def rotate_one(given: Given, request: dict[str, Any], *, wait: bool) -> Exit:
    """Start RotateMasterKey, and follow it if that is asked for. Raises RequestInvalid, CommandFailed."""
    cluster = parse_request(request).cluster
    name = execution_name(cluster, given.tool.clock())
    arn = start(given.deployment, given.deployment.rotate_master_key_arn, name, request)
    followed = Execution(given, arn)
    if not wait:
        return _started(followed, (cluster,))
    given.page.line((f"Rotating {cluster}: {name}", "bold"))
    return told(given, follow_rotation(followed))


def told(given: Given, rotation: Rotation, verdict: str = "") -> Exit:
    """Tell how a rotation ended: what was published, what it rests on, and a verdict if there is one."""
    notification, code = build_notification(rotation), exit_of(rotation.outcome)
    if given.as_json:
        given.say(notification)
        return code
    display = Display(given.console)
    display.heading("Published")
    display.quote(plain_words(notification))
    display.heading("What the outcome rests on")
    indented(proof_of(rotation), given.page)
    display.result(verdict or f"{notification.outcome}: {notification.headline}", good=code is Exit.DONE)
    if code in (Exit.UNKNOWN, Exit.STILL_RUNNING) and not verdict:
        given.page.line(f"Next: element-rekey again{given.options} {rotation.cluster}")
    return code


def rotate_many(given: Given, clusters: Collection[str], request: dict[str, Any], *, wait: bool) -> Exit:
    """Start RotateFleet, and follow it if that is asked for. Raises RequestInvalid, CommandFailed."""
    deployment = given.deployment
    given_input = {"clusters": sorted(set(clusters)), **request}
    parse_fleet_request(given_input, deployment.fleet_settings.alarm_prefix)
    name = execution_name(f"{len(given_input['clusters'])}-clusters", given.tool.clock())
    arn = start(deployment, deployment.rotate_fleet_arn, name, given_input)
    followed = Execution(given, arn)
    if not wait:
        return _started(followed, tuple(given_input["clusters"]))
    given.page.line((f"Rotating {len(given_input['clusters'])} clusters: {name}", "bold"))
    return follow_many(followed)


def follow_many(followed: Execution) -> Exit:
    """Follow a fleet run to its end, and tell its summary. Raises CommandFailed."""
    given = followed.given
    run, results = follow_fleet_run(followed)
    summary = build_summary(run, results)
    if given.as_json:
        given.say(summary)
    else:
        display = Display(given.console)
        display.heading("Published")
        display.quote(summary_in_words(summary))
        display.result(summary.headline, good=summary.succeeded and not summary.would_be_refused)
    if not summary.succeeded:
        return Exit.OPEN
    return Exit.REFUSED if summary.would_be_refused else Exit.DONE


def _started(followed: Execution, clusters: tuple[str, ...]) -> Exit:
    if followed.given.as_json:
        followed.given.say(StartedDocument(STARTED_SCHEMA, followed.arn, clusters))
    else:
        followed.given.page.line(f"Started {followed.arn}")
        followed.given.page.line(f"See it with: {followed.how_to_go_on}")
    return Exit.DONE
