"""What every error of the AWS operations that the state machines call is to them: one table, held to AWS's own models.

``tests/workflow/test_aws_errors.py`` holds the table to botocore's service models, so that an error AWS adds has to be
thought about, and the Retry of each state to the table.
"""

from __future__ import annotations

import re
from enum import StrEnum

import boto3

from tests.template import REGION


class Kind(StrEnum):
    """What is done about an error."""

    WAKING = "the function is not ready: its network interfaces are being made, which is waited for"
    PASSING = "a fault or a throttle of the service: asked again"
    FINAL = "says the same at any time until somebody changes something; or is caught by its name"


WAKING, PASSING, FINAL = Kind.WAKING, Kind.PASSING, Kind.FINAL

_OF_STEP_FUNCTIONS = {
    "InvalidArn": FINAL,
    "KmsAccessDeniedException": FINAL,
    "KmsInvalidStateException": FINAL,
    "KmsThrottlingException": PASSING,
}

OPERATIONS: dict[tuple[str, str], dict[str, Kind]] = {
    ("lambda", "Invoke"): {
        "CodeArtifactUserDeletedException": FINAL,
        "CodeArtifactUserFailedException": FINAL,
        "CodeArtifactUserPendingException": WAKING,
        "DurableExecutionAlreadyStartedException": FINAL,
        "EC2AccessDeniedException": FINAL,
        "EC2ThrottledException": WAKING,
        "EC2UnexpectedException": WAKING,
        "EFSIOException": FINAL,  # no function of ours mounts a file system, nor uses SnapStart
        "EFSMountConnectivityException": FINAL,
        "EFSMountFailureException": FINAL,
        "EFSMountTimeoutException": FINAL,
        "ENILimitReachedException": WAKING,  # interfaces of other functions are given back
        "ENINotReadyException": WAKING,
        "InvalidParameterValueException": FINAL,
        "InvalidRequestContentException": FINAL,
        "InvalidRuntimeException": FINAL,
        "InvalidSecurityGroupIDException": FINAL,
        "InvalidSubnetIDException": FINAL,
        "InvalidZipFileException": FINAL,
        "KMSAccessDeniedException": FINAL,
        "KMSDisabledException": FINAL,
        "KMSInvalidStateException": FINAL,
        "KMSNotFoundException": FINAL,
        "ModeNotSupportedException": FINAL,
        "NoPublishedVersionException": FINAL,
        "RecursiveInvocationException": FINAL,
        "RequestTooLargeException": FINAL,
        "ResourceConflictException": WAKING,  # 409: Pending, after it was idle for weeks
        "ResourceNotFoundException": FINAL,
        "ResourceNotReadyException": WAKING,
        "S3FilesMountConnectivityException": FINAL,
        "S3FilesMountFailureException": FINAL,
        "S3FilesMountTimeoutException": FINAL,
        "SerializedRequestEntityTooLargeException": FINAL,
        "ServiceException": PASSING,
        "ServiceQuotaExceededException": FINAL,
        "SnapStartException": FINAL,
        "SnapStartNotReadyException": FINAL,
        "SnapStartRegenerationFailureException": FINAL,
        "SnapStartTimeoutException": FINAL,
        "SubnetIPAddressLimitReachedException": WAKING,
        "TooManyRequestsException": PASSING,
        "UnsupportedMediaTypeException": FINAL,
    },
    ("dynamodb", "UpdateItem"): {
        "ConditionalCheckFailedException": FINAL,
        "InternalServerError": PASSING,
        "ItemCollectionSizeLimitExceededException": FINAL,
        "ProvisionedThroughputExceededException": PASSING,
        "ReplicatedWriteConflictException": PASSING,
        "RequestLimitExceeded": PASSING,
        "ResourceNotFoundException": FINAL,
        "ThrottlingException": PASSING,
        "TransactionConflictException": PASSING,
    },
    ("dynamodb", "GetItem"): {
        "InternalServerError": PASSING,
        "ProvisionedThroughputExceededException": PASSING,
        "RequestLimitExceeded": PASSING,
        "ResourceNotFoundException": FINAL,
        "ThrottlingException": PASSING,
    },
    ("stepfunctions", "StartExecution"): {
        **_OF_STEP_FUNCTIONS,
        "ExecutionAlreadyExists": FINAL,
        "ExecutionLimitExceeded": PASSING,
        "InvalidExecutionInput": FINAL,
        "InvalidName": FINAL,
        "StateMachineDeleting": FINAL,
        "StateMachineDoesNotExist": FINAL,
        "ValidationException": FINAL,
    },
    ("stepfunctions", "DescribeExecution"): {**_OF_STEP_FUNCTIONS, "ExecutionDoesNotExist": FINAL},
}

