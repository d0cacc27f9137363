"""What an execution would have cost on AWS: list prices of us-east-1 without the free tier."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.deployment import Deployment

TRANSITION = 0.025 / 1_000  # Step Functions, Standard
INVOCATION = 0.20 / 1_000_000  # Lambda, arm64
GIGABYTE_SECOND = 0.0000133334
REPORT = re.compile(r"Billed Duration: (\d+) ms\tMemory Size: (\d+) MB")


@dataclass(frozen=True)
class Cost:
    """The two services that make up nearly all of it; durations are those of this machine."""

    transitions: int
    invocations: int
    gigabyte_seconds: float

    @property
    def dollars(self) -> float:
        """The sum."""
        return self.transitions * TRANSITION + self.invocations * INVOCATION + self.gigabyte_seconds * GIGABYTE_SECOND

    def __str__(self) -> str:
        """The sum and how it comes about, in one line."""
        return (
            f"${self.dollars:.5f} = {self.transitions} transitions at $0.025 per 1000 + {self.invocations} invocations "
            f"at $0.20 per million + {self.gigabyte_seconds:.2f} GB-s at $0.0000133334"
        )


def cost_of(deployment: Deployment, transitions: int) -> Cost:
    """The cost of all that the functions of a deployment did so far, as they report it in their logs."""
    reports = [
        match
        for group in deployment.log_groups
        for event in deployment.aws.logs.filter_log_events(logGroupName=group, filterPattern="REPORT")["events"]
        if (match := REPORT.search(event["message"]))
    ]
    used = sum(int(report[1]) / 1000 * int(report[2]) / 1024 for report in reports)
    return Cost(transitions, len(reports), used)
