"""Who may do what, read from ``template.yaml`` as SAM deploys it: the tables of ``docs/iam.md``."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from samtranslator.translator.transform import transform  # type: ignore[import-untyped]  # it has no types
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # it has no types

from tests.tables import table
from tests.template import ROOT, TEMPLATE, listed
from tests.unit.aws_actions import actions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERLESS = {"AWS::Serverless::Function", "AWS::Serverless::StateMachine"}
FUNCTIONS = [name for name, one in TEMPLATE["Resources"].items() if one["Type"] == "AWS::Serverless::Function"]
TARGETED = {"AWS::Events::Rule", "AWS::Scheduler::Schedule"}

WHY = {
    "StartRekeyFunction secretsmanager:GetSecretValue": "reads the address and the login of the cluster it works on",
    "CheckStatusFunction secretsmanager:GetSecretValue": "reads the address and the login of the cluster it works on",
    "StartRekeyFunction kms:Decrypt": "the secrets are encrypted with this key",
    "CheckStatusFunction kms:Decrypt": "the secrets are encrypted with this key",
    "StartRekeyFunction dynamodb:GetItem": "takes the lock, writes the intent down before it sends the rekey, "
    "remembers the keys of the cluster, and claims its `uuid` for this registration",
    "CheckStatusFunction dynamodb:GetItem": "renews the lock, writes down what the job and the cluster's own state "
    "showed, and remembers the new key",
    "PublishOutcomeFunction dynamodb:GetItem": "closes the record, marks what is published, and frees the lock",
    "SelectClustersFunction secretsmanager:ListSecrets": "finds the registered clusters by the names and tags of their "
    "secrets, and reads none of them; the action knows no narrower resource",
    "SelectClustersFunction secretsmanager:DescribeSecret": "looks up a cluster that was named, since the list may be "
    "five minutes behind",
    "SelectClustersFunction dynamodb:GetItem": "writes down which clusters the run rotates, and finds it when repeated",
    "SelectClustersFunction dynamodb:BatchGetItem": "what was looked at earlier in the day is not looked at again",
    "SummarizeFleetFunction dynamodb:GetItem": "closes the record of the run, and keeps which clusters are ready",
    "SummarizeFleetFunction dynamodb:BatchGetItem": "reads what became of each cluster",
    "ReconcileFunction states:ListExecutions": "asks which executions ended badly",
    "ReconcileFunction states:DescribeExecution": "asks for the input and the error of one that was published nowhere",
    "ReconcileFunction dynamodb:GetItem": "closes what was published nowhere, and frees its lock",
    "ReconcileFunction dynamodb:BatchGetItem": "reads what became of each cluster of a run that it closes",
    "StartRekeyFunction sns:Publish": "says that an urgent rotation is under way, waits, or is tried again, and that a "
    "key was changed outside",
    "PublishOutcomeFunction sns:Publish": "publishes the outcome",
    "SummarizeFleetFunction sns:Publish": "publishes the summary",
    "ReconcileFunction sns:Publish": "publishes what nobody published",
    "kms:GenerateDataKey": "the topic is encrypted: whoever publishes needs its key",
    "PublishOutcomeFunction sqs:SendMessage": "an event that it could not handle is kept (added by SAM)",
    "SummarizeFleetFunction sqs:SendMessage": "an event that it could not handle is kept (added by SAM)",
    "ReconcileFunction sqs:SendMessage": "a call of the schedule that it could not handle is kept (added by SAM)",
    "RotateMasterKey lambda:InvokeFunction": "its steps",
    "RotateFleet lambda:InvokeFunction": "its first and its last step",
    "RotateFleet dynamodb:UpdateItem": "counts what the run has begun and what has failed",
    "RotateFleet dynamodb:GetItem": "asks what the record of a rotation that failed says of it, before it is counted",
    "RotateFleet states:StartExecution": "starts the rotation of each cluster, and the items of its own map",
    "RotateFleet states:DescribeExecution": "follows the rotations to their ends, and stops them when it is stopped",
    "RotateFleet events:PutTargets": "how Step Functions hears that a rotation has ended; the rule is its own",
    "logs:CreateLogDelivery": "how Step Functions writes its log; these actions know no narrower resource",
    "ReconcileRole lambda:InvokeFunction": "runs the reconciliation every hour",
    "StartFleetRole states:StartExecution": "starts a fleet run",
    "ReconcileRole sqs:SendMessage": "a call that cannot be made is kept",
    "StartFleetRole sqs:SendMessage": "a start that cannot be made is kept",
    "ThesePrincipalsReport": "who may report a compromise",
    "ThisOrganizationReports": "who may report a compromise, too",
    "NobodyElse": "also identities of this account whose own policies would allow it",
    "DeadLettersPolicy": "an event that a rule could not deliver is kept",
    "TheAccountDecidesByIam": "without it nobody could manage the key",
    "AlarmsPublishHere": "without it the message of an alarm is lost without a word",
    "AlarmsOfThisAccount": "alarms tell people by the topic",
    "OnlyOverTls": "nothing is published in plain text",
    "InterruptedExecutionPermission": "the rule runs it when an execution did not end well",
    "InterruptedFleetPermission": "the rule runs it when a fleet run did not end well",
}
"""The reason of each line: by role and first action, or by that action alone, or by the name of a statement."""

MANAGED = {
    "service-role/AWSLambdaBasicExecutionRole": "writes its log",
    "AWSXrayWriteOnlyAccess": "sends its traces",
    "service-role/AWSLambdaVPCAccessExecutionRole": "makes the network interfaces in the subnets of `SubnetIds`; "
    "there also where that is empty",
}
"""The policies of AWS that SAM adds, and why."""


@cache
def transformed() -> dict[str, Any]:
    """The template as CloudFormation gets it from SAM: with the roles that SAM makes."""
    document: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    for resource in document["Resources"].values():
        properties = resource.get("Properties", {})
        for member in {"CodeUri", "ContentUri", "DefinitionUri"} & set(properties):
            properties[member] = {"Bucket": "bucket", "Key": "key"}
    found: dict[str, Any] = transform(document, {}, NoPolicies())
    return found


class NoPolicies:
    """What SAM asks for the ARNs of managed policies that are named; here none is."""

    def load(self) -> dict[str, str]:
        """No name, no ARN."""
        return {}


def roles() -> dict[str, dict[str, Any]]:
    """Every role of the stack, by the function or machine that has it, or by its own name: its properties."""
    made = {
        (name.removesuffix("Role") if name.removesuffix("Role") in TEMPLATE["Resources"] else name): one["Properties"]
        for name, one in transformed()["Resources"].items()
        if one["Type"] == "AWS::IAM::Role"
    }
    return {name: made[name] for name in TEMPLATE["Resources"] if name in made}


def shown(value: Any) -> str:  # noqa: ANN401 - JSON
    """An ARN as a person reads it: the name in the template, or the part behind the account."""
    match value:
        case {"Fn::If": [_, yes, no]}:
            return f"{shown(yes)} or {shown(no)}"
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            return f"`{name}`"
        case {"Fn::Sub": str(text)}:
            plain = re.sub(r"^arn:\$\{AWS::Partition\}:[a-z]+:\$\{AWS::Region\}:\$\{AWS::AccountId\}:", "", text)
            named = re.sub(r"[$]{(.*?)}", r"<\1>", plain.replace("${AWS::StackName}", "${stack}"))
            return f"`{named}`"
        case list():
            return ", ".join(shown(one) for one in value)
        case _:
            return f"`{value}`"


def condition(statement: dict[str, Any]) -> str:
    """What else has to hold."""
    found = []
    for operator, members in statement.get("Condition", {}).items():
        for key, value in members.items():
            not_equal = "other than " if "Not" in operator else ""
            found.append(f"`{key}`: {not_equal}{shown(value)}".replace(".<AWS::Region>.<AWS::URLSuffix>", ""))
    return ", ".join(found)


def statements(role: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """What a role may do, each with the parameter without which it may not."""
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            match statement:
                case {"Fn::If": ["HasSecretKey", dict(yes), {"Ref": "AWS::NoValue"}]}:
                    yield yes, "where `SecretKmsKeyArn` is set: "
                case _:
                    yield statement, ""


def why(owner: str, action: str) -> tuple[str, str]:
    """The key of the reason, and the reason."""
    key = f"{owner} {action}" if f"{owner} {action}" in WHY else action
    return key, WHY[key]


def role_table(owner: str) -> str:
    """One role: what it may do, to what, and why."""
    rows = []
    for statement, where in statements(roles()[owner]):
        actions = listed(statement["Action"])
        conditions = condition(statement)
        rows.append(
            (
                ", ".join(f"`{action}`" for action in actions),
                ", ".join(shown(one) for one in listed(statement["Resource"])),
                conditions or "-",
                where + why(owner, actions[0])[1],
            )
        )
    for arn in roles()[owner].get("ManagedPolicyArns", []):
        name = arn.partition(":policy/")[2]
        rows.append((f"policy `{name.rpartition('/')[2]}`", "-", "-", f"{MANAGED[name]} (added by SAM)"))
    return table(("actions", "on", "only if", "why"), rows)


def trusted(owner: str) -> str:
    """The services that may assume a role."""
    document = roles()[owner]["AssumeRolePolicyDocument"]
    services = [one for statement in document["Statement"] for one in listed(statement["Principal"]["Service"])]
    return ", ".join(f"`{one}`" for one in services)


def roles_text() -> str:
    """A heading, who assumes it and a table for each role."""
    parts = []
    for owner in roles():
        kind = TEMPLATE["Resources"][owner]
        about = kind["Properties"].get("Description", "") if kind["Type"] in SERVERLESS else ""
        lead = f"{about} Assumed by {trusted(owner)}.".strip()
        parts.append(f"### {owner}\n\n{lead}\n\n{role_table(owner)}")
    return "\n\n".join(parts)


def starters_table() -> str:
    """Every rule and schedule: what it starts, and what lets it."""
    rows = []
    for name, one in TEMPLATE["Resources"].items():
        if one["Type"] not in TARGETED:
            continue
        properties = one["Properties"]
        for target in properties.get("Targets") or [properties["Target"]]:
            started = target["Arn"].get("!Ref") or target["Arn"]["!GetAtt"].removesuffix(".Arn")
            role = target.get("RoleArn", {}).get("!GetAtt", "").removesuffix(".Arn")
            rows.append((f"`{name}`", properties["Description"], f"`{started}`", f"`{role or permission_of(name)}`"))
    return table(("rule or schedule", "what it is for", "starts", "by"), rows)


def permission_of(rule: str) -> str:
    """The permission by which a rule runs its function."""
    (found,) = (
        name
        for name, one in TEMPLATE["Resources"].items()
        if one["Type"] == "AWS::Lambda::Permission" and one["Properties"]["SourceArn"] == {"!GetAtt": f"{rule}.Arn"}
    )
    return str(found)


def resource_statements() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every statement of a policy that belongs to a resource: the resource, the key of its reason, the statement."""
    for name, one in transformed()["Resources"].items():
        properties = one.get("Properties", {})
        match one["Type"]:
            case "AWS::Events::EventBus":
                document, resource = properties["Policy"], name
            case "AWS::KMS::Key":
                document, resource = properties["KeyPolicy"], name
            case "AWS::SQS::QueuePolicy":
                document, resource = properties["PolicyDocument"], properties["Queues"][0]["Ref"]
            case "AWS::SNS::TopicPolicy":
                document, resource = properties["PolicyDocument"], properties["Topics"][0]["Ref"]
            case "AWS::Lambda::Permission":
                source = {"ArnEquals": {"aws:SourceArn": properties["SourceArn"]}}
                by = {"Principal": {"Service": properties["Principal"]}, "Condition": source}
                document = {"Statement": [{"Effect": "Allow", "Action": properties["Action"], **by}]}
                resource = properties["FunctionName"]["Ref"]
            case _:
                continue
        for statement in document["Statement"]:
            yield resource, statement.get("Sid", name), statement


