"""Every limit that binds, and the number of clusters at which it does: the table of limits in ``docs/deploy.md``.

What can be taken from the code or the template is taken from there, and the number of clusters is computed.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any

from element_rekey.aws.topic import LARGEST_MESSAGE
from element_rekey.codec import encode
from element_rekey.records import Registered
from element_rekey.rules.selection import (
    LARGEST_RECORD,
    LARGEST_STATE,
    TAG_MAX_KEY_AGE,
    map_input,
    select,
    size_in_bytes,
)
from tests.golden.files import current_release, names, read
from tests.tables import table
from tests.template import TEMPLATE, default, function_timeout, properties, state_machine
from tests.unit.fleet_samples import EXECUTION, FLEET, SCHEDULED

if TYPE_CHECKING:
    from element_rekey.records import FleetRun

STEP_FUNCTIONS = "[Step Functions](https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html)"
DYNAMODB = "[DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html)"
PARTITION = "[DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html)"
LAMBDA = "[Lambda](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)"
SNS = "[SNS](https://docs.aws.amazon.com/general/latest/gr/sns.html)"
CLOUDWATCH = "[CloudWatch](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html)"
EVENTBRIDGE = "[EventBridge](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html)"

STATE = 262_144  # bytes
ITEM = 409_600  # bytes
MESSAGE = 262_144  # bytes
FUNCTIONS_AT_ONCE = 1_000
WRITE_UNITS = 1_000  # of one partition, in a second
BYTES_OF_A_UNIT = 1_024
METRICS_OF_A_GRAPH = 500
POLICY_OF_A_BUS = 10_240  # characters
LONGEST_ROLE_ARN = 200  # characters that a long one of a role has, with its quotes and comma
EVENTS = 25_000
ALL_AT_ONCE = 1_000  # clusters: a large fleet
TEN_MINUTES = timedelta(minutes=10)

LONGEST_NAME, SHORT_NAME = 64, 16


def run_of(clusters: int, letters: int) -> FleetRun:
    """A scheduled run over clusters with names of so many letters, each with a maximum age of its own."""
    tags = ((TAG_MAX_KEY_AGE, "3650"),)
    registered = [Registered(f"{number:05}{'x' * (letters - 5)}", tags) for number in range(clusters)]
    return select(FLEET, EXECUTION, SCHEDULED, registered)


def clusters_in(limit: int, letters: int, *, state: bool) -> int:
    """How many clusters fit into a state, or into the record of a run, to the hundred below."""
    one, many = (
        size_in_bytes(map_input(FLEET, run, SCHEDULED) if state else encode(run))
        for run in (run_of(1, letters), run_of(1 + ALL_AT_ONCE, letters))
    )
    found = 1 + int((limit - one) / ((many - one) / ALL_AT_ONCE))
    return found // 100 * 100


def item_size(value: Any) -> int:  # noqa: ANN401 - DynamoDB's JSON
    """The size of a value, by the rules that DynamoDB documents."""
    ((kind, inner),) = value.items()
    match kind:
        case "M":
            return 3 + sum(1 + len(name.encode()) + item_size(member) for name, member in inner.items())
        case "L":
            return 3 + sum(1 + item_size(member) for member in inner)
        case "S":
            return len(inner.encode())
        case _:
            return 21


def units_of_a_rotation() -> int:
    """The most write units that one rotation of the golden files takes for its record, in the table or in one index."""
    units: dict[str, int] = {}
    for name in names(current_release()):
        if name.startswith("fleet"):
            continue
        for change in chain.from_iterable(step["written"] for step in read(current_release(), name)["steps"]):
            item = change.get("put")
            if item and item["pk"]["S"].startswith("ROTATION#"):
                size = sum(len(member.encode()) + item_size(value) for member, value in item.items())
                key = f"{name} {item['pk']['S']}"
                units[key] = units.get(key, 0) + ceil(size / BYTES_OF_A_UNIT)
    return max(units.values())


def number(value: float) -> str:
    """A number as a person reads it."""
    return f"{int(value):,}"


def limits_table() -> str:
    """A row for each limit."""
    urgent, deadline = default("UrgentMaxConcurrency"), timedelta(minutes=default("DeadlineMinutes"))
    longest_run = timedelta(seconds=state_machine("RotateFleet")["TimeoutSeconds"])
    most = TEMPLATE["Parameters"]["MaxConcurrency"]["MaxValue"]
    units = units_of_a_rotation()
    seconds = function_timeout("SelectClustersFunction")
    retention = properties("DeadLetters")["MessageRetentionPeriod"] // 86_400
    days, at_once, minutes = longest_run.days, default("MaxConcurrency"), default("DeadlineMinutes")
    in_ten_minutes, in_deadline = number(longest_run / TEN_MINUTES), number(longest_run / deadline)
    looks, rekeys = number(timedelta(days=1) / timedelta(seconds=30)), number(timedelta(days=1) / TEN_MINUTES)
    each = number(seconds * 1000 / ALL_AT_ONCE)
    rows = (
        (
            "input of a state",
            f"{number(STATE)} bytes; refused above {number(LARGEST_STATE)}",
            (
                f"{number(clusters_in(LARGEST_STATE, LONGEST_NAME, state=True))} a run with names of {LONGEST_NAME} "
                f"letters, {number(clusters_in(LARGEST_STATE, SHORT_NAME, state=True))} with names of {SHORT_NAME}; "
                "a thousand always fit"
            ),
            "`RequestInvalid` before anything is begun: name fewer clusters a run, or use two stacks",
            f"{STEP_FUNCTIONS}; `LARGEST_STATE`",
        ),
        (
            "item of the table: the record of a run",
            f"{number(ITEM)} bytes; refused above {number(LARGEST_RECORD)}",
            (
                f"{number(clusters_in(LARGEST_RECORD, LONGEST_NAME, state=False))} a run with names of {LONGEST_NAME} "
                f"letters, {number(clusters_in(LARGEST_RECORD, SHORT_NAME, state=False))} with names of {SHORT_NAME}"
            ),
            "as above",
            f"{DYNAMODB}; `LARGEST_RECORD`",
        ),
        (
            "clusters worked on at once in one run",
            f"{number(most)}, the most that `MaxConcurrency` and `UrgentMaxConcurrency` take",
            f"{number(most)}",
            "the others wait for their turn",
            "`template.yaml`",
        ),
        (
            "functions that run at once, in the whole account",
            f"{number(FUNCTIONS_AT_ONCE)}, less in a new account",
            (
                f"{number(FUNCTIONS_AT_ONCE)} at once, {number(urgent)} with the default of `UrgentMaxConcurrency`: a "
                "rotation runs one function at a time, and none while it waits"
            ),
            "throttled and retried; the alarm `throttles`",
            LAMBDA,
        ),
        (
            "writes to one item: the counter of a run",
            f"{number(WRITE_UNITS)} write units a second",
            f"{number(WRITE_UNITS)} begun in one second",
            "retried with jitter",
            PARTITION,
        ),
        (
            "writes to one partition of an index: all records of one month are together in `ByMonth`",
            f"{number(WRITE_UNITS)} write units a second",
            (
                f"{number(WRITE_UNITS // units)} rotations begun and ended in a second, up to {units} units each; "
                f"after an alarm on {number(urgent)} clusters it binds for up to {ceil(urgent * units / WRITE_UNITS)} s"
            ),
            "retried by the function, and by the state machine after that",
            f"{PARTITION}; `tests/golden`",
        ),
        (
            "time of a run",
            f"{days} days",
            (
                f"{in_deadline} at the default `MaxConcurrency` of {at_once}, if each rekey took the whole "
                f"`DeadlineMinutes` ({minutes}); {in_ten_minutes} if each took ten minutes"
            ),
            "`ExecutionTimedOut`, with a summary; the next run goes on. Raise `MaxConcurrency`",
            "`TimeoutSeconds` of `RotateFleet`",
        ),
        (
            "a day, for a scheduled run that is to end before the next",
            "24 h",
            (
                f"{looks} at `MaxConcurrency` {at_once}, if a cluster that is not due takes 30 s; {rekeys} due, of "
                "ten minutes each"
            ),
            "runs overlap, and wait for each other's locks; no cluster is rotated twice",
            "computed",
        ),
        (
            "time of `SelectClusters`",
            f"{seconds} s",
            (
                f"{number(ALL_AT_ONCE)} *named* clusters, if `DescribeSecret` takes {each} ms each; a run over all "
                "lists 100 at a time"
            ),
            "retried, then summarized as failed: name fewer",
            "`Timeout` in `template.yaml`",
        ),
        (
            "events of an execution",
            f"{number(EVENTS)}",
            "none: each cluster is an execution of its own, and a rotation ends by its deadline long before",
            "-",
            f"{STEP_FUNCTIONS}; [measured](performance.md#polls)",
        ),
        (
            "size of a message",
            f"{number(MESSAGE)} bytes; shortened above {number(LARGEST_MESSAGE)}",
            "none: a summary names 50 clusters in each list, and counts all",
            "lists and texts are cut, counts are not",
            f"{SNS}; `LARGEST_MESSAGE`",
        ),
        (
            "metrics of one graph",
            f"{number(METRICS_OF_A_GRAPH)}",
            f"{number(METRICS_OF_A_GRAPH)} on the dashboard's graphs by cluster",
            "the graph leaves clusters out; alarms do not, they look at the fleet's own metrics",
            CLOUDWATCH,
        ),
        (
            "policy of the event bus",
            f"{number(POLICY_OF_A_BUS)} characters",
            (
                f"not by clusters: some {POLICY_OF_A_BUS // 2 // LONGEST_ROLE_ARN} long ARNs in `ReportingPrincipals`: "
                "each is in it twice"
            ),
            "the deployment fails",
            EVENTBRIDGE,
        ),
        (
            "time in the dead-letter queue",
            f"{retention} days",
            "none",
            "what nobody handled by then is gone; the alarm `dead-letters` is on until then",
            "`template.yaml`",
        ),
        (
            "history that Step Functions keeps",
            "90 days",
            "none",
            "the record in the table stays",
            STEP_FUNCTIONS,
        ),
    )
    return table(("what", "limit", "binds at (clusters)", "then", "source"), rows)
