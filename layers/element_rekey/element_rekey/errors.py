"""Every error of this application.

The class name is the error name in the state machine, in the notification and in the runbook::

    ElementRekeyError
    ├── InvalidInput                 refused before anything was changed
    │   ├── RequestInvalid             the input of an execution
    │   ├── RegistrationInvalid        the secret of a cluster, or its tags
    │   ├── ClusterNotRegistered       no such secret
    │   └── AlarmTargetUnknown         an alarm or a report names a cluster that is not registered
    ├── AwsCallFailed                DynamoDB, Secrets Manager or SNS did not do as asked (retried)
    ├── LedgerConflict               another invocation wrote the same rotation first (retried)
    ├── ClusterUnavailable           no usable answer, certainly nothing was changed (retried)
    ├── AnswerNotUnderstood          an answer came, in a form we cannot read; nothing was changed (retried)
    ├── ClusterBusy                  another execution held the cluster until our deadline
    ├── ClusterRefused               the cluster, or its certificate, says no
    │   ├── CredentialsRefused         HTTP 401, also with the secret read again (retried, twice, while following)
    │   ├── CertificateRefused         the certificate is not the one registered
    │   ├── PermissionDenied           xPermissionDenied (retried: upgrades cause it for a while)
    │   └── ElementApiError            any other error a method answered with
    │       └── RekeyRefused             the rekey was answered with an error and nothing changed
    ├── PreconditionFailed           the cluster is not fit for a rekey now
    │   ├── ApiVersionUnsupported      older than Element API 12.3
    │   ├── EncryptionDisabled         software encryption at rest is off
    │   ├── UpgradePending             an Element upgrade is staged or running
    │   ├── KeyProviderUnusable        unknown, without a key server, or failing its test
    │   ├── ClusterFaultsBlock         current faults that make a rekey unsafe
    │   ├── CertificateExpiring        a certificate of the cluster or a key server ends within a month (readiness only)
    │   ├── KeyAgeUnknown              no usable keyCreatedTime, so nobody can say whether the key is due
    │   ├── ClusterIdentityChanged     the address answers with another cluster's uuid
    │   └── ClusterRegisteredTwice     another registration has this cluster already
    ├── RekeyOutcomeUnknown          the rekey may have been applied (retried: resolved by observation)
    ├── RekeyFailed                  the job ended and the old key is still current
    ├── RekeyEndedWithError          the new key is current although the job reported an error
    ├── RotationNotProven            the job says complete, the cluster's state does not agree (retried)
    ├── RotationUndone               our rekey replaced the key, and a later one left a key that is not as asked
    ├── RotationOverdue              the deadline passed while the rekey was still running
    ├── AlarmIgnored                 an alarm came on in a way that the operator lets start nothing
    ├── AllClustersNotAllowed        an alarm or a report means every cluster, and the operator lets none do so
    ├── FleetIncomplete              a fleet run ended and not every cluster is as it should be
    └── ExecutionInterrupted         the execution ended before its own last step
        ├── ExecutionAborted           stopped by a person or a deployment
        ├── ExecutionTimedOut          its overall time limit passed
        └── ExecutionBroken            a step failed for a reason outside this application

"Retried" means by the state machine. No class is retried by the code that raises it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .records import Failure
from .text import LONGEST_CAUSE, cut, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .records import FleetRun


class ElementRekeyError(Exception):
    """Root of the tree: what happened, to which cluster, and what a person should do next."""

    next_step: ClassVar[str] = "Look up the error's name in docs/runbook.md."

    def __init__(self, what: str, *, cluster: str = "") -> None:
        """Keep ``what`` happened (one sentence) and the registered name of the cluster, where one is known.

        It may quote what AWS, a cluster or a library said: it becomes one line, and is cut where it is too long.
        """
        self.what = cut(one_line(what), LONGEST_CAUSE)
        super().__init__(self.what)
        self.cluster = cluster

    def __str__(self) -> str:
        """One line for logs and for the state machine's Cause."""
        subject = f"Cluster {self.cluster}: " if self.cluster else ""
        return f"{subject}{self.what} Next: {self.next_step}"


class InvalidInput(ElementRekeyError):
    """Refused before anything was changed."""


class RequestInvalid(InvalidInput):
    """The input of the execution has an unknown, missing or wrong member."""

    next_step = "Correct the named member of the input and start again; events/ has examples."


class RegistrationInvalid(InvalidInput):
    """The cluster's secret or its tags have an unknown, missing or wrong member."""

    next_step = "Correct the named member of the cluster's secret and start again."


class ClusterNotRegistered(InvalidInput):
    """There is no secret for a cluster of this name."""

    next_step = "Create the cluster's secret (README, Register a cluster) or correct the name."


