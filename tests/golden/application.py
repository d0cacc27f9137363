"""All that the golden tests import from the application, in one place: its names may change, what it stores may not."""

from __future__ import annotations

from element_rekey.codec import encode, json_name
from element_rekey.directory import SecretsDirectory
from element_rekey.ledger import DynamoLedger
from element_rekey.model import ClusterMemory, FleetRun, KeyManagementType, Lock, Outcome, Rotation, Trigger
from element_rekey.notifications import Notification
from element_rekey.ports import Ports
from element_rekey.rotation import Status
from element_rekey.summary import Summary
from element_rekey.topic import SnsTopic

__all__ = [
    "ClusterMemory",
    "DynamoLedger",
    "FleetRun",
    "KeyManagementType",
    "Lock",
    "Notification",
    "Outcome",
    "Ports",
    "Rotation",
    "SecretsDirectory",
    "SnsTopic",
    "Status",
    "Summary",
    "Trigger",
    "encode",
    "json_name",
]
