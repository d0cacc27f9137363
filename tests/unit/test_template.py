"""What must hold of the template whatever it is changed to: it and the code it deploys say the same."""

from __future__ import annotations

import ast
import json
import operator
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from element_rekey import errors
from element_rekey.aws.executions import LONGEST
from element_rekey.aws.telemetry import NAMESPACE, measure_fleet, measure_outcome, measure_schedules, metrics
from element_rekey.cluster import Certificate, CertificateOf
from element_rekey.inputs import parse_fleet_request
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.reconcile import LOOK_BACK
from element_rekey.records import (
    ClusterResult,
    Execution,
    FleetReadiness,
    FleetRequest,
    FleetRun,
    OutsideChange,
    Selected,
)
from element_rekey.rules.readiness import SAME_DAY
from element_rekey.rules.selection import ANY_NUMBER
from tests.fakes import NOW
from tests.golden.files import current_release, names, read
from tests.retries import retriers_of
from tests.template import ROOT, TEMPLATE, default, in_use, listed, properties, state_machine
from tests.unit.aws_actions import actions_of, entry_module, reached_functions
from tests.unit.samples import key, rotated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
FIRST_CLUSTER = Selected("prod-a", "prod-a-1", NOW)


def of_type(kind: str) -> list[str]:
    return sorted(name for name, one in RESOURCES.items() if one["Type"] == f"AWS::{kind}")


FUNCTIONS = of_type("Serverless::Function")
MACHINES = of_type("Serverless::StateMachine")
RULES = of_type("Events::Rule")
ALARMS = of_type("CloudWatch::Alarm")


def walk(value: object) -> Iterator[Any]:
    """A value and everything in it."""
    yield value
    if isinstance(value, dict):
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def references(value: object) -> set[str]:
    """Every resource, parameter and pseudo parameter a value refers to."""
    found: set[str] = set()
    for inner in walk(value):
        match inner:
            case {"!Ref": str(name)}:
                found.add(name)
            case {"!GetAtt": str(name)}:
                found.add(name.partition(".")[0])
            case {"!Sub": str(text)}:
                found |= {name.partition(".")[0] for name in re.findall(r"\$\{([\w.:]+)\}", text)}
    return found


def statements(resource: str) -> Iterator[dict[str, Any]]:
    """What a function or a state machine may do, without what only some deployments have."""
    for policy in properties(resource)["Policies"]:
        for statement in policy["Statement"]:
            match statement:
                case {"!If": [_, yes, _]}:
                    yield yes
                case _:
                    yield statement


def actions(resource: str) -> set[str]:
    return {action for statement in statements(resource) for action in listed(statement["Action"])}


# -- parameters and outputs -------------------------------------------------------------------------------------------


def test_every_parameter_is_used_described_and_grouped() -> None:
    rest = {name: value for name, value in TEMPLATE.items() if name not in {"Parameters", "Metadata"}}
    grouped = [
        name
        for group in TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        for name in group["Parameters"]
    ]
    assert sorted(grouped) == sorted(PARAMETERS)
    assert set(PARAMETERS) <= references(rest)
    assert all(one["Description"].endswith(".") or "such as" in one["Description"] for one in PARAMETERS.values())


def test_every_reference_leads_somewhere() -> None:
    pseudo = {name for name in references(TEMPLATE) if name.startswith("AWS::")}
    assert references(TEMPLATE) - pseudo <= set(PARAMETERS) | set(RESOURCES)


@pytest.mark.parametrize("name", [name for name, one in PARAMETERS.items() if one["Type"] == "Number"])
def test_every_number_has_bounds_and_a_default_within_them(name: str) -> None:
    parameter = PARAMETERS[name]
    if "AllowedValues" in parameter:
        assert parameter["Default"] in parameter["AllowedValues"]
    else:
        assert parameter["MinValue"] <= parameter["Default"] <= parameter["MaxValue"]


@pytest.mark.parametrize("name", [name for name, one in PARAMETERS.items() if "AllowedPattern" in one])
def test_every_text_has_a_default_that_is_allowed(name: str) -> None:
    assert re.fullmatch(PARAMETERS[name]["AllowedPattern"], default(name))
    assert PARAMETERS[name]["ConstraintDescription"]


def test_every_output_is_described() -> None:
    for output in TEMPLATE["Outputs"].values():
        assert output["Description"].endswith(".")
        assert references(output["Value"]) <= set(RESOURCES) | set(PARAMETERS)


def test_the_alarm_on_the_oldest_key_leaves_the_schedule_its_time() -> None:
    assert default("AlarmKeyAgeDays") > default("MaxKeyAgeDays") + 2


CHOSEN_TABLE = (
    {"!If": ["MakesTable", {"!Ref": "Table"}, {"!Ref": "ExistingTableName"}]},
    {
        "!If": [
            "MakesTable",
            {"!GetAtt": "Table.Arn"},
            {"!Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTableName}"},
        ]
    },
)


def test_a_table_that_was_left_behind_is_used_wherever_the_stacks_own_would_be() -> None:
    """Policies, environments, machines and outputs: one that still named the stack's own would be left out."""
    assert TEMPLATE["Conditions"]["MakesTable"] == {"!Equals": [{"!Ref": "ExistingTableName"}, ""]}
    assert RESOURCES["Table"]["Condition"] == "MakesTable"
    text = (ROOT / "template.yaml").read_text()
    named = re.findall(r"!(?:Ref|GetAtt) Table\b|\$\{Table\b", text)
    chosen = [one for one in walk(TEMPLATE) if one in CHOSEN_TABLE]
    assert len(named) == len(chosen) > 10


LONGEST_STACK_NAME = 67
NAMES = {
    "Serverless::LayerVersion": ("LayerName", 140),
    "Serverless::StateMachine": ("Name", 80),
    "Events::EventBus": ("Name", 256),
}
"""Names that are unique in an account, and how long they may be. What has no name here is named by CloudFormation."""


