from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from element_rekey.aws import registry
from element_rekey.aws.registry import FRESH, SecretsRegistry
from element_rekey.element.client import ElementApi
from element_rekey.errors import AwsCallFailed, ClusterNotRegistered, RegistrationInvalid
from element_rekey.records import Registered, Registration
from tests.fakes import NOW, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from mypy_boto3_secretsmanager import SecretsManagerClient


PASSWORD = "s3cr3t-Passw0rd"
REGISTRATION = {"mvip": "192.0.2.1", "username": "rekey", "password": PASSWORD}


@pytest.fixture(scope="module")
def manager() -> Iterator[SecretsManagerClient]:
    with mock_aws():
        yield boto3.client("secretsmanager", region_name="eu-central-1")


@pytest.fixture
def secrets(manager: SecretsManagerClient) -> SecretsManagerClient:
    for page in list(manager.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True)):
        for secret in page["SecretList"]:
            manager.delete_secret(SecretId=secret["Name"], ForceDeleteWithoutRecovery=True)
    return manager


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def registered(
    secrets: SecretsManagerClient, value: object = REGISTRATION, clock: Callable[[], datetime] | None = None
) -> SecretsRegistry:
    text = value if isinstance(value, str) else json.dumps(value)
    secrets.create_secret(Name="element-rekey/prod-a", SecretString=text)
    return SecretsRegistry(secrets, "element-rekey", clock or FakeClock())


ONCE = Config(retries={"total_max_attempts": 1})


def unreachable(**_: object) -> None:
    raise EndpointConnectionError(endpoint_url="https://somewhere.amazonaws.com")


def test_a_secret_is_a_registration(secrets: SecretsManagerClient) -> None:
    assert registered(secrets).registration("prod-a") == Registration("192.0.2.1", "rekey", PASSWORD)


def test_everything_a_registration_may_say_is_read(secrets: SecretsManagerClient) -> None:
    more = {
        "caBundle": "-----BEGIN CERTIFICATE-----",
        "serverName": "cluster.example",
        "certificateFingerprint": "AB:CD",
        "apiVersion": "12.8",
    }
    assert registered(secrets, REGISTRATION | more).registration("prod-a") == Registration(
        mvip="192.0.2.1",
        username="rekey",
        password=PASSWORD,
        ca_bundle="-----BEGIN CERTIFICATE-----",
        server_name="cluster.example",
        certificate_fingerprints=("AB:CD",),
        api_version="12.8",
    )


def test_two_fingerprints_are_a_list(secrets: SecretsManagerClient) -> None:
    known = registered(secrets, REGISTRATION | {"certificateFingerprint": ["AB:CD", "EF:01"]}).registration("prod-a")
    assert known.certificate_fingerprints == ("AB:CD", "EF:01")


def test_a_cluster_without_a_secret_is_not_registered(secrets: SecretsManagerClient) -> None:
    with pytest.raises(ClusterNotRegistered, match="element-rekey/prod-b") as caught:
        registered(secrets).connect("prod-b")
    assert caught.value.cluster == "prod-b"


def test_a_secret_marked_for_deletion_registers_nothing_any_more(secrets: SecretsManagerClient) -> None:
    registry_ = registered(secrets)
    secrets.delete_secret(SecretId="element-rekey/prod-a", RecoveryWindowInDays=7)
    with pytest.raises(ClusterNotRegistered):
        registry_.registration("prod-a")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f'{{"mvip": "192.0.2.1", "password": "{PASSWORD}"', "is not JSON"),
        (PASSWORD, "is not JSON"),
        ([PASSWORD], "expected an object, not a list"),
        (REGISTRATION | {"pasword": PASSWORD}, "pasword: unknown member"),
        ({"mvip": "192.0.2.1", "password": PASSWORD}, "username: missing"),
        (REGISTRATION | {"password": [PASSWORD]}, "password: expected a string, not a list"),
        (REGISTRATION | {"password": 12345678}, "password: expected a string, not a number"),
        (REGISTRATION | {"certificateFingerprint": 12345678}, "certificateFingerprint: expected a list, not a number"),
        (
            REGISTRATION | {"certificateFingerprint": ["AB:CD", 12345678]},
            "certificateFingerprint[1]: expected a string, not a number",
        ),
    ],
)
def test_a_wrong_registration_names_the_member_and_never_quotes_the_secret(
    secrets: SecretsManagerClient, value: object, said: str
) -> None:
    with pytest.raises(RegistrationInvalid) as caught:
        registered(secrets, value).connect("prod-a")
    assert said in caught.value.what
    assert caught.value.cluster == "prod-a"
    chain = (caught.value, caught.value.__cause__)
    assert caught.value.__suppress_context__
    for text in map(repr, chain):
        assert PASSWORD not in text
        assert "12345678" not in text


