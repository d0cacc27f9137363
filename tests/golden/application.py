"""All that the golden tests import from the application, in one place: its names may change, what it stores may not."""

from __future__ import annotations

from element_rekey.aws.ledger import DynamoLedger
from element_rekey.aws.registry import SecretsRegistry
from element_rekey.aws.topic import SnsTopic
from element_rekey.cluster import KeyManagementType
from element_rekey.codec import decode, encode, wire_name
from element_rekey.errors import FleetIncomplete
from element_rekey.notifications import KeyChangedOutside, Notification, RotationNotice
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.ports import Ports
from element_rekey.records import Claim, ClusterMemory, Execution, FleetRun, Lock, Readiness, Rotation
from element_rekey.rotation.steps import Status
from element_rekey.summary import Summary

__all__ = [
    "Claim",
    "ClusterMemory",
    "DynamoLedger",
    "Execution",
    "FleetIncomplete",
    "FleetRun",
    "KeyChangedOutside",
    "KeyManagementType",
    "Lock",
    "Notification",
    "Outcome",
    "Ports",
    "Readiness",
    "Rotation",
    "RotationNotice",
    "SecretsRegistry",
    "SnsTopic",
    "Status",
    "Summary",
    "Trigger",
    "decode",
    "encode",
    "wire_name",
]