@pytest.mark.parametrize("kind", NAMES)
def test_two_stacks_of_an_account_share_no_name_and_none_gets_too_long(kind: str) -> None:
    """CloudFormation cannot measure a name, so the README says how long that of a stack may be."""
    member, longest = NAMES[kind]
    for resource in of_type(kind):
        name = properties(resource).get(member)
        if name is None:
            assert kind != "Serverless::LayerVersion", "SAM names it by its logical id, for the whole account"
            continue
        text = name.get("!Sub", f"${{{name.get('!Ref')}}}")
        assert "${AWS::StackName}" in text
        assert len(text.replace("${AWS::StackName}", "x" * LONGEST_STACK_NAME)) <= longest
    assert f"at most {LONGEST_STACK_NAME} characters" in (ROOT / "README.md").read_text()


def holds(expression: Any, parameters: dict[str, list[str]]) -> bool:  # noqa: ANN401 - YAML
    """What a rule of a template says, of these lists."""
    match expression:
        case {"Fn::Not": [inner]}:
            return not holds(inner, parameters)
        case {"Fn::EachMemberEquals": [{"!Ref": name}, value]}:
            return all(one == value for one in parameters[name])
    raise AssertionError(expression)


@pytest.mark.parametrize(
    ("subnets", "groups", "allowed"),
    [
        ([""], [""], True),
        ([], [], True),
        (["subnet-1", "subnet-2"], ["sg-1"], True),
        (["subnet-1"], [""], False),
        (["subnet-1"], [], False),
    ],
)
def test_subnets_without_security_groups_are_refused_before_anything_is_made(
    subnets: list[str], groups: list[str], *, allowed: bool
) -> None:
    given = {"SubnetIds": subnets, "SecurityGroupIds": groups}
    rule = TEMPLATE["Rules"]["SubnetsNeedSecurityGroups"]
    asserted = all(holds(one["Assert"], given) for one in rule["Assertions"])
    assert (asserted or not holds(rule["RuleCondition"], given)) == allowed


def test_ipv6_is_used_in_a_vpc_where_the_operator_says_so() -> None:
    assert default("Ipv6AllowedForDualStack") == "false", "as Lambda has it"
    _, in_vpc, _ = TEMPLATE["Globals"]["Function"]["VpcConfig"]["!If"]
    assert in_vpc["Ipv6AllowedForDualStack"] == {"!Ref": "Ipv6AllowedForDualStack"}


# -- functions and state machines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_logs_into_a_group_of_its_own_that_is_not_kept_for_ever(name: str) -> None:
    logging = properties(name)["LoggingConfig"]
    assert logging == {"LogFormat": "JSON", "LogGroup": {"!Ref": f"{name}Log"}}


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_machine_logs_into_a_group_of_its_own(name: str) -> None:
    (destination,) = properties(name)["Logging"]["Destinations"]
    assert references(destination) == {f"{name}Log"}


@pytest.mark.parametrize("name", of_type("Logs::LogGroup"))
def test_every_log_group_has_a_retention_and_a_name_of_this_stack(name: str) -> None:
    assert properties(name)["RetentionInDays"] == {"!Ref": "LogRetentionDays"}
    assert "${AWS::StackName}" in properties(name)["LogGroupName"]["!Sub"]
    assert name.removesuffix("Log") in FUNCTIONS + MACHINES


WITHOUT_RESOURCE = {
    "secretsmanager:ListSecrets",
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
"""Actions that know no narrower resource than all of them."""


@pytest.mark.parametrize("name", FUNCTIONS + MACHINES)
def test_nobody_may_do_anything_to_everything(name: str) -> None:
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in listed(statement["Action"]))
        for resource in listed(statement["Resource"]):
            if resource == "*":
                assert set(listed(statement["Action"])) <= WITHOUT_RESOURCE
            else:
                assert references(resource)