def test_a_secret_of_bytes_is_no_registration(secrets: SecretsManagerClient) -> None:
    secrets.create_secret(Name="element-rekey/prod-a", SecretBinary=json.dumps(REGISTRATION).encode())
    with pytest.raises(RegistrationInvalid, match="is not JSON"):
        SecretsRegistry(secrets, "element-rekey", FakeClock()).registration("prod-a")


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "Not you."}}, "GetSecretValue"),
        ClientError({"Error": {"Code": "DecryptionFailure", "Message": "No key."}}, "GetSecretValue"),
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "Slowly."}}, "GetSecretValue"),
        EndpointConnectionError(endpoint_url="https://secretsmanager"),
    ],
)
def test_a_secret_that_cannot_be_read_now_is_a_failed_call(error: Exception) -> None:
    def refused(**_: object) -> None:
        raise error

    client = cast("SecretsManagerClient", SimpleNamespace(get_secret_value=refused))
    with pytest.raises(AwsCallFailed, match="Secrets Manager did not give element-rekey/prod-a") as caught:
        SecretsRegistry(client, "element-rekey", FakeClock()).connect("prod-a")
    assert caught.value.cluster == "prod-a"


# --- connected clients ---


@dataclass
class Api:
    """In place of the Element client: keeps what it was made with."""

    cluster: str
    registration: Registration
    refresh: Callable[[], Registration]
    clock: Callable[[], datetime]
    made: list[Any] = field(default_factory=list)
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def apis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ElementApi", Api)


def change_password(secrets: SecretsManagerClient, password: str) -> None:
    text = json.dumps(REGISTRATION | {"password": password})
    secrets.put_secret_value(SecretId="element-rekey/prod-a", SecretString=text)


def connect(registry_: SecretsRegistry) -> Api:
    return cast("Api", registry_.connect("prod-a"))


@pytest.mark.usefixtures("apis")
def test_the_client_is_made_of_the_registration_and_the_clock(secrets: SecretsManagerClient, clock: FakeClock) -> None:
    api = connect(registered(secrets, clock=clock))
    assert api.cluster == "prod-a"
    assert api.registration.password == PASSWORD
    assert api.clock is clock


@pytest.mark.usefixtures("apis")
def test_whoever_sends_a_rekey_reads_the_secret_afresh(secrets: SecretsManagerClient, clock: FakeClock) -> None:
    """A registration corrected within the last minute is the one that is looked at, and sent to."""
    registry = registered(secrets, clock=clock)
    first = registry.connect("prod-a")
    assert registry.connect("prod-a", afresh=True) is first, "nothing has changed"
    secrets.put_secret_value(
        SecretId="element-rekey/prod-a", SecretString=json.dumps(REGISTRATION | {"mvip": "192.0.2.2"})
    )
    assert registry.connect("prod-a") is first
    assert registry.connect("prod-a", afresh=True) is not first
    registry.close()


@pytest.mark.usefixtures("apis")
def test_a_secret_is_used_for_a_minute_and_then_read_again(secrets: SecretsManagerClient, clock: FakeClock) -> None:
    registry_ = registered(secrets, clock=clock)
    first = connect(registry_)
    change_password(secrets, "another")
    clock.now = NOW + FRESH - timedelta(seconds=1)
    assert connect(registry_) is first
    clock.now = NOW + FRESH
    second = connect(registry_)
    assert second is not first
    assert second.registration.password == "another"


@pytest.mark.usefixtures("apis")
def test_an_unchanged_secret_keeps_its_connection_and_is_fresh_again(
    secrets: SecretsManagerClient, clock: FakeClock
) -> None:
    registry_ = registered(secrets, clock=clock)
    first = connect(registry_)
    clock.now = NOW + FRESH
    assert connect(registry_) is first
    change_password(secrets, "another")
    clock.now = NOW + 2 * FRESH - timedelta(seconds=1)
    assert connect(registry_) is first