TASKS: dict[str, tuple[tuple[str, str], str, str]] = {
    "lambda:invoke": (("lambda", "Invoke"), "Lambda", ""),
    "dynamodb:updateItem": (("dynamodb", "UpdateItem"), "DynamoDB", "DynamoDb"),
    "dynamodb:getItem": (("dynamodb", "GetItem"), "DynamoDB", "DynamoDb"),
    "states:startExecution.sync:2": (("stepfunctions", "StartExecution"), "StepFunctions", "Sfn"),
    "aws-sdk:sfn:describeExecution": (("stepfunctions", "DescribeExecution"), "", "Sfn"),
}
"""By the resource of a Task: its operation, and what its errors begin with: in an integration made for the service, and
in one made from the SDK. Step Functions has been seen to use the latter's names in the former, too."""

UNMODELLED: dict[str, set[str]] = {
    "lambda:invoke": {
        "Lambda.AWSLambdaException",
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.SdkClientException",
        "Lambda.Unknown",
        "Runtime.ExitError",
        "Sandbox.Timedout",
        "States.Timeout",
    },
    "dynamodb:updateItem": {
        "DynamoDB.AmazonDynamoDBException",
        "DynamoDB.SdkClientException",
        "DynamoDb.SdkClientException",
        "States.Timeout",
    },
    "states:startExecution.sync:2": {
        "StepFunctions.AWSStepFunctionsException",
        "StepFunctions.SdkClientException",
        "StepFunctions.ThrottlingException",
        "Sfn.SdkClientException",
        "Sfn.SfnException",
        "Sfn.ThrottlingException",
    },
    "aws-sdk:sfn:describeExecution": {
        "Sfn.SdkClientException",
        "Sfn.SfnException",
        "Sfn.ThrottlingException",
        "States.Timeout",
    },
}
"""What is retried as a passing trouble, and is in no model: what the SDK, a runtime or Step Functions itself says."""
UNMODELLED["dynamodb:getItem"] = UNMODELLED["dynamodb:updateItem"]


def modelled(operation: tuple[str, str]) -> set[str]:
    """Every error of an operation in AWS's own model of the service."""
    service, name = operation
    model = boto3.client(service, region_name=REGION).meta.service_model.operation_model(name)
    return {shape.name for shape in model.error_shapes}


def of_sdk(error: str) -> str:
    """What the SDK that Step Functions uses calls an error: ``EC2ThrottledException`` is ``Ec2ThrottledException``."""
    spelled = re.sub(r"([A-Z])([A-Z0-9]+)(?=[A-Z][a-z])", lambda found: found[1] + found[2].lower(), error)
    return spelled if spelled.endswith("Exception") else f"{spelled}Exception"


def names(task: str, *kinds: Kind) -> set[str]:
    """What a Task calls the modelled errors of these kinds, in any spelling."""
    operation, own, sdk = TASKS[task]
    errors = [error for error, kind in OPERATIONS[operation].items() if kind in kinds]
    of_its_own = {f"{own}.{name}" for error in errors for name in (error, of_sdk(error))} if own else set()
    return of_its_own | ({f"{sdk}.{of_sdk(error)}" for error in errors} if sdk else set())


def retried(task: str) -> set[str]:
    """Everything of AWS's that a Task has to retry."""
    return names(task, WAKING, PASSING) | UNMODELLED[task]