class AlarmTargetUnknown(InvalidInput):
    """An alarm or a report names a cluster that is not registered: an emergency was not met."""

    next_step = (
        "Find out which cluster is meant and replace its key now (README, Rotate). Then correct the alarm's name or "
        "tag, or the report, or register the cluster."
    )


class AwsCallFailed(ElementRekeyError):
    """An AWS service did not do as asked; the same step can be repeated."""

    next_step = "If retries did not help: check the function's role, its network path, and the AWS service's health."


class LedgerConflict(ElementRekeyError):
    """Another invocation wrote the same rotation, or took the cluster's lock, first; look again."""

    next_step = "None if the retry went through; otherwise start again, which looks at the cluster first."


class ClusterUnavailable(ElementRekeyError):
    """No usable answer from the cluster; certainly nothing was changed."""

    next_step = "Check that the MVIP answers on its port from the functions' subnets, then start again."


class AnswerNotUnderstood(ElementRekeyError):
    """An answer came, and a member of it that has to be known is missing or cannot be read; nothing was changed."""

    next_step = (
        "Compare the member named here with the cluster's own answer and its release; see docs/runbook.md. The network "
        "and the account are in order."
    )


class ClusterBusy(ElementRekeyError):
    """Another live execution held the cluster's lock until this one's deadline."""

    next_step = "Look at the execution named here; start again when it has ended."


class ClusterRefused(ElementRekeyError):
    """The cluster, or the check of its certificate, says no."""


class CredentialsRefused(ClusterRefused):
    """HTTP 401, also after the secret was read again. Repeated failures can lock the account.

    Hence it is retried twice only, a minute apart, and only while a rekey is followed: the cluster's own authentication
    service can be away for a moment, and the outcome of a rekey under way must not be lost for that.
    """

    next_step = "Put the right username and password into the cluster's secret, then start again."


class CertificateRefused(ClusterRefused):
    """The certificate presented is not the one the registration trusts."""

    next_step = (
        "Find out why the cluster's certificate changed; if the change is legitimate, put the new caBundle or "
        "certificateFingerprint into the cluster's secret. Before a planned change, list the current and the next one."
    )


class PermissionDenied(ClusterRefused):
    """The account lacks a right (xPermissionDenied). Seen for a while during upgrades too, hence retried."""

    next_step = "Give the account the administrator access type on the cluster, then start again."


class ElementApiError(ClusterRefused):
    """A read method answered with an error that no retry will cure."""

    next_step = "Compare the named Element error with the cluster's version and state; see docs/runbook.md."

    def __init__(self, what: str, *, cluster: str = "", name: str = "") -> None:
        """Keep also the Element error ``name``, such as ``xUnknownAPIMethod``."""
        super().__init__(what, cluster=cluster)
        self.name = name


class RekeyRefused(ElementApiError):
    """The rekey was answered with an error and the cluster's state shows that nothing began."""

    next_step = "Mend what the named Element error says, then start again. The old key is still current."


class PreconditionFailed(ElementRekeyError):
    """The cluster is not fit for a rekey now; nothing was changed."""


class ApiVersionUnsupported(PreconditionFailed):
    """The cluster's Element API is older than 12.3, the first with the rekey method."""

    next_step = "Upgrade the cluster to Element 12.3 or later."


class EncryptionDisabled(PreconditionFailed):
    """Software encryption at rest is not enabled, so there is no master key to replace."""

    next_step = "Nothing can be rotated here: remove the cluster's registration, or enable encryption on the cluster."


class UpgradePending(PreconditionFailed):
    """An Element upgrade is staged or running."""

    next_step = "Finish or cancel the upgrade, then start again."


class KeyProviderUnusable(PreconditionFailed):
    """The external key provider is unknown, has no key server, or fails its own test."""

    next_step = (
        "Mend the KMIP key provider on the cluster (ListKeyProvidersKmip, TestKeyProviderKmip), then start again."
    )


class ClusterFaultsBlock(PreconditionFailed):
    """The cluster reports faults that make a rekey unsafe."""

    next_step = "Clear the faults, or start again with the codes you accept in ignoreFaults."


class CertificateExpiring(PreconditionFailed):
    """A certificate without which no rotation works ends within a month, or has ended. It stops nothing until then."""

    next_step = (
        "Renew the certificate named here before its end; for the cluster's own, list the current and the next "
        "certificateFingerprint in its secret before the change (README, Register a cluster)."
    )


class KeyAgeUnknown(PreconditionFailed):
    """The cluster gives no usable creation time for its key, and we did not see it being made."""

    next_step = "Start one rotation by hand: from then on the age of the key is known."