@pytest.mark.usefixtures("apis")
def test_a_client_that_was_refused_can_read_the_secret_again_at_once(
    secrets: SecretsManagerClient, clock: FakeClock
) -> None:
    api = connect(registered(secrets, clock=clock))
    change_password(secrets, "another")
    assert api.refresh().password == "another"


@pytest.mark.usefixtures("apis")
def test_two_clusters_have_two_clients(secrets: SecretsManagerClient) -> None:
    registry_ = registered(secrets)
    secrets.create_secret(Name="element-rekey/prod-b", SecretString=json.dumps(REGISTRATION | {"mvip": "192.0.2.2"}))
    assert connect(registry_).registration.mvip == "192.0.2.1"
    assert cast("Api", registry_.connect("prod-b")).registration.mvip == "192.0.2.2"


def test_what_connects_is_the_element_client_and_it_opens_nothing_yet(secrets: SecretsManagerClient) -> None:
    assert isinstance(registered(secrets).connect("prod-a"), ElementApi)


def test_a_registration_never_shows_its_password() -> None:
    assert PASSWORD not in repr(Registration("192.0.2.1", "rekey", PASSWORD))


# --- the list of all ---


def test_every_secret_under_the_prefix_is_a_registered_cluster(secrets: SecretsManagerClient) -> None:
    registry_ = registered(secrets)
    secrets.create_secret(
        Name="element-rekey/prod-b",
        SecretString="{}",
        Tags=[{"Key": "element-rekey:max-key-age-days", "Value": "30"}],
    )
    secrets.create_secret(Name="element-rekey-other/prod-c", SecretString="{}")
    secrets.create_secret(Name="other/element-rekey/prod-d", SecretString="{}")
    assert set(registry_.registered()) == {
        Registered("prod-a"),
        Registered("prod-b", (("element-rekey:max-key-age-days", "30"),)),
    }


def test_a_list_of_many_pages_is_read_to_its_end(secrets: SecretsManagerClient) -> None:
    for number in range(105):
        secrets.create_secret(Name=f"element-rekey/c{number}", SecretString="{}")
    found = SecretsRegistry(secrets, "element-rekey", FakeClock()).registered()
    assert len({one.cluster for one in found}) == 105


def test_a_filter_that_finds_more_than_the_prefix_registers_nothing_more() -> None:
    listed = [{"SecretList": [{"Name": "Element-Rekey/prod-a"}, {"Name": "element-rekey/prod-b"}]}]
    client = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: listed))
    found = SecretsRegistry(cast("SecretsManagerClient", client), "element-rekey", FakeClock()).registered()
    assert found == (Registered("prod-b"),)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "Not you."}}, "ListSecrets"),
        EndpointConnectionError(endpoint_url="https://secretsmanager"),
    ],
)
def test_a_list_that_cannot_be_read_is_a_failed_call(error: Exception) -> None:
    def pages(**_: object) -> Iterator[None]:
        raise error
        yield

    client = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=pages))
    with pytest.raises(AwsCallFailed, match="did not list element-rekey/"):
        SecretsRegistry(cast("SecretsManagerClient", client), "element-rekey", FakeClock()).registered()


@pytest.fixture
def client(secrets: SecretsManagerClient) -> SecretsManagerClient:
    """A client of one's own for a Secrets Manager without secrets, for whoever hooks into its calls."""
    assert secrets
    made: SecretsManagerClient = boto3.client("secretsmanager", region_name="eu-central-1", config=ONCE)
    return made


def register(client: SecretsManagerClient, name: str, **tags: str) -> None:
    listed = [{"Key": key.replace("__", ":").replace("_", "-"), "Value": value} for key, value in tags.items()]
    client.create_secret(Name=name, SecretString="not looked at", Tags=listed)  # type: ignore[arg-type]  # as made


def registry_over(client: SecretsManagerClient) -> SecretsRegistry:
    return SecretsRegistry(client, "element-rekey", FakeClock())


def test_every_secret_under_the_prefix_is_a_registration(client: SecretsManagerClient) -> None:
    register(client, "element-rekey/prod-a", element_rekey__max_key_age_days="30", team="storage")
    register(client, "element-rekey/prod-b")
    register(client, "element-rekey/deep/er")
    register(client, "element-rekey-test/prod-c")
    register(client, "other/element-rekey/prod-d")
    assert sorted(registry_over(client).registered(), key=lambda one: one.cluster) == [
        Registered("deep/er"),
        Registered("prod-a", (("element-rekey:max-key-age-days", "30"), ("team", "storage"))),
        Registered("prod-b"),
    ]