@pytest.mark.parametrize("name", [*FUNCTIONS, *MACHINES, *of_type("IAM::Role")])
def test_every_role_takes_the_permissions_boundary(name: str) -> None:
    globally = TEMPLATE["Globals"]["Function"] if name in FUNCTIONS else {}
    boundary = properties(name).get("PermissionsBoundary", globally.get("PermissionsBoundary"))
    assert boundary == {"!If": ["HasBoundary", {"!Ref": "PermissionsBoundaryArn"}, {"!Ref": "AWS::NoValue"}]}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_do_what_its_adapters_do_and_nothing_else(name: str) -> None:
    for_encryption = {action for action in actions(name) if action.startswith("kms:")}
    assert actions(name) - for_encryption == actions_of(name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_publishes_may_use_the_topics_key_and_only_through_sns(name: str) -> None:
    keys = [one for one in statements(name) if one["Resource"] == {"!GetAtt": "TopicKey.Arn"}]
    assert len(keys) == ("sns:Publish" in actions_of(name))
    for statement in keys:
        assert set(statement["Action"]) == {"kms:GenerateDataKey", "kms:Decrypt"}
        via = statement["Condition"]["StringEquals"]["kms:ViaService"]
        assert via == {"!Sub": "sns.${AWS::Region}.${AWS::URLSuffix}"}, "in China it is another one"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_reads_secrets_may_use_their_key_and_only_through_secrets_manager(name: str) -> None:
    keys = [one for one in statements(name) if one["Resource"] == {"!Ref": "SecretKmsKeyArn"}]
    assert len(keys) == ("secretsmanager:GetSecretValue" in actions_of(name))
    for statement in keys:
        assert statement["Action"] == "kms:Decrypt"
        via = statement["Condition"]["StringEquals"]["kms:ViaService"]
        assert via == {"!Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"}, "in China it is another one"


INTEGRATIONS = {
    "lambda:invoke": {"lambda:InvokeFunction"},
    "dynamodb:updateItem": {"dynamodb:UpdateItem"},
    "dynamodb:getItem": {"dynamodb:GetItem"},
    "aws-sdk:sfn:describeExecution": {"states:DescribeExecution"},
    "states:startExecution.sync:2": {
        "states:StartExecution",
        "states:DescribeExecution",
        "states:StopExecution",
        "events:PutTargets",
        "events:PutRule",
        "events:DescribeRule",
    },
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_state_machine_may_do_what_its_tasks_do_and_nothing_else(name: str) -> None:
    text = (ROOT / properties(name)["DefinitionUri"]).read_text()
    resources = re.findall(r'"Resource": "arn:\$\{AWSPartition\}:states:::([^"]+)"', text)
    needed_here = set[str]().union(*(INTEGRATIONS[resource] for resource in resources))
    assert actions(name) - WITHOUT_RESOURCE == needed_here
    given = properties(name)["DefinitionSubstitutions"]
    invoked = {target for one in statements(name) for target in references(one["Resource"])}
    assert {inner for value in given.values() for inner in references(value)} - {"AWS::Partition"} <= invoked


WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
NAMING_ITS_KEYS = WRITES | {"GetItem", "BatchGetItem", "ConditionCheckItem"}
KINDS_OF_ITEMS = {
    "StartRekeyFunction": {"LOCK", "CLUSTER", "ROTATION", "UUID"},
    "CheckStatusFunction": {"LOCK", "CLUSTER", "ROTATION"},
    "PublishOutcomeFunction": {"LOCK", "ROTATION"},
    "SelectClustersFunction": {"FLEET"},
    "SummarizeFleetFunction": {"FLEET", "READINESS"},
    "ReconcileFunction": {"LOCK", "ROTATION", "FLEET", "READINESS"},
    "RotateFleet": {"COUNT"},
}
"""Who may write what: whoever selects clusters, or counts, has no business with locks and history."""


def kinds_of_items(resource: str) -> dict[str, set[str]]:
    """By action on the table: the kinds of items it is allowed on."""
    found: dict[str, set[str]] = {}
    for statement in statements(resource):
        for action in listed(statement["Action"]):
            service, _, name = action.partition(":")
            if service == "dynamodb":
                condition = statement["Condition"]
                assert name in NAMING_ITS_KEYS, "the condition would hold for any other"
                patterns = condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                assert all(pattern.endswith("#*") for pattern in patterns)
                found.setdefault(name, set()).update(pattern.removesuffix("#*") for pattern in patterns)
    return found


@pytest.mark.parametrize("name", KINDS_OF_ITEMS)
def test_each_may_write_its_own_kinds_of_items_and_no_other(name: str) -> None:
    allowed = kinds_of_items(name)
    assert set[str]().union(*(kinds for action, kinds in allowed.items() if action in WRITES)) == KINDS_OF_ITEMS[name]


def test_what_is_only_read_are_the_records_of_the_rotations_and_what_is_remembered() -> None:
    for name in ("SummarizeFleetFunction", "ReconcileFunction"):
        assert kinds_of_items(name)["BatchGetItem"] == {"ROTATION", "CLUSTER", "READINESS"}
    assert kinds_of_items("SelectClustersFunction")["BatchGetItem"] == {"READINESS"}
    assert kinds_of_items("RotateFleet")["GetItem"] == {"ROTATION"}


def test_everybody_may_write_what_was_written_in_the_golden_files() -> None:
    for name in names(current_release()):
        for step in read(current_release(), name)["steps"]:
            for change in step["written"]:
                kind = change["put"]["pk"]["S"] if "put" in change else change["deleted"]
                assert kind.partition("#")[0] in KINDS_OF_ITEMS[step["function"]]
            for change in step["found"]:
                assert change["put"]["pk"]["S"].partition("#")[0] in KINDS_OF_ITEMS["RotateFleet"]


def test_a_fleet_run_may_start_and_stop_the_items_of_its_own_map() -> None:
    own = {"states:StartExecution": set[str](), "states:StopExecution": set[str]()}
    kinds = {"states:StartExecution": ":stateMachine:", "states:StopExecution": ":execution:"}
    for statement in statements("RotateFleet"):
        for action in own.keys() & set(listed(statement["Action"])):
            made = (one["!Sub"] for one in listed(statement["Resource"]) if "!Sub" in one)
            own[action] |= {one.rpartition(kinds[action])[2] for one in made}
    assert own["states:StartExecution"] == {"${AWS::StackName}-rotate-fleet"}
    assert own["states:StopExecution"] == {
        "${RotateMasterKey.Name}:*",
        "${AWS::StackName}-rotate-fleet:*",
        "${AWS::StackName}-rotate-fleet/*",
    }
    assert properties("RotateFleet")["Name"] == {"!Sub": "${AWS::StackName}-rotate-fleet"}


def read_from_environment(tree: ast.AST) -> set[str]:
    return {
        ast.literal_eval(node.slice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ"
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_given_the_environment_it_reads_and_no_other(name: str) -> None:
    bodies = reached_functions(entry_module(name))
    read = {variable for body in bodies for variable in read_from_environment(body)}
    own = properties(name).get("Environment", {}).get("Variables", {})
    given = {**TEMPLATE["Globals"]["Function"]["Environment"]["Variables"], **own}
    assert set(given) == read | {"POWERTOOLS_SERVICE_NAME"}


# -- what starts a run, and what hears of its end ---------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_every_target_of_a_rule_is_retried_and_then_kept(rule: str) -> None:
    for target in properties(rule)["Targets"]:
        assert target["DeadLetterConfig"] == {"Arn": {"!GetAtt": "DeadLetters.Arn"}}
        assert 0 < target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 86_400
        assert target["RetryPolicy"]["MaximumRetryAttempts"] == 185


def test_the_dead_letter_queue_takes_what_every_rule_and_the_schedule_have() -> None:
    (statement,) = properties("DeadLettersPolicy")["PolicyDocument"]["Statement"]
    named = {one["!GetAtt"] for one in statement["Condition"]["ArnEquals"]["aws:SourceArn"]}
    assert named == {f"{rule}.Arn" for rule in RULES}
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    (policy,) = properties("StartFleetRole")["Policies"]
    allowed = {one["Action"]: references(one["Resource"]) for one in policy["PolicyDocument"]["Statement"]}
    assert allowed == {"states:StartExecution": {"RotateFleet"}, "sqs:SendMessage": {"DeadLetters"}}
    assert properties("DeadLetters")["MessageRetentionPeriod"] == 14 * 86_400


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_may_run_what_it_targets(rule: str) -> None:
    for target in properties(rule)["Targets"]:
        (name,) = references(target["Arn"])
        if name in FUNCTIONS:
            permissions = [
                one for one in map(properties, of_type("Lambda::Permission")) if one["FunctionName"] == {"!Ref": name}
            ]
            assert [one["SourceArn"] for one in permissions] == [{"!GetAtt": f"{rule}.Arn"}]
            assert properties(name)["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Type"] == "SQS"
        else:
            assert (name, target["RoleArn"]) == ("RotateFleet", {"!GetAtt": "StartFleetRole.Arn"})


def put_events_is_allowed(by: dict[str, str], given: dict[str, Any], *, own_policy_allows: bool) -> bool:
    """What IAM says of ``events:PutEvents`` on the bus; ``by`` are the condition keys of whoever asks.

    A negated operator holds where the key is missing, any other does not; all operators of a condition have to hold
    (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html).
    """

    def holds(operator: str, key: str, value: dict[str, str]) -> bool:
        equal = key in by and by[key] in listed(given.get(value["!Ref"], default(value["!Ref"])))
        return not equal if operator == "StringNotEquals" else equal

    effects = set[str]()
    for one in properties("ReportBus")["Policy"]["Statement"]:
        assert one["Action"] == "events:PutEvents"
        if all(holds(op, key, value) for op, keys in one["Condition"].items() for key, value in keys.items()):
            effects.add(one["Effect"])
    return "Deny" not in effects and ("Allow" in effects or own_policy_allows)


SIEM, ADMIN = "arn:aws:iam::123456789012:role/siem", "arn:aws:iam::123456789012:role/admin"
FOREIGN = "arn:aws:iam::210987654321:role/siem"
OURS = "o-a1b2c3d4e5"


@pytest.mark.parametrize(
    ("parameters", "allowed"),
    [
        ({}, set[str]()),
        ({"ReportingPrincipals": [SIEM]}, {SIEM}),
        ({"ReportingPrincipals": [SIEM, FOREIGN]}, {SIEM, FOREIGN}),
        ({"ReportingPrincipals": ["*"]}, set[str]()),
        ({"ReportingOrganization": OURS}, {SIEM, ADMIN}),
    ],
)
def test_only_who_is_named_may_report_whatever_its_own_policy_allows(
    parameters: dict[str, Any], allowed: set[str]
) -> None:
    who = {SIEM: OURS, ADMIN: OURS, FOREIGN: "o-z9y8x7w6v5"}
    for own_policy_allows in (True, False):
        found = {
            arn
            for arn, organization in who.items()
            if put_events_is_allowed(
                {"aws:PrincipalArn": arn, "aws:PrincipalOrgID": organization},
                parameters,
                own_policy_allows=own_policy_allows,
            )
        }
        assert found == allowed
    nobody_known = put_events_is_allowed({}, parameters, own_policy_allows=True)
    assert not nobody_known, "a service, or an account without an organization"


def test_the_policy_is_that_of_the_bus() -> None:
    assert properties("ReportBus")["Name"] == {"!Ref": "AWS::StackName"}
    (named,) = {one["Resource"]["!Sub"] for one in properties("ReportBus")["Policy"]["Statement"]}
    assert named.endswith(":event-bus/${AWS::StackName}")
    by_effect = [(one["Effect"], one["Condition"]) for one in properties("ReportBus")["Policy"]["Statement"]]
    (denied,) = (condition for effect, condition in by_effect if effect == "Deny")
    allowed = {
        key: value for effect, one in by_effect if effect == "Allow" for key, value in one["StringEquals"].items()
    }
    assert denied == {"StringNotEquals": allowed}, "whoever is allowed is not denied, and nobody else gets in"


def test_reports_come_by_the_stacks_own_bus_and_the_default_one_carries_what_only_aws_can_put_there() -> None:
    for rule in RULES:
        own = properties(rule).get("EventBusName")
        sources = properties(rule)["EventPattern"]["source"]
        assert own in (None, {"!Ref": "ReportBus"})
        assert all(source.startswith("aws.") for source in sources) == (own is None)


def test_reports_are_kept_for_replay_where_the_operator_wants_it() -> None:
    assert default("ReportArchiveDays") == 0
    assert RESOURCES["ReportArchive"]["Condition"] == "KeepsReports"
    assert TEMPLATE["Conditions"]["KeepsReports"] == {"!Not": [{"!Equals": [{"!Ref": "ReportArchiveDays"}, "0"]}]}
    assert properties("ReportArchive")["EventPattern"] == properties("CompromiseReportRule")["EventPattern"]
    assert properties("ReportArchive")["SourceArn"] == {"!GetAtt": "ReportBus.Arn"}


def test_no_event_means_every_cluster_until_the_operator_lets_it() -> None:
    assert default("AllClustersByEvent") == "false"
    given = properties("SelectClustersFunction")["Environment"]["Variables"]
    assert given["ALL_CLUSTERS_BY_EVENT"] == {"!Ref": "AllClustersByEvent"}


def test_the_schedule_is_off_until_the_operator_turns_it_on() -> None:
    assert default("ScheduleState") == "DISABLED"
    assert properties("Schedule")["State"] == {"!Ref": "ScheduleState"}


def test_the_schedule_is_retried_and_then_kept_and_asks_what_the_code_understands() -> None:
    schedule = properties("Schedule")
    target = schedule["Target"]
    assert target["DeadLetterConfig"] == {"Arn": {"!GetAtt": "DeadLetters.Arn"}}
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert schedule["FlexibleTimeWindow"]["Mode"] == "FLEXIBLE"
    assert schedule["ScheduleExpressionTimezone"] == {"!Ref": "ScheduleTimeZone"}
    given = json.loads(target["Input"])
    assert given == json.loads((ROOT / "events" / "fleet-schedule.json").read_text())
    assert parse_fleet_request(given, "x").trigger is Trigger.SCHEDULE


def test_readiness_is_looked_at_daily_unless_the_operator_turns_it_off_whether_or_not_the_schedule_is_on() -> None:
    assert default("ReadinessState") == "ENABLED"
    schedule = properties("ReadinessSchedule")
    assert "Condition" not in RESOURCES["ReadinessSchedule"]
    assert schedule["State"] == {"!Ref": "ReadinessState"}
    assert schedule["ScheduleExpressionTimezone"] == {"!Ref": "ScheduleTimeZone"}
    target = schedule["Target"]
    assert (target["Arn"], target["RoleArn"]) == ({"!Ref": "RotateFleet"}, {"!GetAtt": "StartFleetRole.Arn"})
    assert target["DeadLetterConfig"] == {"Arn": {"!GetAtt": "DeadLetters.Arn"}}
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    given = json.loads(target["Input"])
    assert given == json.loads((ROOT / "events" / "fleet-readiness.json").read_text())
    request = parse_fleet_request(given, "x", all_by_event=False)
    assert (request.trigger, request.dry_run, request.clusters) == (Trigger.READINESS, True, None)


def test_a_daily_look_is_after_the_schedule_and_within_the_time_that_a_look_serves() -> None:
    hours = [int(default(name).split()[1]) for name in ("ScheduleExpression", "ReadinessExpression")]
    assert timedelta() < timedelta(hours=hours[1] - hours[0]) < SAME_DAY < timedelta(days=1)


def test_the_reconciliation_runs_every_hour_whatever_is_switched_off_and_is_retried_and_then_kept() -> None:
    schedule = properties("ReconcileSchedule")
    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "rate(1 hour)")
    target = schedule["Target"]
    assert target["Arn"] == {"!GetAtt": "ReconcileFunction.Arn"}
    assert target["RoleArn"] == {"!GetAtt": "ReconcileRole.Arn"}
    assert target["DeadLetterConfig"] == {"Arn": {"!GetAtt": "DeadLetters.Arn"}}
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    (policy,) = properties("ReconcileRole")["Policies"]
    allowed = {one["Action"]: references(one["Resource"]) for one in policy["PolicyDocument"]["Statement"]}
    assert allowed == {"lambda:InvokeFunction": {"ReconcileFunction"}, "sqs:SendMessage": {"DeadLetters"}}
    assert properties("ReconcileFunction")["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Type"] == "SQS"


def test_the_reconciliation_asks_of_the_executions_of_both_machines_and_no_others() -> None:
    asked = {action: one["Resource"] for one in statements("ReconcileFunction") for action in listed(one["Action"])}
    assert references(asked["states:ListExecutions"]) == set(MACHINES)
    made = [one["!Sub"].rpartition(":execution:")[2] for one in asked["states:DescribeExecution"]]
    assert made == ["${RotateMasterKey.Name}:*", "${RotateFleet.Name}:*"]


def test_the_reconciliation_looks_back_as_far_as_an_execution_can_have_begun() -> None:
    longest = max(state_machine(machine)["TimeoutSeconds"] for machine in MACHINES)
    assert timedelta(seconds=longest) < LONGEST
    assert timedelta(days=2) < LOOK_BACK


def test_a_record_is_kept_for_ever_or_longer_than_the_name_of_its_execution_could_be_used_again() -> None:
    """Step Functions forgets a name after 90 days; a slip of the keyboard must not delete the audit history."""
    parameter = PARAMETERS["HistoryDays"]
    assert parameter["Default"] == 0
    assert min(set(parameter["AllowedValues"]) - {0}) >= 365
    assert not parameter.keys() & {"MinValue", "MaxValue"}


def test_an_emergency_takes_half_of_what_lambda_and_a_counter_bear() -> None:
    """By default 1,000 functions of an account run at once, and one item of DynamoDB takes 1,000 writes a second."""
    assert default("UrgentMaxConcurrency") == 1000 // 2
    given = properties("SelectClustersFunction")["Environment"]["Variables"]
    assert given["URGENT_MAX_CONCURRENCY"] == {"!Ref": "UrgentMaxConcurrency"}


def test_whether_an_alarm_without_data_before_counts_is_decided_where_it_can_be_told_of() -> None:
    given = properties("SelectClustersFunction")["Environment"]["Variables"]
    assert given["COMPROMISE_FROM_INSUFFICIENT_DATA"] == {"!Ref": "CompromiseFromInsufficientData"}
    pattern = properties("CompromiseAlarmRule")["EventPattern"]["detail"]
    assert pattern["previousState"]["value"] == [{"anything-but": ["ALARM"]}]


def test_a_scheduled_run_tolerates_no_failure_unless_the_operator_says_otherwise() -> None:
    assert default("ToleratedFailures") == 0
    assert 0 < PARAMETERS["ToleratedFailures"]["MaxValue"] <= ANY_NUMBER
    given = properties("SelectClustersFunction")["Environment"]["Variables"]
    assert given["TOLERATED_FAILURES"] == {"!Ref": "ToleratedFailures"}


FLEET_MACHINE = state_machine("RotateFleet")
NESTED = {
    name: state
    for one in walk(FLEET_MACHINE)
    if isinstance(one, dict)
    for name, state in one.items()
    if isinstance(state, dict) and "startExecution" in str(state.get("Resource"))
}


@pytest.mark.parametrize("name", NESTED)
def test_a_rotation_that_could_not_be_begun_for_want_of_capacity_is_tried_again(name: str) -> None:
    retried = {error for retrier in retriers_of(NESTED[name]) for error in retrier.errors}
    assert {"StepFunctions.ThrottlingException", "StepFunctions.ExecutionLimitExceededException"} <= retried
    assert not any("AlreadyExists" in error for error in retried)


# -- telling people ---------------------------------------------------------------------------------------------------


def test_the_topics_key_lets_alarms_publish() -> None:
    by_sid = {one["Sid"]: one for one in properties("TopicKey")["KeyPolicy"]["Statement"]}
    alarms = by_sid["AlarmsPublishHere"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert set(alarms["Action"]) == {"kms:GenerateDataKey*", "kms:Decrypt"}
    assert by_sid["TheAccountDecidesByIam"]["Action"] == "kms:*", "or nobody could change the key any more"
    assert properties("Topic")["KmsMasterKeyId"] == {"!GetAtt": "TopicKey.Arn"}


def test_the_topic_lets_alarms_of_this_account_publish_and_nobody_without_tls() -> None:
    allowed, denied = properties("TopicPolicy")["PolicyDocument"]["Statement"]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"!Ref": "AWS::AccountId"}}}
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


@pytest.mark.parametrize("name", ALARMS)
def test_every_alarm_is_reported_when_it_begins_and_when_it_ends(name: str) -> None:
    alarm = properties(name)
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"!Ref": "Topic"}]
    assert alarm["AlarmDescription"].endswith(".")


