"""``element-rekey register`` and ``unregister``: a cluster's secret, made after a look at it, and taken away."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import ClientError

from element_rekey.element.transport import parse_mvip
from element_rekey.errors import ElementRekeyError
from element_rekey.outcomes import Trigger
from element_rekey.records import Execution, FleetRequest, Registered
from element_rekey.rules.selection import TAG_MAX_KEY_AGE, select
from element_rekey_cli.commands.rotate import refuse_unknown
from element_rekey_cli.deployment import CommandFailed
from element_rekey_cli.documents import REGISTRATION_SCHEMA, RegistrationDocument, RegistrationLine
from element_rekey_cli.exits import Exit
from element_rekey_cli.hops import all_well
from element_rekey_cli.meeting import Meeting, presented
from element_rekey_cli.reading import running_rotations
from element_rekey_cli.tool import command
from element_rekey_cli.words import in_full, name_of

if TYPE_CHECKING:
    from element_rekey_cli.deployment import Deployment
    from element_rekey_cli.tool import Given

FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
COLUMNS = {
    "cluster": "cluster",
    "mvip": "mvip",
    "username": "username",
    "password": "password",
    "certificateFingerprint": "fingerprint",
    "serverName": "server_name",
    "apiVersion": "api_version",
    "maxKeyAgeDays": "max_key_age_days",
}
"""Of a file of many: the column, and what it is here; only the first four are needed."""
RECOVERY_DAYS = 30
_THERE = frozenset({"InvalidRequestException", "ResourceExistsException"})  # the first: marked for deletion


@dataclass(frozen=True)
class Wanted:
    """A registration that is asked for; what is empty is asked of the person, or left out."""

    cluster: str
    mvip: str = ""
    username: str = ""
    password: str = ""
    fingerprint: str = ""
    ca_bundle: str = ""
    server_name: str = ""
    api_version: str = ""
    max_key_age_days: str = ""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Wanted({self.cluster})"

    @property
    def members(self) -> dict[str, Any]:
        """The value of the secret."""
        named = {
            "mvip": self.mvip,
            "username": self.username,
            "password": self.password,
            "certificateFingerprint": self.fingerprint,
            "caBundle": self.ca_bundle,
            "serverName": self.server_name,
            "apiVersion": self.api_version,
        }
        return {name: value for name, value in named.items() if value}

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """The tags of the secret."""
        return ((TAG_MAX_KEY_AGE, self.max_key_age_days),) if self.max_key_age_days else ()


class NotRegistered(Exception):
    """One cluster cannot be registered; one sentence."""


@click.command()
@click.argument("cluster", required=False)
@click.option("--mvip", default="", help="Management address or host name; with :port where it is not 443.")
@click.option("--username", default="", help="The cluster administrator.")
@click.option("--fingerprint", default="", help="SHA-256 of its certificate; shown, and asked about, if not given.")
@click.option("--ca-bundle", type=FILE, metavar="FILE", help="PEM of the authority that issued the certificate.")
@click.option("--server-name", default="", help="The name in the certificate, where it is not the mvip.")
@click.option("--max-key-age-days", default="", metavar="DAYS", help="In place of the parameter MaxKeyAgeDays.")
@click.option("--from-file", type=FILE, metavar="FILE", help="Many at once, from a CSV file.")
@click.option("--unseen", is_flag=True, help="Without a look: where this machine does not reach the cluster.")
@command
def register(  # noqa: PLR0913 - one for each option
    given: Given,
    cluster: str | None,
    *,
    mvip: str,
    username: str,
    fingerprint: str,
    ca_bundle: Path | None,
    server_name: str,
    max_key_age_days: str,
    from_file: Path | None,
    unseen: bool,
) -> Exit:
    """Register CLUSTER, or every one of a file, after a look at it.

    What is missing is asked for, the password without showing it. The certificate's fingerprint is shown, to be
    compared with the one on the cluster; then the cluster is looked at, and only then its secret is made. The columns
    of a file: cluster, mvip, username, password, and if need be certificateFingerprint, serverName, apiVersion,
    maxKeyAgeDays. Whoever is registered already is left as it is.
    """
    if bool(cluster) == bool(from_file):
        raise CommandFailed("Name the cluster, or say --from-file.", Exit.USAGE)
    if from_file:
        wanted = of_file(from_file)
    else:
        bundle = ca_bundle.read_text(encoding="utf-8") if ca_bundle else ""
        one = Wanted(str(cluster), mvip, username, "", fingerprint, bundle, server_name)
        wanted = [replace(one, max_key_age_days=max_key_age_days)]
    deployment = given.deployment
    known = {one.cluster for one in deployment.registry.registered([one.cluster for one in wanted])}
    lines = [
        RegistrationLine(one.cluster, registered=True, changed=False, detail="It is registered already.")
        if one.cluster in known
        else _register(given, one, look=not unseen)
        for one in wanted
    ]
    return _told(given, lines)


def of_file(file: Path) -> list[Wanted]:
    """The registrations in a file. Raises CommandFailed, naming the column or the row."""
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text)
        columns = list(rows.fieldnames or ())
        unknown = [name for name in columns if name not in COLUMNS]
        missing = [name for name in tuple(COLUMNS)[:4] if name not in columns]
        if unknown or missing:
            what = f"unknown columns: {', '.join(unknown)}" if unknown else f"columns missing: {', '.join(missing)}"
            raise CommandFailed(f"{file}: {what}; known are {', '.join(COLUMNS)}.", Exit.USAGE)
        found = []
        for number, row in enumerate(rows, start=2):
            values = {COLUMNS[name]: value or "" for name, value in row.items() if name in COLUMNS}
            if None in row or not all(values[COLUMNS[name]] for name in tuple(COLUMNS)[:4]):
                raise CommandFailed(f"{file}, line {number}: a value is missing, or there is one too many.", Exit.USAGE)
            found.append(Wanted(**values))
    return found


def _register(given: Given, wanted: Wanted, *, look: bool) -> RegistrationLine:
    try:
        _check_name(given.deployment, wanted)
        wanted = _trusted(given, _asked(wanted), look=look)
        uuid = _looked_at(given, wanted) if look else ""
        restored = make_secret(given.deployment, wanted)
    except NotRegistered as refused:
        return RegistrationLine(wanted.cluster, registered=False, changed=False, detail=str(refused))
    detail = "Registered again; its deleted secret was restored." if restored else "Registered."
    return RegistrationLine(
        wanted.cluster,
        registered=True,
        changed=True,
        detail=detail,
        cluster_uuid=uuid or None,
        certificate_fingerprint=wanted.fingerprint or None,
    )


def _check_name(deployment: Deployment, wanted: Wanted) -> None:
    """Raises NotRegistered where a fleet run could not select it, by its name or its tags."""
    now, asked = deployment.clock(), FleetRequest(trigger=Trigger.SCHEDULE)
    one = Registered(wanted.cluster, wanted.tags)
    run = select(deployment.fleet_settings, Execution("register", now), asked, [one])
    for refused in run.not_selected:
        raise NotRegistered(refused.cause)


def _asked(wanted: Wanted) -> Wanted:
    """The registration with what was missing."""
    return replace(
        wanted,
        mvip=wanted.mvip or click.prompt("Management address (mvip)", err=True),
        username=wanted.username or click.prompt("Cluster administrator", err=True),
        password=wanted.password or click.prompt("Password", hide_input=True, err=True),
    )


def _trusted(given: Given, wanted: Wanted, *, look: bool) -> Wanted:
    """The registration with a certificate's fingerprint that a person has confirmed, unless it trusts something."""
    if wanted.fingerprint or wanted.ca_bundle or not look:
        return wanted
    try:
        host, port = parse_mvip(wanted.mvip, wanted.cluster)
        shown = presented(host, port, wanted.server_name)
    except ElementRekeyError as error:
        raise NotRegistered(error.what) from None
    except OSError as error:
        raise NotRegistered(f"Its certificate cannot be fetched from {wanted.mvip}: {error}.") from None
    until = f", valid until {in_full(shown.expires)}" if shown.expires else ""
    given.page.line(f"{wanted.cluster} at {wanted.mvip} presents a certificate{until}, with the SHA-256 fingerprint")
    given.page.line(f"  {shown.fingerprint}")
    if not click.confirm("Is it the one that the cluster itself shows?", default=False, err=True):
        raise NotRegistered("Its certificate was not confirmed.")
    return replace(wanted, fingerprint=shown.fingerprint)