def principal(statement: dict[str, Any]) -> str:
    """Whom a statement is about."""
    match statement["Principal"]:
        case {"Service": name}:
            return f"`{name}`"
        case {"AWS": _}:
            return "this account"
        case _:
            return "everybody"


def resources_table() -> str:
    """What the policies of bus, queue, topic, key and functions say."""
    rows = [
        (
            f"`{resource}`",
            ("allowed to " if statement["Effect"] == "Allow" else "**refused** to ") + principal(statement),
            ", ".join(f"`{action}`" for action in listed(statement["Action"])),
            condition(statement) or "-",
            WHY[key],
        )
        for resource, key, statement in resource_statements()
    ]
    return table(("resource", "whom", "actions", "only if", "why"), rows)


def reasons_used() -> set[str]:
    """The keys of all reasons that some line needs."""
    used = {key for _, key, _ in resource_statements()}
    for owner, role in roles().items():
        used |= {why(owner, listed(statement["Action"])[0])[0] for statement, _ in statements(role)}
    return used


ENDPOINTS = {
    "secretsmanager": ("`secretsmanager`", "interface", "registrations"),
    "dynamodb": ("`dynamodb`", "gateway, in the route tables of the subnets", "locks, records, history"),
    "sns": ("`sns`", "interface", "outcomes"),
    "states": ("`states`", "interface", "which executions ended"),
}
"""The VPC endpoint of each service that a function calls: its name, kind, and what for."""


def endpoints_table() -> str:
    """Which endpoint is needed by which functions, from what their code can call."""
    rows = []
    for service, (name, kind, what) in ENDPOINTS.items():
        users = [one for one in FUNCTIONS if any(action.startswith(f"{service}:") for action in actions_of(one))]
        rows.append((name, kind, what, ", ".join(f"`{one.removesuffix('Function')}`" for one in users)))
    return table(("endpoint", "kind", "for", "used by"), rows)


def services_called() -> set[str]:
    """Every service that a function calls."""
    return {action.partition(":")[0] for one in FUNCTIONS for action in actions_of(one)}
