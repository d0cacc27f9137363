"""NetApp's own SDK drives a whole rekey against the simulator: what it believes, the simulator may answer."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.simulator import ClusterSpec, RunningCluster, Simulator
from local.simulator.__main__ import description

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator import SimulatedCluster

# One run of the SDK serves all tests of this module, also where tests run in several processes.
pytestmark = pytest.mark.xdist_group("sdk-oracle")

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("sdk_driver.py")


REKEY_SECONDS = 60.0
POLL = timedelta(seconds=10)


class PollClock:
    """A clock that only a poll moves: what the SDK sees of a rekey is the same on every machine, however busy it is."""

    def __init__(self) -> None:
        self.polled: SimulatedCluster | None = None

    def __call__(self) -> datetime:
        polls = self.polled.calls["GetAsyncResult"] if self.polled else 0
        return datetime(2026, 1, 31, 12, 0, 18, tzinfo=UTC) + polls * POLL


def sdk_python() -> Path:
    python = Path(os.environ.get("SDK_PYTHON") or ROOT / ".venv-sdk" / "bin" / "python")
    if not python.exists():
        pytest.fail(f"NetApp's SDK is not installed: {python} is missing; make it with requirements/sdk-oracle.txt.")
    return python


@pytest.fixture(scope="module")
def clusters() -> Iterator[Simulator]:
    clock = PollClock()
    specs = [
        ClusterSpec(name="full", rekey_seconds=REKEY_SECONDS, cluster_faults=("nodeOffline",), clock=clock),
        ClusterSpec(name="reporting", role="reporting"),
        ClusterSpec(name="later", api_version="12.10"),
    ]
    with Simulator(specs) as simulator:
        clock.polled = simulator["full"].cluster
        yield simulator


@pytest.fixture(scope="module")
def full(clusters: Simulator) -> RunningCluster:
    return clusters["full"]


@pytest.fixture(scope="module")
def transcript(clusters: Simulator) -> dict[str, dict[str, Any]]:
    descriptions = {running.name: description(running) for running in clusters}
    # The SDK would take the machine's CA bundle or proxy from the environment.
    done = subprocess.run(  # noqa: S603
        [str(sdk_python()), "-W", "ignore", str(DRIVER)],
        input=json.dumps(descriptions),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*"},
    )
    assert done.returncode == 0, done.stderr
    steps: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return steps


def ok(transcript: dict[str, dict[str, Any]], step: str) -> Any:  # noqa: ANN401 - whatever JSON the SDK made
    assert "ok" in transcript[step], f"{step}: {transcript[step]}"
    return transcript[step]["ok"]


def error(transcript: dict[str, dict[str, Any]], step: str) -> dict[str, str]:
    assert "error" in transcript[step], f"{step}: {transcript[step]}"
    found: dict[str, str] = transcript[step]["error"]
    return found


def test_it_connects_verified_or_not_and_to_an_older_endpoint(transcript: dict[str, dict[str, Any]]) -> None:
    assert ok(transcript, "connect") == "12.3"
    assert ok(transcript, "connect-verified") == "12.3"
    assert ok(transcript, "connect-by-version") == "11.0"


def test_an_older_endpoint_does_not_know_the_new_methods(transcript: dict[str, dict[str, Any]]) -> None:
    assert error(transcript, "too-old")["name"] == "xUnknownAPIMethod"


def test_it_recognises_a_wrong_password(transcript: dict[str, dict[str, Any]]) -> None:
    found = error(transcript, "wrong-password")
    assert found["type"] == "ApiConnectionError"
    assert "Bad Credentials" in found["message"]


def test_it_reads_the_cluster(transcript: dict[str, dict[str, Any]], full: RunningCluster) -> None:
    api = ok(transcript, "api")
    assert (api["currentVersion"], api["supportedVersions"][0], api["supportedVersions"][-1]) == ("12.3", "1.0", "12.3")
    info = ok(transcript, "cluster")["clusterInfo"]
    assert (info["name"], info["uuid"]) == ("full", full.cluster.uuid)
    assert info["softwareEncryptionAtRestState"] == "enabled"
    versions = ok(transcript, "versions")
    assert versions["clusterAPIVersion"] == "12.3"
    assert [node["nodeID"] for node in versions["clusterVersionInfo"]] == [1, 2, 3, 4]
    assert ok(transcript, "admin")["clusterAdmin"]["access"] == ["administrator"]
    assert ok(transcript, "master") == {"nodeID": info["mvipNodeID"]}
    assert ok(transcript, "drive-encryption") == {"state": "disabled"}


def test_it_reads_faults_providers_and_servers(transcript: dict[str, dict[str, Any]]) -> None:
    assert [fault["code"] for fault in ok(transcript, "faults")["faults"]] == ["nodeOffline"]
    provider = ok(transcript, "provider")["kmipKeyProvider"]
    assert ok(transcript, "providers")["kmipKeyProviders"] == [provider]
    assert (provider["keyProviderID"], provider["keyProviderIsActive"], provider["keyServerIDs"]) == (15, False, [6])
    assert [one["keyServerID"] for one in ok(transcript, "servers")["kmipKeyServers"]] == [6]


def test_it_tests_providers_and_servers(transcript: dict[str, dict[str, Any]]) -> None:
    assert ok(transcript, "test-provider") == {}
    assert ok(transcript, "test-server") == {}
    assert error(transcript, "test-provider-unknown")["name"] == "xKeyProviderDoesNotExist"


def test_it_rekeys_under_internal_management(transcript: dict[str, dict[str, Any]]) -> None:
    before = ok(transcript, "before")["masterKeyInfo"]
    result = ok(transcript, "internal:result")["result"]
    after = ok(transcript, "internal:info")
    assert result["state"] == "Ready"
    assert result["keyToDecommission"] == {"keyID": before["keyID"], "keyManagementType": "internal"}
    assert result["newKey"] == {"keyID": after["masterKeyInfo"]["keyID"], "keyManagementType": "internal"}
    assert after["masterKeyInfo"]["keyID"] != before["keyID"]
    assert after["rekeyMasterKeyAsyncResultID"] == ok(transcript, "internal:start")["asyncHandle"]


def test_it_sees_the_phases_go_by_in_order(transcript: dict[str, dict[str, Any]]) -> None:
    seen = ["CreateNewMasterKey", *["RewrapDataEncryptionKeys"] * 3, "DecommissionOldMasterKey"]
    assert ok(transcript, "internal:phases") == seen
    assert ok(transcript, "external:phases") == seen


def test_it_moves_the_key_to_an_external_provider(transcript: dict[str, dict[str, Any]]) -> None:
    result = ok(transcript, "external:result")["result"]
    info = ok(transcript, "external:info")["masterKeyInfo"]
    assert (info["keyManagementType"], info["keyProviderID"]) == ("external", 15)
    assert result["newKey"] == {"keyID": info["keyID"], "keyManagementType": "external", "keyProviderID": 15}
    assert result["operation"].endswith(
        "transferred from Internal Key Management to External Key Management with keyProviderID=15"
    )
    assert [one["keyProviderID"] for one in ok(transcript, "active-providers")["kmipKeyProviders"]] == [15]


def test_it_lists_rekeys_among_other_results(transcript: dict[str, dict[str, Any]]) -> None:
    types = [one["resultType"] for one in ok(transcript, "list")["asyncHandles"]]
    assert types == ["Clone"] * 3 + ["RekeySoftwareEncryptionAtRestMasterKey"] * 2


def test_a_kept_result_stays_and_one_read_without_keeping_is_gone(transcript: dict[str, dict[str, Any]]) -> None:
    assert ok(transcript, "kept") == ok(transcript, "removed") == ok(transcript, "external:result")
    assert error(transcript, "gone")["name"] == "xDBNoSuchPath"
    assert "rekeyMasterKeyAsyncResultID" in ok(transcript, "external:info")
    assert "rekeyMasterKeyAsyncResultID" not in ok(transcript, "after")


def test_it_learns_what_is_wrong_with_a_call(transcript: dict[str, dict[str, Any]]) -> None:
    assert error(transcript, "invalid")["name"] == "xInvalidParameter"
    unknown = error(transcript, "unknown-method")
    assert unknown["name"] == "xUnknownAPIMethod"
    assert unknown["message"] == "xUnknownAPIMethod  method=FlyToTheMoon"


def test_a_reporting_account_may_look_but_not_rekey(transcript: dict[str, dict[str, Any]], clusters: Simulator) -> None:
    assert ok(transcript, "reporting:cluster") == "reporting"
    assert error(transcript, "reporting:rekey")["name"] == "xPermissionDenied"
    assert clusters["reporting"].cluster.rekeys == ()


def test_only_the_two_rekeys_asked_for_happened(transcript: dict[str, dict[str, Any]], full: RunningCluster) -> None:
    assert [one.handle for one in full.cluster.rekeys] == [
        ok(transcript, "internal:start")["asyncHandle"],
        ok(transcript, "external:start")["asyncHandle"],
    ]
    assert [one.params for one in full.cluster.rekeys] == [{}, {"keyManagementType": "external", "keyProviderID": 15}]


def test_the_sdk_takes_12_10_for_12_1_and_sends_no_rekey(
    transcript: dict[str, dict[str, Any]], clusters: Simulator
) -> None:
    assert error(transcript, "later:rekey")["type"] == "ApiMethodVersionError"
    assert clusters["later"].cluster.calls == {"GetAPI": 1}