def test_a_secret_marked_for_deletion_is_no_registration(client: SecretsManagerClient) -> None:
    register(client, "element-rekey/prod-a")
    register(client, "element-rekey/prod-b")
    client.delete_secret(SecretId="element-rekey/prod-a", RecoveryWindowInDays=7)
    assert registry_over(client).registered() == (Registered("prod-b"),)


def test_all_pages_are_read_and_no_secret_is_opened(client: SecretsManagerClient) -> None:
    names = [f"cluster-{number:03}" for number in range(230)]
    for name in names:
        register(client, f"element-rekey/{name}")
    called: list[str] = []
    client.meta.events.register("before-call.secrets-manager", lambda model, **_: called.append(model.name))
    assert sorted(one.cluster for one in registry_over(client).registered()) == names
    assert called == ["ListSecrets"] * 3


def test_a_name_that_only_looks_alike_is_left_out(client: SecretsManagerClient) -> None:
    """Whatever a page holds, what does not begin with the prefix is nobody's registration."""
    listed = {"SecretList": [{"Name": "Element-Rekey/prod-a"}, {"Name": "element-rekey/prod-b"}]}
    client.meta.events.register("before-call.secrets-manager.ListSecrets", lambda **_: (OK, listed))  # type: ignore[arg-type]
    assert registry_over(client).registered() == (Registered("prod-b"),)


class OK:
    """The HTTP side of a made-up answer."""

    status_code = 200


def test_a_listing_that_fails_is_a_call_that_failed(client: SecretsManagerClient) -> None:
    client.meta.events.register("before-send.secrets-manager.ListSecrets", unreachable)
    with pytest.raises(AwsCallFailed, match=r"Secrets Manager did not list element-rekey/\*"):
        registry_over(client).registered()


def test_a_listing_that_is_denied_is_a_call_that_failed(client: SecretsManagerClient) -> None:
    def denied(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "ListSecrets")

    client.meta.events.register("before-send.secrets-manager.ListSecrets", denied)
    with pytest.raises(AwsCallFailed, match="AccessDeniedException"):
        registry_over(client).registered()


# --- clusters by their names ---


def test_a_cluster_asked_for_by_its_name_is_found_although_the_list_does_not_show_it_yet(
    client: SecretsManagerClient,
) -> None:
    register(client, "element-rekey/prod-a", element_rekey__max_key_age_days="30")
    register(client, "element-rekey/prod-b")
    nothing: dict[str, Any] = {"SecretList": []}
    client.meta.events.register("before-call.secrets-manager.ListSecrets", lambda **_: (OK, nothing))  # type: ignore[arg-type]
    registry_ = registry_over(client)
    assert registry_.registered() == ()
    assert registry_.registered(("prod-b", "nowhere", "prod-a", "prod-b")) == (
        Registered("prod-a", (("element-rekey:max-key-age-days", "30"),)),
        Registered("prod-b"),
    )
    assert registry_.registered(()) == ()


def test_a_cluster_asked_for_by_its_name_is_looked_up_once_and_its_secret_not_opened(
    client: SecretsManagerClient,
) -> None:
    register(client, "element-rekey/prod-a")
    called: list[str] = []
    client.meta.events.register("before-call.secrets-manager", lambda model, **_: called.append(model.name))
    registry_over(client).registered(["prod-a", "prod-a"])
    assert called == ["DescribeSecret"]


def test_a_cluster_asked_for_by_its_name_whose_secret_is_marked_for_deletion_is_not_registered(
    client: SecretsManagerClient,
) -> None:
    register(client, "element-rekey/prod-a")
    client.delete_secret(SecretId="element-rekey/prod-a", RecoveryWindowInDays=7)
    assert registry_over(client).registered(["prod-a"]) == ()


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "Not you."}}, "DescribeSecret"),
        EndpointConnectionError(endpoint_url="https://secretsmanager"),
    ],
)
def test_a_look_up_that_fails_is_a_failed_call_and_not_an_absent_cluster(error: Exception) -> None:
    def refused(**_: object) -> None:
        raise error

    client = cast("SecretsManagerClient", SimpleNamespace(describe_secret=refused))
    with pytest.raises(AwsCallFailed, match="did not describe element-rekey/prod-a") as caught:
        registry_over(client).registered(["prod-a"])
    assert caught.value.cluster == "prod-a"
