"""Drives a simulated cluster with NetApp's own Python SDK and prints what came of it, step by step, as JSON.

It runs in the SDK's environment (requirements/sdk-oracle.txt), so it may import nothing of this project.
Standard input: {"full": cluster, "reporting": cluster, "later": cluster}, each {mvip, username, password, caFile}.
Standard output: {"step": {"ok": value} | {"error": {"type", "name", "message"}}, ...}.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from solidfire.factory import ElementFactory

if TYPE_CHECKING:
    from collections.abc import Callable

    from solidfire import Element

POLLS = 20


class Transcript:
    """The steps so far; a step that raises is recorded and does not stop the rest."""

    def __init__(self) -> None:
        self.steps: dict[str, object] = {}

    def take(self, step: str, action: Callable[[], Any]) -> Any:  # noqa: ANN401 - the SDK has no types
        """Runs one step, records its outcome, and returns its value, None if it raised."""
        try:
            value = action()
        except Exception as error:  # noqa: BLE001 - every error the SDK makes is a finding
            self.steps[step] = {
                "error": {
                    "type": type(error).__name__,
                    "name": getattr(error, "error_name", None),
                    "message": getattr(error, "message", None) or str(error),
                }
            }
            return None
        self.steps[step] = {"ok": value.to_json() if hasattr(value, "to_json") else value}
        return value


def connect(cluster: dict[str, str], **changes: object) -> Element:
    """An SDK connection to a cluster, with whatever of its registration is to be different."""
    options = {"verify_ssl": False, "print_ascii_art": False, "timeout": 10} | changes
    password = options.pop("password", cluster["password"])
    return ElementFactory.create(cluster["mvip"], cluster["username"], password, **options)


def poll(element: Element, handle: int, phases: list[str]) -> dict[str, object]:
    """Polls a rekey with keepResult until it is complete; notes the phases. Each poll moves the cluster's clock."""
    for _ in range(POLLS):
        result = element.get_async_result(handle, keep_result=True)
        if result["status"] == "complete":
            return result
        phases.append(result["details"]["state"])
    raise TimeoutError("the rekey did not end")


def rekey(transcript: Transcript, element: Element, name: str, **arguments: object) -> int:
    """One rekey from request to result, kept."""
    phases = []
    started = transcript.take(
        name + ":start", lambda: element.rekey_software_encryption_at_rest_master_key(**arguments)
    )
    handle = started.async_handle if started else None
    transcript.take(name + ":result", lambda: poll(element, handle, phases))
    transcript.take(name + ":phases", lambda: phases)
    transcript.take(name + ":info", element.get_software_encryption_at_rest_info)
    return handle


def main() -> None:
    """All steps."""
    clusters = json.load(sys.stdin)
    full = clusters["full"]
    transcript = Transcript()
    take = transcript.take
    element = connect(full)
    take("connect", lambda: str(element.api_version))
    take("connect-verified", lambda: str(connect(full, verify_ssl=full["caFile"]).api_version))
    take("connect-by-version", lambda: str(connect(full, version="11.0").api_version))
    take("too-old", lambda: connect(full, version="11.0").send_request("GetSoftwareEncryptionAtRestInfo", dict))
    take("wrong-password", lambda: connect(full, password="wrong"))
    take("api", element.get_api)
    take("cluster", element.get_cluster_info)
    take("versions", element.get_cluster_version_info)
    take("admin", element.get_current_cluster_admin)
    take("master", element.get_cluster_master_node_id)
    take("drive-encryption", element.get_encryption_at_rest_info)
    take("faults", lambda: element.list_cluster_faults(best_practices=False, fault_types="current"))
    take("providers", element.list_key_providers_kmip)
    take("provider", lambda: element.get_key_provider_kmip(15))
    take("servers", element.list_key_servers_kmip)
    take("test-provider", lambda: element.test_key_provider_kmip(15))
    take("test-provider-unknown", lambda: element.test_key_provider_kmip(99))
    take("test-server", lambda: element.test_key_server_kmip(6))
    take("before", element.get_software_encryption_at_rest_info)
    rekey(transcript, element, "internal")
    handle = rekey(transcript, element, "external", key_management_type="External", key_provider_id=15)
    take("active-providers", lambda: element.list_key_providers_kmip(key_provider_is_active=True))
    take("list", element.list_async_results)
    take("kept", lambda: element.get_async_result(handle, keep_result=True))
    take("removed", lambda: element.get_async_result(handle))
    take("gone", lambda: element.get_async_result(handle))
    take("after", element.get_software_encryption_at_rest_info)
    take("invalid", lambda: element.rekey_software_encryption_at_rest_master_key("Internal", 15))
    take("unknown-method", lambda: element.send_request("FlyToTheMoon", dict))
    reporting = connect(clusters["reporting"])
    take("reporting:cluster", lambda: reporting.get_cluster_info().cluster_info.name)
    take("reporting:rekey", reporting.rekey_software_encryption_at_rest_master_key)
    later = connect(clusters["later"])
    take("later:rekey", later.rekey_software_encryption_at_rest_master_key)
    json.dump(transcript.steps, sys.stdout)


if __name__ == "__main__":
    main()
