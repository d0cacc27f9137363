"""``element-rekey doctor``: every hop of a rotation, and what mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from element_rekey.errors import AwsCallFailed, ClusterNotRegistered, ElementRekeyError
from element_rekey.outcomes import Outcome
from element_rekey_cli import __version__, answers_kept
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.documents import DOCTOR_SCHEMA, DoctorDocument
from element_rekey_cli.exits import Exit
from element_rekey_cli.following import DRY_RUN_SECONDS, dry_run
from element_rekey_cli.hops import Hop, Verdict, all_well, bad, failed, good, note
from element_rekey_cli.meeting import Meeting, answered
from element_rekey_cli.starting import caller
from element_rekey_cli.tool import command
from element_rekey_cli.words import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from element_rekey_cli.deployment import Deployment
    from element_rekey_cli.tool import Given

FILE = click.Path(dir_okay=False, path_type=Path)
PENDING = "PendingConfirmation"


@click.command()
@click.argument("cluster", required=False)
@click.option("--direct", type=FILE, metavar="FILE", help="Without AWS: a registration in JSON, as in a secret.")
@click.option("--save", type=FILE, metavar="FILE", help="With --direct: keep the answers, without secrets and names.")
@command
def doctor(given: Given, cluster: str | None, *, direct: Path | None, save: Path | None) -> Exit:
    """Look at every hop of a rotation, and say of each that fails what mends it. Nothing is changed.

    Without CLUSTER the deployment; with it also its secret, what the functions see of it (a dry run), and what this
    machine sees. With --direct a first meeting with a cluster, which needs no AWS at all.
    """
    if direct:
        if cluster:
            raise CommandFailed("--direct names the cluster by its file; leave CLUSTER out.", Exit.USAGE)
        return _meet_directly(given, direct, save)
    if save:
        raise CommandFailed("--save goes with --direct.", Exit.USAGE)
    hops = []
    for hop in _all_hops(given, cluster):
        hops.append(hop)
        _show(given, hop)
    return _told(given, hops, cluster)


def _show(given: Given, hop: Hop) -> None:
    if not given.as_json:
        given.page.hop(hop)


def _told(given: Given, hops: list[Hop], cluster: str | None) -> Exit:
    well = all_well(hops)
    if given.as_json:
        given.say(DoctorDocument(DOCTOR_SCHEMA, well, tuple(hops), cluster))
    else:
        bads = sum(one.verdict is Verdict.BAD for one in hops)
        given.page.line("")
        given.page.line("Every hop is well." if well else f"{bads} of {len(hops)} hops fail.")
    return Exit.DONE if well else Exit.OPEN


def _all_hops(given: Given, cluster: str | None) -> Iterator[Hop]:
    deployment = given.deployment
    yield good("stack", f"{deployment.stack}, table {deployment.outputs['TableName']}")
    yield _schedule(deployment)
    yield _subscriptions(deployment)
    yield _dead_letters(deployment)
    if cluster is None:
        yield _registered(deployment)
        return
    secret = None
    try:
        secret = deployment.registry.registration(cluster)
        yield good("secret", f"{deployment.outputs['SecretPrefix']}/{cluster} can be read, and has what it needs")
    except AwsCallFailed as error:  # the functions may read it all the same
        yield note("secret", f"not to be read from here: {error.what}")
    except ElementRekeyError as error:
        yield failed("secret", error)
        if isinstance(error, ClusterNotRegistered):
            return
    hop, reached = _functions(given, cluster)
    yield hop
    if secret is not None:
        for one in Meeting(cluster, secret, deployment.clock).hops():
            # The functions have a network of their own: what they reach need not be reached from here.
            yield note(f"{one.name} (here)", one.says) if reached and one.verdict is Verdict.BAD else one


def _schedule(deployment: Deployment) -> Hop:
    if deployment.parameters["ScheduleState"] == "ENABLED":
        return good("schedule", "enabled")
    mend = "Set the parameter ScheduleState to ENABLED once a rotation by hand has gone well."
    return note("schedule", "disabled: nothing is rotated by itself", mend)


def _subscriptions(deployment: Deployment) -> Hop:
    pages = deployment.client("sns").get_paginator("list_subscriptions_by_topic")
    found = [one for page in pages.paginate(TopicArn=deployment.outputs["TopicArn"]) for one in page["Subscriptions"]]
    pending = [one["Endpoint"] for one in found if one["SubscriptionArn"] == PENDING]
    confirmed = [f"{one['Protocol']} {one['Endpoint']}" for one in found if one["SubscriptionArn"] != PENDING]
    if pending:
        mend = "Follow the link in the mail that AWS sent there; unconfirmed after three days it has to be made anew."
        return bad("subscriptions", f"not confirmed: {', '.join(pending)}", mend)
    if not confirmed:
        mend = "Subscribe to the topic (TopicArn), or set the parameter NotificationEmail."
        return bad("subscriptions", "none: nobody hears of anything", mend)
    return good("subscriptions", ", ".join(confirmed))


def _dead_letters(deployment: Deployment) -> Hop:
    name = "ApproximateNumberOfMessages"
    url = deployment.outputs["DeadLettersUrl"]
    number = int(deployment.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])
    if number:
        return bad("dead letters", f"{number} events could not be handled", "element-rekey explain dead-letters")
    return good("dead letters", "none")


def _registered(deployment: Deployment) -> Hop:
    clusters = deployment.registry.registered()
    if not clusters:
        return note("clusters", "none is registered", "element-rekey register CLUSTER")
    return good("clusters", f"{len(clusters)} registered; element-rekey doctor CLUSTER looks at one")


def _functions(given: Given, cluster: str) -> tuple[Hop, bool]:
    """What the functions see of the cluster, and whether they reached it."""
    request = {"cluster": cluster, "reason": "element-rekey doctor", "requestedBy": caller(given.deployment)}
    arn, seen = dry_run(given, {name: value for name, value in request.items() if value})
    shown = f"element-rekey show{given.options} {name_of(arn)}"
    if seen is None:
        what = f"their dry run came to no end within {DRY_RUN_SECONDS} s; it goes on"
        return bad("functions", what, shown), False
    if seen.failure or seen.outcome in (None, Outcome.FAILED, Outcome.WOULD_BE_REFUSED):
        failure = seen.failure
        what = f"{failure.error}: {failure.cause}" if failure else "their dry run ended without an answer"
        return bad("functions", what, failure.next_step if failure else shown), bool(seen.cluster_uuid)
    return good("functions", f"{seen.outcome}: {seen.detail}"), True


def _meet_directly(given: Given, file: Path, save: Path | None) -> Exit:
    try:
        registration = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        # What the parser says would quote the file, secrets and all.
        what = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise CommandFailed(f"{file} cannot be read: {what}.", Exit.USAGE) from None
    meeting = Meeting(file.stem, registration, given.tool.clock)
    hops = []
    for hop in meeting.hops():
        hops.append(hop)
        _show(given, hop)
    for method, shape in answered(meeting):
        known = not shape.startswith("not one")
        hop = good("answer", f"{method}: {shape}") if known else note("answer", f"{method}: {shape}")
        hops.append(hop)
        _show(given, hop)
    if save:
        save.write_text(json.dumps(answers_kept.document(meeting.heard, __version__), indent=2) + "\n", "utf-8")
        given.page.line(f"Answers without secrets and names: {save}. Look through it before you send it to anybody.")
    return _told(given, hops, None)