def _looked_at(given: Given, wanted: Wanted) -> str:
    """The uuid of the cluster that answers. Raises NotRegistered where a rotation could not look at it."""
    meeting = Meeting(wanted.cluster, wanted.members, given.tool.clock)
    hops = []
    for hop in meeting.hops():
        hops.append(hop)
        given.page.hop(hop)
    if not meeting.uuid or (not all_well(hops) and not click.confirm("Register it all the same?", err=True)):
        raise NotRegistered("It was looked at, and is not fit; see above.")
    return meeting.uuid


def make_secret(deployment: Deployment, wanted: Wanted) -> bool:
    """Make the secret of a cluster (``CreateSecret``); True where a deleted one was restored and overwritten."""
    manager = deployment.client("secretsmanager")
    name, text = f"{deployment.outputs['SecretPrefix']}/{wanted.cluster}", json.dumps(wanted.members)
    tags = [{"Key": key, "Value": value} for key, value in wanted.tags]
    kms = deployment.parameters["SecretKmsKeyArn"]
    try:
        manager.create_secret(
            Name=name,
            Description=f"The Element cluster {wanted.cluster}, registered by element-rekey.",
            SecretString=text,
            Tags=tags,
            **({"KmsKeyId": kms} if kms else {}),
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in _THERE or "DeletedDate" not in manager.describe_secret(SecretId=name):
            raise
        manager.restore_secret(SecretId=name)
        manager.put_secret_value(SecretId=name, SecretString=text)
        manager.untag_resource(SecretId=name, TagKeys=[TAG_MAX_KEY_AGE])
        if tags:
            manager.tag_resource(SecretId=name, Tags=tags)
        return True
    return False


@click.command()
@click.argument("cluster")
@click.option("--yes", is_flag=True, help="Without asking.")
@command
def unregister(given: Given, cluster: str, *, yes: bool) -> Exit:
    """Take CLUSTER out of the fleet: nothing rotates it any more.

    Its history stays; its secret can be restored for 30 days, by registering it again. An alarm that names it from now
    on is an emergency that is not met.
    """
    deployment = given.deployment
    refuse_unknown(deployment, (cluster,))
    running = running_rotations(deployment).get(cluster)
    if running:
        shown = f"element-rekey show{given.options} {name_of(running[0].execution.id)}"
        raise CommandFailed(f"A rotation of {cluster} runs: wait for its end. {shown}", Exit.OPEN)
    if not yes and not click.confirm(f"Take {cluster} out of the fleet?", default=False, err=True):
        line = RegistrationLine(cluster, registered=True, changed=False, detail="It stays registered.")
        return _told(given, [line])
    name = f"{deployment.outputs['SecretPrefix']}/{cluster}"
    deployment.client("secretsmanager").delete_secret(SecretId=name, RecoveryWindowInDays=RECOVERY_DAYS)
    detail = f"Unregistered. Its history stays; its secret can be restored for {RECOVERY_DAYS} days."
    return _told(given, [RegistrationLine(cluster, registered=False, changed=True, detail=detail)])


def _told(given: Given, lines: list[RegistrationLine]) -> Exit:
    if given.as_json:
        given.say(RegistrationDocument(REGISTRATION_SCHEMA, given.deployment.stack, tuple(lines)))
    else:
        for one in lines:
            given.page.line(f"{one.cluster}: {one.detail}")
        fresh = [one.cluster for one in lines if one.changed and one.registered]
        if fresh:
            given.page.line(f"Next: element-rekey rotate{given.options} {fresh[0]} --dry-run")
    return Exit.DONE if all(one.registered or one.changed for one in lines) else Exit.OPEN
