"""Fleet runs by hand, step by step, each with real children: both state machines on one virtual clock and one ledger.

The definition of RotateFleet is read as it is, its choices, retriers and catchers included; its two functions are the
real use cases. What Step Functions and DynamoDB do for it is done here, with the answers and errors they have. Its
children are the executions of ``step_harness``.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from element_rekey.aws.runtime import answer_fleet
from element_rekey.codec import encode
from element_rekey.errors import ElementRekeyError
from element_rekey.fleet.select import select_clusters
from element_rekey.fleet.summarize import summarize_fleet
from element_rekey.inputs import parse_execution, parse_fleet_close_request, parse_fleet_request, parse_request
from element_rekey.records import Execution
from element_rekey.rules.selection import map_input
from tests.reliability.asl import (
    Retries,
    TaskFailed,
    catcher_of,
    chosen,
    filled,
    placed,
    projected,
    updated,
    value_at,
)
from tests.reliability.step_harness import NONE, ROTATIONS, SELECT, SUMMARIZE, Trouble
from tests.template import ACCOUNT, REGION, ROOT, properties
from tests.workflow.functions import Killed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from element_rekey.ports import Ports
    from element_rekey.settings import FleetSettings
    from tests.fakes import FakeLedger
    from tests.reliability.step_harness import SteppedExecution, StepRunner

RUNS = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:RotateFleet"
ROTATE = ROTATIONS.replace(":execution:", ":stateMachine:")
LAMBDA, START_EXECUTION, DESCRIBE, UPDATE_ITEM, GET_ITEM = (
    f"arn:aws:states:::{call}"
    for call in (
        "lambda:invoke",
        "states:startExecution.sync:2",
        "aws-sdk:sfn:describeExecution",
        "dynamodb:updateItem",
        "dynamodb:getItem",
    )
)
MAY_HAVE_BEEN_DONE = ("SdkClientException", "States.Timeout", "InternalServerError", "AmazonDynamoDBException")
"""What the errors contain after which the call can have gone through all the same."""


@lru_cache
def definition() -> dict[str, Any]:
    """The fleet's definition with the template's substitutions made."""
    text = (ROOT / properties("RotateFleet")["DefinitionUri"]).read_text()
    known = {"AWSPartition": "aws", "Rotations": ROTATIONS, "RotateMasterKey": ROTATE}
    for name in properties("RotateFleet")["DefinitionSubstitutions"]:
        text = text.replace(f"${{{name}}}", known.get(name, name))
    parsed: dict[str, Any] = json.loads(text)
    return parsed


@dataclass(repr=False, eq=False)
class Branch:
    """Where a fleet run stands: its main line, or one item of its map."""

    states: Mapping[str, Any]
    state: str
    data: Any
    context: dict[str, Any]
    due: datetime | None = None
    retries: Retries = field(default_factory=Retries)
    child: SteppedExecution | None = None
    """The rotation whose end is waited for."""
    counted: int = 0
    """How often it was counted as failed."""
    gave_up: bool = False
    """Whether DynamoDB did not count it at any of its retries."""
    ended: str = ""

    def __repr__(self) -> str:
        """Short, for the scenarios that are shown when they fail."""
        return f"{self.state} {self.ended}".strip()

    @property
    def definition(self) -> Mapping[str, Any]:
        """Of the state it is in."""
        found: Mapping[str, Any] = self.states[self.state]
        return found

    def go_to(self, state: str) -> None:
        """Leave the state for another one."""
        self.state, self.retries, self.child, self.due = state, Retries(), None, None


@dataclass(repr=False, eq=False)
class SteppedRun:
    """One fleet run, and where it stands."""

    execution: Execution
    given: Any
    main: Branch
    items: list[Branch] = field(default_factory=list)
    children: list[SteppedExecution] = field(default_factory=list)
    ended: str = ""
    interrupted: bool = False

    def __repr__(self) -> str:
        """Short, for the scenarios that are shown when they fail."""
        return f"{self.arn.rpartition(':')[2]} in {self.main} {self.items} {self.ended}"

    @property
    def arn(self) -> str:
        """What identifies it, among those that do not have a name used again."""
        return self.execution.id

    @property
    def counter(self) -> str:
        """The key of the item its rotations are counted in."""
        return f"COUNT#{self.arn}#{encode(self.execution.started_at)}"


class FleetRunner:
    """Runs fleet runs on ports, step by step, each step of a branch at a time."""

    def __init__(self, runner: StepRunner, ledger: FakeLedger, settings: FleetSettings) -> None:
        self.runner = runner
        self.clock = runner.clock
        self.ledger = ledger
        self.settings = settings
        self.runs: list[SteppedRun] = []
        self.rotations: dict[str, SteppedExecution] = {}
        """The rotations of all runs, by their ids; those whose names can be used again are none of them any more."""
        self.same_start_is_taken_for_one = True
        """Whether StartExecution takes the same name and input for the same execution while that runs, or refuses."""

    def start(self, given: Any, arn: str) -> SteppedRun:  # noqa: ANN401 - JSON
        """Start a run."""
        began = self.clock()
        began = began.replace(microsecond=began.microsecond // 1000 * 1000)
        execution = {"Id": arn, "StartTime": encode(began), "Input": given}
        states = definition()["States"]
        main = Branch(states, definition()["StartAt"], given, {"Execution": execution})
        run = SteppedRun(Execution(arn, began), given, main)
        self.runs.append(run)
        self._pass_on(run, main)
        return run

    def live(self) -> list[SteppedRun]:
        """The runs that have not ended."""
        return [run for run in self.runs if not run.ended]

    def branches(self) -> list[tuple[SteppedRun, Branch]]:
        """Everything of a run that can make a step now, or when it is time."""
        return [
            (run, branch)
            for run in self.live()
            for branch in (run.main, *run.items[: self._active(run)])
            if self._can_step(branch)
        ]

    def _active(self, run: SteppedRun) -> int:
        """How many items, from the first on, may have begun."""
        if run.main.definition["Type"] != "Map":
            return 0
        at_once: int = value_at(run.main.definition["MaxConcurrencyPath"], run.main.data, {})
        over = sum(bool(one.ended) for one in run.items)
        return over + at_once

    def _can_step(self, branch: Branch) -> bool:
        waits = branch.child is not None and not branch.child.ended
        return not branch.ended and not waits and branch.definition["Type"] != "Map"

    def step(self, run: SteppedRun, branch: Branch, trouble: Trouble = NONE, error: str = "") -> None:
        """Let a branch carry out its task, when it is time for it; ``error``: what AWS answers in place of doing so."""
        self.runner.wait_until(branch.due)
        branch.due = None
        state = branch.definition
        try:
            result = self._carry_out(run, branch, trouble, error)
        except TaskFailed as failed:
            self._retry_or_catch(run, branch, failed)
            return
        if run.ended or (branch.child and not branch.child.ended):
            return  # it was stopped meanwhile, or waits for its child
        branch.data = placed(result, state, branch.data)
        branch.go_to(state["Next"])
        self._pass_on(run, branch)

    def _retry_or_catch(self, run: SteppedRun, branch: Branch, failed: TaskFailed) -> None:
        state = branch.definition
        branch.child = None
        wait = branch.retries.next_wait(state, failed.error)
        if wait is not None:
            branch.due = self.clock() + timedelta(seconds=wait)
            return
        catcher = catcher_of(state, failed.error)
        assert catcher, f"{branch} catches no {failed.error}"
        branch.gave_up |= state["Resource"] == UPDATE_ITEM
        result = {"Error": failed.error, "Cause": failed.cause}
        branch.data = placed(result, {"ResultPath": catcher.get("ResultPath", "$")}, branch.data)
        branch.go_to(catcher["Next"])
        self._pass_on(run, branch)

    def _pass_on(self, run: SteppedRun, branch: Branch) -> None:
        """Go through all states that ask nobody anything, to the next task or to the end."""
        while not branch.ended and branch.definition["Type"] != "Task":
            state = branch.definition
            match state["Type"]:
                case "Pass":
                    branch.data = filled(state["Parameters"], branch.data, branch.context)
                    branch.go_to(state["Next"])
                case "Choice":
                    branch.go_to(chosen(state, branch.data))
                case "Wait":
                    due = self._end_of_wait(state, branch.data)
                    branch.go_to(state["Next"])
                    branch.due = due
                case "Map":
                    self._begin_items(run, branch)
                    if run.items:
                        return
                    branch.go_to(state["Next"])
                case "Succeed" | "Fail" as kind:
                    self._end(run, branch, "SUCCEEDED" if kind == "Succeed" else "FAILED")

    def _end_of_wait(self, state: Mapping[str, Any], data: Any) -> datetime:  # noqa: ANN401 - JSON
        if "Seconds" in state:
            return self.clock() + timedelta(seconds=state["Seconds"])
        return datetime.fromisoformat(value_at(state["TimestampPath"], data, {}))

    def _begin_items(self, run: SteppedRun, main: Branch) -> None:
        state, processor = main.definition, main.definition["ItemProcessor"]
        for value in value_at(state["ItemsPath"], main.data, {}):
            context = {**main.context, "Map": {"Item": {"Value": value}}}
            given = filled(state["ItemSelector"], main.data, context)
            branch = Branch(processor["States"], processor["StartAt"], given, context)
            run.items.append(branch)
            self._pass_on(run, branch)

    def _end(self, run: SteppedRun, branch: Branch, status: str) -> None:
        branch.ended = status
        if branch is run.main:
            run.ended = status
        elif all(one.ended for one in run.items):
            run.main.go_to(run.main.definition["Next"])
            self._pass_on(run, run.main)

    # -- tasks ----------------------------------------------------------------------------------------------------

    def _carry_out(self, run: SteppedRun, branch: Branch, trouble: Trouble, error: str) -> Any:  # noqa: ANN401 - JSON
        state = branch.definition
        if branch.child:
            return self._of_ended(branch.child)
        parameters = filled(state["Parameters"], branch.data, branch.context)
        if error and not any(part in error for part in MAY_HAVE_BEEN_DONE):
            raise TaskFailed(error, "said AWS")
        if state["Resource"] == LAMBDA:
            return {"Payload": self._function(parameters, trouble)}
        result = self._ask_aws(run, branch, state["Resource"], parameters)
        if error:
            raise TaskFailed(error, "The answer was lost.")
        return result

    def _ask_aws(self, run: SteppedRun, branch: Branch, resource: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        if resource == START_EXECUTION:
            branch.child = self._start_child(run, parameters)
            return None
        if resource == DESCRIBE:
            known = self.rotations.get(parameters["ExecutionArn"])
            if known is None:
                raise TaskFailed("Sfn.ExecutionDoesNotExistException", "said Step Functions")
            return {"Status": known.ended or "RUNNING"}
        pk = parameters["Key"]["pk"]["S"]
        item = self.ledger.items.get(pk, {})
        if resource == UPDATE_ITEM:
            self.ledger.items[pk] = updated(item, parameters)
            self._check_count(run, branch, parameters)
            return {}
        assert resource == GET_ITEM
        return {"Item": projected(item, parameters)} if item else {}

    def _check_count(self, run: SteppedRun, branch: Branch, parameters: Mapping[str, Any]) -> None:
        """One begins only while no more have failed than are tolerated; what went well is not counted as failed."""
        if "begun" in parameters["UpdateExpression"]:
            failed = sum(bool(one.counted) for one in run.items)
            assert failed <= branch.data["toleratedFailures"], f"{run} goes on after {failed} failures"
            return
        branch.counted += 1
        child = self.rotations.get(f"{ROTATIONS}:{branch.data['name']}")
        well = child and not child.interrupted and child.ended in {"", "SUCCEEDED"} and not child.redriven
        assert not well, f"{child} is counted as failed"

    def _start_child(self, run: SteppedRun, parameters: Mapping[str, Any]) -> SteppedExecution:
        assert parameters["StateMachineArn"] == ROTATE
        arn, request = f"{ROTATIONS}:{parameters['Name']}", parse_request(parameters["Input"])
        known = self.rotations.get(arn)
        if known:
            if self.same_start_is_taken_for_one and not known.ended and known.request == request:
                return known
            raise TaskFailed("StepFunctions.ExecutionAlreadyExistsException", "said Step Functions")
        child = self.rotations[arn] = self.runner.start(request, arn)
        run.children.append(child)
        return child

    def _of_ended(self, child: SteppedExecution) -> Any:  # noqa: ANN401 - JSON
        if child.ended != "SUCCEEDED":
            raise TaskFailed("States.TaskFailed", f"The execution ended as {child.ended}.")
        return {}

    def _function(self, parameters: Mapping[str, Any], trouble: Trouble) -> Any:  # noqa: ANN401 - JSON
        event = json.loads(json.dumps(parameters["Payload"]))
        use_case = self._select if parameters["FunctionName"] == SELECT else self._summarize
        try:
            return self.runner.invoke(None, parameters["FunctionName"], lambda ports: use_case(ports, event), trouble)
        except ElementRekeyError as failed:
            raise TaskFailed(type(failed).__name__, str(failed)) from failed
        except Killed:
            raise TaskFailed("Runtime.ExitError", "The function is dead.") from None

    def _select(self, ports: Ports, event: Any) -> Any:  # noqa: ANN401 - JSON
        request = parse_fleet_request(event["input"], self.settings.alarm_prefix)
        run = select_clusters(ports, self.settings, parse_execution(event), request)
        return {"execution": event["execution"], **map_input(self.settings, run, request)}

    def _summarize(self, ports: Ports, event: Any) -> Any:  # noqa: ANN401 - JSON
        closing = parse_fleet_close_request(event, self.settings.alarm_prefix)
        return answer_fleet(event, summarize_fleet(ports, ROTATE, closing))

    # -- people, and what follows from the end of a run -----------------------------------------------------------

    def stop(self, run: SteppedRun, status: str, stops: Callable[[SteppedExecution], bool]) -> None:
        """End a run from outside; Step Functions stops the rotations it waits for, as well as it can."""
        run.ended, run.interrupted = status, True
        for branch in (run.main, *run.items):
            if branch.child and not branch.child.ended and stops(branch.child):
                branch.child.ended, branch.child.interrupted = "ABORTED", True

    def redrive(self, run: SteppedRun) -> None:
        """Go on where an interrupted run was ended: each state that had not ended is entered again."""
        run.ended = ""
        for branch in (run.main, *run.items):
            if not branch.ended:
                branch.retries, branch.child, branch.due = Retries(), None, None

    def close(self, run: SteppedRun, trouble: Trouble = NONE) -> None:
        """The status event of a run that ended badly: once more, or for the first time."""
        detail = {
            "executionArn": run.arn,
            "status": run.ended,
            "startDate": round(run.execution.started_at.astimezone(UTC).timestamp() * 1000),
            "input": json.dumps(run.given),
        }
        event = {"detail": detail}
        with suppress(ElementRekeyError, Killed):
            self.runner.invoke(None, SUMMARIZE, lambda ports: self._summarize(ports, event), trouble)
