"""``element-rekey again``: start the last failed or unknown rotation again, so that nothing rotates twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from element_rekey.codec import encode
from element_rekey.outcomes import Outcome
from element_rekey_cli.commands.rotate import refuse_unknown, told
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.exits import Exit
from element_rekey_cli.following import DRY_RUN_SECONDS, Execution, dry_run, follow_rotation
from element_rekey_cli.pages import key_in_words
from element_rekey_cli.reading import latest, running_rotations
from element_rekey_cli.standing import Facts
from element_rekey_cli.starting import execution_name, start, what_it_says
from element_rekey_cli.tool import command
from element_rekey_cli.words import in_full, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from element_rekey.records import Request, Rotation
    from element_rekey_cli.tool import Given


@click.command()
@click.argument("cluster")
@command
def again(given: Given, cluster: str) -> Exit:
    """Start the last failed or unknown rotation of CLUSTER again, and say what became of both.

    First three lines: the key then, the key now, and the job, by a dry run. Then the rotation is started with the
    input that the earlier one named (startAgainWith): a key made since then, or a job that makes one, is found, and no
    second rekey is sent.
    """
    deployment = given.deployment
    refuse_unknown(deployment, (cluster,))
    running = running_rotations(deployment).get(cluster)
    if running:
        shown = f"element-rekey show{given.options} {name_of(running[0].execution.id)}"
        raise CommandFailed(f"A rotation of {cluster} runs already: {shown}", Exit.OPEN)
    last = Facts(cluster, records=latest(deployment, cluster)).last
    if last is None or last.outcome is None or last.outcome.succeeded:
        ended = f"; its last rotation ended as {last.outcome}" if last else ""
        given.page.line(f"There is nothing to start again on {cluster}{ended}.")
        return Exit.DONE
    request = input_again(last)
    if request is None:
        what = f"The input of {name_of(last.execution.id)} was not a valid request: element-rekey rotate {cluster}"
        raise CommandFailed(what, Exit.USAGE)
    given.page.line((f"Again {cluster}, what {name_of(last.execution.id)} left as {last.outcome}", "bold"))
    seen = dry_run(given, as_input(request))[1]
    for label, text in before(last, seen):
        given.page.fact(label, text)
    name = execution_name(f"{cluster}-again", given.tool.clock())
    arn = start(deployment, deployment.rotate_master_key_arn, name, as_input(request))
    rotation = follow_rotation(Execution(given, arn))
    return told(given, rotation, verdict_on(last, rotation))


def input_again(last: Rotation) -> Request | None:
    """The input under which whatever the earlier execution did counts; None where it had no valid one.

    As in its notification (``startAgainWith``), and the same where a rotation failed and nothing can go on.
    """
    if last.request is None:
        return None
    return replace(last.request, key_created_after=last.request.key_created_after or last.execution.started_at)


def as_input(request: Request) -> dict[str, Any]:
    """A request as the input of an execution, without the members that say nothing."""
    return what_it_says(encode(request))


def before(last: Rotation, seen: Rotation | None) -> Iterator[tuple[str, str]]:
    """The key then, the key now, and the job."""
    then = last.intent.baseline_key if last.intent else last.current_key
    yield "Key then", f"{key_in_words(then)}, as seen {in_full(last.execution.started_at)}" if then else "not seen"
    if seen is None:
        yield "Key now", f"not known: the dry run came to no end within {DRY_RUN_SECONDS} s"
    elif seen.current_key is None:
        yield "Key now", f"not known: {seen.failure.error}: {seen.failure.cause}" if seen.failure else "not known"
    else:
        other = then is not None and then.key_id != seen.current_key.key_id
        yield "Key now", f"{key_in_words(seen.current_key)}: {'another one' if other else 'the same'}"
    handle = last.following.async_handle if last.following else None
    sent = f"sent {in_full(last.intent.sent_at)}" if last.intent else "none was sent"
    known = f", asyncHandle {handle}" if handle is not None else ""
    now = f"; now: {seen.detail or (seen.failure.error if seen.failure else '')}" if seen else ""
    yield "Job", f"{sent}{known}{now}"


def verdict_on(last: Rotation, rotation: Rotation) -> str:
    """What became of the earlier rotation and of this one, in one sentence."""
    sent = last.intent is not None
    match rotation.outcome:
        case Outcome.NOT_DUE if sent:
            return "The rekey of the earlier run went through after all, and its key counts: nothing was sent again."
        case Outcome.NOT_DUE:
            return "The key was replaced since: nothing was sent."
        case Outcome.FOLLOWED:
            return "A rekey was running and was followed to its end: its key counts, and nothing was sent again."
        case Outcome.ROTATED if sent:
            return "The rekey of the earlier run had not taken effect: one was sent now, and the new key is proven."
        case Outcome.ROTATED:
            return "The earlier run had sent nothing: a rekey was sent now, and the new key is proven."
        case Outcome.OUTCOME_UNKNOWN:
            return "Not known again: do not send a rekey by hand; element-rekey explain RekeyOutcomeUnknown"
        case _:
            error = rotation.failure.error if rotation.failure else ""
            return f"{rotation.outcome or 'Not known'} again{f': element-rekey explain {error}' if error else ''}"