@pytest.mark.parametrize("name", ALARMS)
def test_no_alarm_of_ours_looks_like_one_that_starts_a_rotation(name: str) -> None:
    made = properties(name)["AlarmName"]["!Sub"].replace("${AWS::StackName}", "element-rekey")
    assert not made.startswith(default("CompromiseAlarmPrefix"))


def alarm_metrics(name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Namespace, name and dimensions of what an alarm looks at."""
    alarm = properties(name)
    plain = [alarm] if "MetricName" in alarm else []
    for metric in plain + [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", []) if "MetricStat" in one]:
        yield metric["Namespace"], metric["MetricName"], {one["Name"]: one["Value"] for one in metric["Dimensions"]}


AWS_METRICS = {
    "AWS/States": ({"ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"}, "StateMachineArn"),
    "AWS/Lambda": ({"Errors", "Throttles"}, "FunctionName"),
    "AWS/SQS": ({"ApproximateNumberOfMessagesVisible"}, "QueueName"),
}


OUTSIDE = OutsideChange("key-0", key("key-9", NOW), NOW, NOW)
CERTIFICATES = tuple(Certificate(of, of.value, NOW) for of in CertificateOf)


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The dimensions of every metric the application emits, as CloudWatch reads them from its log."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "element-rekey")
    monkeypatch.setattr(metrics.provider, "service", "element-rekey")
    request = FleetRequest(trigger=Trigger.SCHEDULE)
    run = FleetRun(Execution("fleet", NOW), request=request, selected=(FIRST_CLUSTER,), readiness=FleetReadiness(0))
    measure_fleet(run, [ClusterResult(FIRST_CLUSTER, rotated())], NOW)
    measure_schedules(rotates=True, looks=True)
    for outcome in Outcome:
        measure_outcome(replace(rotated(), outcome=outcome, outside=(OUTSIDE,), certificates=CERTIFICATES), NOW)
    found: dict[str, set[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        document = json.loads(line)
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == NAMESPACE == "ElementRekey"
            (dimensions,) = directive["Dimensions"]
            for metric in directive["Metrics"]:
                assert found.setdefault(metric["Name"], set(dimensions)) == set(dimensions)
    return found


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_looks_at_what_is_really_emitted(name: str, emitted: dict[str, set[str]]) -> None:
    looked_at = list(alarm_metrics(name))
    assert looked_at
    for namespace, metric, dimensions in looked_at:
        if namespace == "ElementRekey":
            assert emitted[metric] == set(dimensions)
            assert dimensions["service"] == {"!Ref": "AWS::StackName"}
            assert dimensions.get("Outcome", "Failed") in set(Outcome)
        else:
            names, dimension = AWS_METRICS[namespace]
            assert metric in names
            assert list(dimensions) == [dimension]
            assert references(dimensions) <= set(RESOURCES)


def test_the_service_dimension_is_the_name_of_the_stack_and_the_namespace_the_codes_own() -> None:
    given = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert given["POWERTOOLS_SERVICE_NAME"] == {"!Ref": "AWS::StackName"}
    assert "POWERTOOLS_METRICS_NAMESPACE" not in {inner for inner in walk(TEMPLATE) if isinstance(inner, str)}
    names = (name for one in walk(TEMPLATE) if isinstance(one, dict) for name in one)
    assert "POWERTOOLS_METRICS_NAMESPACE" not in set(names)


def test_every_machine_and_function_is_watched() -> None:
    watched = {(metric, *references(dimensions)) for name in ALARMS for _, metric, dimensions in alarm_metrics(name)}
    for machine in MACHINES:
        assert {(metric, machine) for metric in AWS_METRICS["AWS/States"][0]} <= watched
    for function in FUNCTIONS:
        assert {("Errors", function), ("Throttles", function)} <= watched


def expression(name: str) -> str:
    """Of the defaults; where the operator can have another one, it is among ``expressions``."""
    first, *rest = properties(name)["Metrics"]
    assert len({one["Id"] for one in rest}) == len(rest)
    assert {one["ReturnData"] for one in rest} == {False}
    assert len({one["MetricStat"]["Period"] for one in rest}) == 1
    return str(in_use(first["Expression"]))


def expressions(name: str) -> list[str]:
    match properties(name)["Metrics"][0]["Expression"]:
        case {"!If": [_, yes, no]}:
            return [yes, no]
        case text:
            return [text]


BY_THEIR_ABSENCE = {"OldestKeyAlarm", "ReconciliationAlarm", "ReadinessAlarm"}
"""Alarms on something that does not come any more."""


@pytest.mark.parametrize("name", sorted(set(ALARMS) - BY_THEIR_ABSENCE))
def test_an_alarm_adds_up_its_metrics_and_takes_one_that_is_missing_for_nothing(name: str) -> None:
    assert expression(name) == "SUM(FILL(METRICS(), 0))"


@pytest.mark.parametrize("name", ALARMS)
def test_no_alarm_leaves_it_to_cloudwatch_what_a_missing_point_means(name: str) -> None:
    """It looks further back than the periods, and while there are real points it does not count the missing ones."""
    assert properties(name)["TreatMissingData"] == "notBreaching"
    for text in expressions(name):
        unfilled = re.sub(r"FILL\((\w+|METRICS\(\)), -?\d+\)", "", text)
        ids = {one["Id"] for one in properties(name)["Metrics"]}
        assert not ids & set(re.findall(r"\w+", unfilled))
        assert "METRICS" not in unfilled


COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
}


def state_after(name: str, days: dict[str, list[float | None]], text: str = "") -> str:
    """The state of an alarm after these days, the last one at the end, as CloudWatch is documented to find it.

    It looks at more days than it needs, and fills the missing ones as told only where too few of them have a point.
    """
    alarm = properties(name)
    needed = alarm["EvaluationPeriods"]
    count = len(next(iter(days.values())))
    text = text or expression(name)
    points = [_value_of(text, {one: series[day] for one, series in days.items()}) for day in range(count)]
    real = [point for point in points if point is not None]
    if len(real) < needed:
        return "OK"  # notBreaching
    real = [point for point in real if point is not None]
    limit = alarm["Threshold"] if isinstance(alarm["Threshold"], int) else default(alarm["Threshold"]["!Ref"])
    compare = COMPARISONS[alarm["ComparisonOperator"]]
    bad = sum(compare(point, limit) for point in real[-needed:])
    return "ALARM" if bad >= alarm.get("DatapointsToAlarm", needed) else "OK"


def _value_of(expression: str, values: dict[str, float | None]) -> float | None:
    """The metric math our alarms use, on the points of one period."""

    def value(node: ast.expr) -> float | None:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.UnaryOp(operand=operand):
                return -(value(operand) or 0)
            case ast.Name(id=name):
                return values[name]
            case ast.Call(func=ast.Name(id="FILL"), args=[series, filler]):
                point = value(series)
                return value(filler) if point is None else point
            case ast.Call(func=ast.Name(id="SUM")):
                return sum(point or 0 for point in values.values())
            case ast.Call(func=ast.Name(id="IF"), args=[condition, yes, no]):
                return value(yes) if value(condition) else value(no)
            case ast.Compare(left=left, ops=[compared], comparators=[right]):
                one, other = value(left), value(right)
                assert one is not None
                assert other is not None
                return float(one >= other if isinstance(compared, ast.GtE) else one < other)
        raise AssertionError(ast.unparse(node))

    return value(ast.parse(expression, mode="eval").body)


NONE: float | None = None


@pytest.mark.parametrize(
    ("oldest", "scheduled", "state"),
    [
        pytest.param([5, 6, 7, 8], [24, 24, 24, 24], "OK", id="a run a day"),
        pytest.param([5, 6, 7, NONE], [24, 24, 24, 24], "OK", id="today's run is late"),
        pytest.param([5, 6, NONE, NONE], [24, 24, 24, 24], "ALARM", id="the schedule stopped two days ago"),
        pytest.param([NONE, NONE, NONE, NONE], [24, 24, 24, 24], "ALARM", id="the schedule never ran"),
        pytest.param([NONE, NONE, NONE, NONE], [NONE, NONE, NONE, NONE], "OK", id="just made"),
        pytest.param([NONE, NONE, NONE, NONE], [NONE, NONE, NONE, 9], "OK", id="turned on this morning"),
        pytest.param([NONE, NONE, NONE, 5], [NONE, NONE, NONE, 24], "OK", id="turned on yesterday"),
        pytest.param([NONE, NONE, 90, 91], [NONE, NONE, NONE, NONE], "OK", id="old, and not too old"),
        pytest.param([5, 6, 98, 99], [24, 24, 24, 24], "ALARM", id="too old for two days"),
        pytest.param([5, 6, 98, 99], [NONE, NONE, NONE, NONE], "ALARM", id="too old, and nobody counts the hours"),
        pytest.param([5, 6, 7, 98], [24, 24, 24, 24], "OK", id="too old since today"),
    ],
)
def test_a_schedule_that_stopped_is_an_alarm_in_two_days_and_one_just_turned_on_is_none(
    oldest: list[float | None], scheduled: list[float | None], state: str
) -> None:
    assert state_after("OldestKeyAlarm", {"oldest": oldest, "scheduled": scheduled}) == state


@pytest.mark.parametrize(("measured", "hours"), [("notReady", "watched"), ("oldest", "scheduled")])
@pytest.mark.parametrize(
    ("runs", "counted", "state"),
    [
        pytest.param([5, 6], [24, 24], "OK", id="it runs"),
        pytest.param([5, 6], [24, NONE], "ALARM", id="it stopped a day ago"),
        pytest.param([0, 0], [24, NONE], "ALARM", id="it stopped a day ago, and all is well"),
        pytest.param([NONE, NONE], [NONE, NONE], "OK", id="just made"),
        pytest.param([NONE, NONE], [24, 24], "OK", id="it is the daily run that stopped"),
    ],
)
def test_a_reconciliation_that_stopped_is_an_alarm_in_a_day_and_one_just_made_is_none(
    measured: str, hours: str, runs: list[float | None], counted: list[float | None], state: str
) -> None:
    """By the daily look at readiness; where that is off, by the schedule."""
    (text,) = (one for one in expressions("ReconciliationAlarm") if measured in one)
    assert hours in text
    days = {one: [NONE, NONE] for one in ("notReady", "watched", "oldest", "scheduled")}
    days |= {measured: runs, hours: counted}
    assert state_after("ReconciliationAlarm", days, text) == state


@pytest.mark.parametrize(
    ("looked", "hours", "state"),
    [
        pytest.param([0, 0, 0], [24, 24, 24], "OK", id="a look a day"),
        pytest.param([3, 3, 3], [24, 24, 24], "OK", id="what it found is another alarm's"),
        pytest.param([0, 0, NONE], [24, 24, 9], "OK", id="today's look is still to come"),
        pytest.param([0, NONE, 0], [24, 24, 24], "OK", id="one was missed"),
        pytest.param([0, NONE, NONE], [24, 24, 24], "ALARM", id="two were missed"),
        pytest.param([NONE, NONE, NONE], [NONE, NONE, 12], "OK", id="just made"),
        pytest.param([NONE, NONE, NONE], [NONE, 24, 24], "ALARM", id="it never ran"),
        pytest.param([0, NONE, NONE], [24, NONE, NONE], "OK", id="turned off"),
    ],
)
def test_looks_that_do_not_come_any_more_are_an_alarm_in_two_days(
    looked: list[float | None], hours: list[float | None], state: str
) -> None:
    assert state_after("ReadinessAlarm", {"notReady": looked, "watched": hours}) == state


@pytest.mark.parametrize(
    ("not_ready", "state"),
    [
        pytest.param([0, 0, 0], "OK", id="all are ready"),
        pytest.param([0, 0, 1], "ALARM", id="since today"),
        pytest.param([0, 1, NONE], "ALARM", id="since yesterday, and today's look is still to come"),
        pytest.param([1, 1, 0], "ALARM", id="ready again today"),
        pytest.param([1, 0, 0], "OK", id="ready again yesterday"),
        pytest.param([1, NONE, NONE], "OK", id="nobody looks any more, which is another alarm's"),
        pytest.param([NONE, NONE, NONE], "OK", id="just made"),
    ],
)
def test_a_cluster_that_is_not_ready_is_one_alarm_until_the_day_after_it_is_again(
    not_ready: list[float | None], state: str
) -> None:
    """At midnight the day begins without a look: an alarm that ended and began again then would be a message a day."""
    assert state_after("ClustersNotReadyAlarm", {"notReady": not_ready}) == state


def dashboard() -> list[dict[str, Any]]:
    def made(match: re.Match[str]) -> str:
        name = match[1]
        return str(default(name)) if name in PARAMETERS else name

    body = re.sub(r"\$\{([\w.:]+)\}", made, properties("Dashboard")["DashboardBody"]["!Sub"])
    widgets: list[dict[str, Any]] = json.loads(body)["widgets"]
    return widgets


def test_the_dashboard_is_json_and_its_widgets_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in dashboard():
        columns = range(widget["x"], widget["x"] + widget["width"])
        cells = {(column, widget["y"] + row) for column in columns for row in range(widget["height"])}
        assert not cells & taken
        assert max(column for column, _ in cells) < 24
        taken |= cells
        assert widget["properties"]["title"]
        assert widget["properties"]["region"] == "AWS::Region"


def test_the_dashboard_shows_what_is_really_emitted(emitted: dict[str, set[str]]) -> None:
    searched = re.compile(
        r"SEARCH\('\{ElementRekey,([\w,]+)\} service=\"AWS::StackName\" MetricName=\"(\w+)\"', '\w+', \d+\)"
    )
    shown: set[str] = set()
    for widget in dashboard():
        for first, *rest in widget["properties"]["metrics"]:
            if isinstance(first, dict):
                found = searched.fullmatch(first["expression"])
                assert found
                assert set(found[1].split(",")) == emitted[found[2]]
                shown.add(found[2])
                continue
            metric, *dimensions = [one for one in rest if isinstance(one, str)]
            if first == "ElementRekey":
                assert set(dimensions[::2]) == emitted[metric]
                shown.add(metric)
            else:
                names, dimension = AWS_METRICS[first]
                assert metric in names
                assert dimensions[::2] == [dimension]
    assert {"OldestKeyAgeDays", "KeyAgeDays", "Rotations", "RekeyDuration"} <= shown
    assert {"CertificateDaysLeft", "KeyServerCertificateDaysLeft"} <= shown


# -- the runbook ------------------------------------------------------------------------------------------------------

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ENTRIES = re.findall(r"^### `(\S+)`$", RUNBOOK, re.MULTILINE)


def test_whoever_asks_a_cluster_by_hand_asks_it_as_the_api_wants_to_be_asked() -> None:
    calls = re.findall(r"curl .*json-rpc.*", RUNBOOK)
    assert calls
    assert all('--header "Content-Type: application/json-rpc"' in call for call in calls)


@pytest.mark.parametrize("document", ["README.md", "docs/runbook.md"])
def test_the_command_that_prints_a_fingerprint_prints_the_one_that_is_registered(document: str) -> None:
    """SHA-256; the cluster itself, and openssl unless told otherwise, show SHA-1."""
    (command,) = re.findall(r"openssl s_client .*", (ROOT / document).read_text())
    assert command.endswith("| openssl x509 -noout -fingerprint -sha256 -enddate")


def named_errors() -> set[str]:
    """Every error that can end a rotation or a fleet run: leaves, and what is raised itself."""
    every, todo = set[type[Exception]](), [errors.ElementRekeyError]
    while todo:
        error = todo.pop()
        every.add(error)
        todo += error.__subclasses__()
    return {one.__name__ for one in every if not one.__subclasses__()} | {"ElementApiError"}


def fail_states() -> set[str]:
    """The names the state machines themselves give a failure."""
    found: set[str] = set()
    for machine in (ROOT / "statemachines").glob("*.asl.json"):
        for one in walk(json.loads(machine.read_text())):
            if isinstance(one, dict) and one.get("Type") == "Fail" and "Error" in one:
                found.add(one["Error"])
    return found


def test_every_alarm_has_its_entry_in_the_runbook() -> None:
    assert {properties(name)["AlarmName"]["!Sub"].removeprefix("${AWS::StackName}-") for name in ALARMS} <= set(ENTRIES)


def test_every_named_error_has_its_entry_in_the_runbook() -> None:
    assert named_errors() | fail_states() <= set(ENTRIES)


def test_the_runbook_has_no_entry_for_what_does_not_exist_and_none_twice() -> None:
    alarms = {properties(name)["AlarmName"]["!Sub"].removeprefix("${AWS::StackName}-") for name in ALARMS}
    outcomes = {outcome.value for outcome in Outcome} | {"NotBegun", "NotEnded", "Refused"}
    assert set(ENTRIES) <= alarms | named_errors() | fail_states() | outcomes
    assert len(ENTRIES) == len(set(ENTRIES))


def test_every_entry_says_what_it_means_what_to_do_and_is_short() -> None:
    for entry in re.split(r"^### ", RUNBOOK, flags=re.MULTILINE)[1:]:
        body = entry.split("\n## ")[0]
        assert "**Means:**" in body, entry
        assert "**Do:**" in body, entry
        assert len(re.sub(r"```.*?```", "", body, flags=re.DOTALL).split()) < 200, entry


def test_what_the_commands_of_the_runbook_name_is_there() -> None:
    outputs = set(re.findall(r"\$\(out (\w+)\)", RUNBOOK))
    assert outputs
    assert outputs <= set(TEMPLATE["Outputs"])
    indexes = {one["IndexName"] for one in properties("Table")["GlobalSecondaryIndexes"]}
    assert set(re.findall(r"--index-name (\w+)", RUNBOOK)) == indexes
    for parameter in re.findall(r"parameter `(\w+)`", RUNBOOK):
        assert parameter in PARAMETERS
    for logical in re.findall(r"--logical-resource-id (\w+)", RUNBOOK):
        assert logical in RESOURCES
    groups = re.findall(r"aws logs tail \"/\$STACK/([\w-]+)\"", RUNBOOK)
    named = {properties(name)["LogGroupName"]["!Sub"].rpartition("/")[2] for name in of_type("Logs::LogGroup")}
    assert set(groups) <= named
    for event in re.findall(r"events/([\w-]+\.json)", RUNBOOK):
        assert (ROOT / "events" / event).is_file()


def test_every_command_of_the_runbook_is_one_the_aws_cli_has() -> None:
    commands = re.findall(r"^aws ([a-z]+) ([a-z-]+)", RUNBOOK, re.MULTILINE)
    assert len(commands) > 10
    for service, command in commands:
        operation = command.replace("-", "_")
        if (service, operation) == ("logs", "tail"):
            continue  # the one command that is no operation
        client = boto3.client(service, region_name="eu-central-1")
        assert operation in client.meta.method_to_api_mapping, command