class ClusterIdentityChanged(PreconditionFailed):
    """The address answers with another cluster's uuid than the one remembered."""

    next_step = (
        "Check the mvip in the secret. If the cluster was really replaced, start once by hand with acceptClusterUUID "
        "set to the new uuid."
    )


class ClusterRegisteredTwice(PreconditionFailed):
    """Another registration has this cluster already: under two names it would have two locks and no cool-down."""

    next_step = (
        "Keep one of the two registrations and remove the other. To keep this one, start it once by hand with "
        "acceptClusterUUID set to the uuid named here: what is remembered of the cluster moves to it."
    )


class RekeyOutcomeUnknown(ElementRekeyError):
    """The rekey was sent and its answer is missing or ambiguous: it may have been applied."""

    next_step = (
        "Do not send a rekey by hand. Start again with the input given in the notification (startAgainWith): the next "
        "run looks at the cluster first, and a rekey that went through after all counts. Unknown twice in a row: "
        "collect what docs/runbook.md lists for this error, and ask NetApp support."
    )


class RekeyFailed(ElementRekeyError):
    """The rekey job ended and the old master key is still current."""

    next_step = (
        "Read the cluster's own error named here, mend its cause, then start again. The old key is still current."
    )


class RekeyEndedWithError(ElementRekeyError):
    """The new master key is current, but the job reported an error: the old key may not be decommissioned."""

    next_step = (
        "The new key protects the cluster; do not delete any key. Ask NetApp support whether the old key named here "
        "was decommissioned."
    )


class RotationNotProven(ElementRekeyError):
    """The job says it completed, but the cluster's state does not agree with it."""

    next_step = (
        "Compare the keys named here with GetSoftwareEncryptionAtRestInfo and ask NetApp support before rotating again."
    )


class RotationUndone(ElementRekeyError):
    """Our rekey replaced the key as asked; somebody else's rekey after it left one that does not meet the demand."""

    next_step = (
        "Find out who else rekeys this cluster and agree on how its key is to be managed, then start again. We sent no "
        "second rekey."
    )


class RotationOverdue(ElementRekeyError):
    """The deadline passed while the rekey was still running; the cluster goes on with it."""

    next_step = (
        "Watch the job on the cluster. Start again with the input given in the notification (startAgainWith): the next "
        "run follows the job. Do not send a rekey by hand."
    )


class AlarmIgnored(ElementRekeyError):
    """An alarm that had no data before went into ALARM, and the operator has not let that start a rotation.

    A sparse security metric does just that, and so does an alarm that was made a moment ago: a person has to decide.
    """

    next_step = (
        "No key was replaced. Where the key may be compromised, start RotateFleet by hand, as docs/runbook.md says. "
        "The parameter CompromiseFromInsufficientData has such a change start it by itself."
    )


class AllClustersNotAllowed(ElementRekeyError):
    """An alarm or a report means every registered cluster, and the operator has not let one do so."""

    next_step = (
        "No key was replaced. Where keys may be compromised, start RotateFleet by hand, as docs/runbook.md says. "
        "The parameter AllClustersByEvent lets an alarm or a report do it."
    )


class FleetIncomplete(ElementRekeyError):
    """A fleet run ended and not every selected cluster was rotated, or found to need nothing."""

    next_step = (
        "Read the summary: it says of each Refused cluster what to mend. What is NotBegun was not begun; each other "
        "cluster named there has its own notification with its own next step."
    )


class ExecutionInterrupted(ElementRekeyError):
    """The execution ended before its own last step; the cluster may still be working on a rekey."""

    next_step = (
        "Start again, with the input given in the notification (startAgainWith) where there is one: the next run looks "
        "at the cluster first, and a rekey that went through after all counts."
    )


class ExecutionAborted(ExecutionInterrupted):
    """The execution was stopped by a person or by a deployment."""


class ExecutionTimedOut(ExecutionInterrupted):
    """The execution's overall time limit passed."""


class ExecutionBroken(ExecutionInterrupted):
    """A step failed for a reason outside this application, such as a crashed function."""


def failure_from(error: ElementRekeyError) -> Failure:
    """What records keep of an error."""
    return Failure(type(error).__name__, error.what, error.next_step)


def unknown_targets(run: FleetRun) -> tuple[str, ...]:
    """What an alarm or a report named and nobody knows."""
    return tuple(one.cluster for one in run.not_selected if one.error == AlarmTargetUnknown.__name__)


def errors_by_name() -> Mapping[str, type[ElementRekeyError]]:
    """Every class of the tree, by the name it has in the state machine."""
    found: dict[str, type[ElementRekeyError]] = {}
    todo = [ElementRekeyError]
    while todo:
        error = todo.pop()
        found[error.__name__] = error
        todo.extend(error.__subclasses__())
    return found
