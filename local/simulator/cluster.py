"""A simulated Element cluster: its state behind its API, with accounts, a log of calls, and faults.

It can be driven without a socket (`SimulatedCluster.call`), for tests that own the clock, or over HTTPS through
`protocol` and `server`. All public members are safe to use from several threads.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from local.simulator.calls import Call, Exchange, RequestRecord
from local.simulator.errors import AnswerLost, CallRefused, RpcError
from local.simulator.faults import Fault, FaultGroup, FaultName, FaultRules
from local.simulator.methods import METHODS, Caller
from local.simulator.parameters import Parameters
from local.simulator.shapes import as_assumed, software_encryption, supported_versions
from local.simulator.spec import version_pair
from local.simulator.state import ClusterState

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local.simulator.methods import Method
    from local.simulator.rekey import MasterKey, Phase, Rekey
    from local.simulator.spec import ClusterSpec


class SimulatedCluster:
    """One Element cluster, in memory."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.username = spec.username
        self._password = spec.password or secrets.token_urlsafe(18)
        self._lock = threading.RLock()
        self._state = ClusterState(spec)
        self._rules = FaultRules()
        self._requests: list[RequestRecord] = []
        self._calls: Counter[str] = Counter()
        self._refuse_until = self._state.now()
        self._refuse_connections = 0
        self._epoch = 0
        self._certificate = 0
        for rule in spec.faults:
            self.inject(rule)

    # -- what tests look at ---------------------------------------------------------------------------------------

    @property
    def password(self) -> str:
        """The password that is valid now."""
        with self._lock:
            return self._password

    @property
    def rekeys(self) -> tuple[Rekey, ...]:
        """Every rekey begun, oldest first, with when, by whom, the parameters and the handle."""
        with self._lock:
            self._state.advance()
            return tuple(self._state.rekeys)

    @property
    def current_key(self) -> MasterKey:
        """The master key in use now."""
        with self._lock:
            self._state.advance()
            return self._state.current_key()

    @property
    def held_keys(self) -> frozenset[MasterKey]:
        """All master keys that exist now, those left behind by failed rekeys among them."""
        with self._lock:
            self._state.advance()
            return self._state.held_keys()

    @property
    def phase(self) -> Phase | None:
        """Where the latest rekey is; None if there is none, or its result is gone."""
        with self._lock:
            self._state.advance()
            return self._state.latest_phase()

    @property
    def uuid(self) -> str:
        """The uuid of the cluster that answers now."""
        with self._lock:
            return self._state.uuid

    @property
    def calls(self) -> Counter[str]:
        """How many calls of each method arrived, whatever became of them."""
        with self._lock:
            return Counter(self._calls)

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The log of all calls that arrived, oldest first."""
        with self._lock:
            return tuple(self._requests)

    def cluster_time(self) -> datetime:
        """The time by the cluster's own clock, as in its HTTP Date header."""
        with self._lock:
            return self._state.now() + self._state.clock_skew

    def report(self) -> dict[str, object]:
        """What happened so far, as a JSON object: rekeys, requests by method, the key. Times are true times."""
        with self._lock:
            self._state.advance()
            rekeys = [
                {
                    "asyncHandle": one.handle,
                    "begun": one.begun.isoformat(),
                    "by": one.by,
                    "own": one.own,
                    "params": one.params,
                    "clusterUUID": one.cluster_uuid,
                    "keyToDecommission": one.old.reference(),
                    "newKey": one.new.reference(),
                    "phase": one.phase(self._state.now()).value,
                    "finished": one.finished(self._state.now()),
                    "failed": one.fails_in is not None and one.finished(self._state.now()),
                }
                for one in self._state.rekeys
            ]
            return {
                "name": self.spec.name,
                "uuid": self._state.uuid,
                "softwareEncryptionAtRest": software_encryption(self._state),
                "heldKeyIDs": sorted(key.key_id for key in self._state.held_keys()),
                "rekeys": rekeys,
                "requests": dict(self._calls),
            }

    # -- calls ----------------------------------------------------------------------------------------------------

    def call(
        self, method: str, params: object = None, version: str | None = None, username: str | None = None
    ) -> dict[str, object]:
        """Calls a method as if over the network, with the valid password, and returns the `result`.

        Raises:
            RpcError: the cluster answers with an error.
            CallRefused: HTTP 401 or 404.
            AnswerLost: an injected wire fault took the answer.
        """
        exchange = self.exchange(
            Call(method, params, version or self.spec.api_version, username or self.username, self.password),
        )
        if exchange.fault is not None:
            raise AnswerLost(exchange.fault.fault, applied=exchange.fault.is_applied)
        if exchange.refused is not None or exchange.outcome is None:
            raise CallRefused(exchange.refused or 500)
        error = exchange.outcome.get("error")
        if isinstance(error, dict):
            raise RpcError(error["name"], error["message"])
        result = exchange.outcome["result"]
        return result if isinstance(result, dict) else {}

    def exchange(self, call: Call) -> Exchange:
        """Takes one call: faults first, then account and endpoint, then the method."""
        known = METHODS.get(call.method.casefold())
        name = known.name if known else call.method
        with self._lock:
            now = self._state.advance()
            self._calls[name] += 1
            fault = self._match_rules(name)
            exchange = self._carry_out(call, known, fault)
            self._requests.append(
                RequestRecord(
                    now,
                    name,
                    call.params,
                    call.version,
                    call.username,
                    fault.fault if fault else None,
                    exchange.in_a_word(),
                )
            )
            return exchange

    def _carry_out(self, call: Call, known: Method | None, fault: Fault | None) -> Exchange:
        wire = fault if fault and fault.kind.group is not FaultGroup.ANSWER else None
        refused = self.refusal(call.username, call.password, call.version)
        if refused is not None:
            return Exchange(refused=refused, fault=wire)
        if fault is not None and fault.fault == FaultName.APPLY_DELAY:
            self._hold_up(call, timedelta(seconds=fault.seconds or 0.0))
        if fault is not None and not fault.is_applied:
            return Exchange(outcome=self._injected_error(fault, call), fault=wire)
        outcome = self._perform(call, known)
        if fault is not None and wire is None:
            outcome = self._injected_error(fault, call) or outcome
        return Exchange(outcome=outcome, fault=wire)

    def refusal(self, username: str, password: str, version: str) -> int | None:
        """401 for a wrong account or password, 404 for an endpoint version the cluster has not, else None."""
        # Bytes, for compare_digest takes no text beyond ASCII.
        matches = hmac.compare_digest(password.encode(), self.password.encode())
        if username != self.username or not matches:
            return 401
        return None if version in supported_versions(self.spec.api_version) else 404

    def _perform(self, call: Call, known: Method | None) -> dict[str, object]:
        if known is None or known.since > version_pair(call.version):
            return _failed(RpcError("xUnknownAPIMethod", f"xUnknownAPIMethod  method={call.method}"))
        if not known.permits(self.spec.role):
            return _failed(RpcError("xPermissionDenied"))
        try:
            given = self._parameters(call, known)
            result = known.answer(self._state, Caller(call.username, self.spec.role, call.version), given)
        except RpcError as error:
            return _failed(error)
        outcome: dict[str, object] = {"result": as_assumed(result, self.spec.assumptions)}
        return outcome | {"unusedParameters": given.unused} if given.unused else outcome

    def _parameters(self, call: Call, known: Method) -> Parameters:
        params = {} if call.params is None else call.params
        if not isinstance(params, dict):
            raise RpcError(self.spec.assumptions.parameter_type_error, "params must be an object.")
        return Parameters(known.parameters, params, self.spec.assumptions)

    def _hold_up(self, call: Call, delay: timedelta) -> None:
        """Keeps a rekey request for later; one that would have been refused is forgotten, as nobody hears of it."""
        try:
            given = self._parameters(call, METHODS[call.method.casefold()])
        except RpcError:
            return
        params = {
            "keyManagementType": given.management("keyManagementType"),
            "keyProviderID": given.integer("keyProviderID"),
        }
        self._state.start_late_rekey(call.username, {k: v for k, v in params.items() if v is not None}, delay)

    def _injected_error(self, rule: Fault, call: Call) -> dict[str, object] | None:
        if rule.fault == FaultName.RPC_ERROR:
            return _failed(RpcError(rule.name or "", rule.message or ""))
        if rule.fault == FaultName.PROVIDER_TEST_FAILS:
            name = rule.name or self.spec.assumptions.provider_test_error
            return _failed(RpcError(name, rule.message or "The key server returned an error."))
        if rule.fault == FaultName.HANDLE_NOT_YET_VISIBLE:
            handle = call.params.get("asyncHandle") if isinstance(call.params, dict) else None
            return _failed(self._state.unknown_handle(handle))
        return None

    # -- faults ---------------------------------------------------------------------------------------------------

    def inject(self, rule: Fault) -> None:
        """Puts a rule into force. A state fault that names no call happens now."""
        with self._lock:
            self._state.advance()
            self._rules.add(rule, used=1 if rule.at_once else 0)
            if rule.at_once:
                self._change(rule)

    def clear_faults(self) -> None:
        """Takes all rules out and ends the conditions they made (skew, pending upgrade, faults, refused connections).

        What happened stays so: a changed password, certificate, cluster or key.
        """
        with self._lock:
            state = self._state
            state.advance()
            self._rules.clear()
            state.clock_skew, state.key_time_skew = self.spec.clock_skew, timedelta(0)
            state.pending_version = self.spec.pending_version
            state.failure = None
            state.resolve_faults()
            self._refuse_connections, self._refuse_until = 0, state.now()

    def fault_report(self) -> list[dict[str, object]]:
        """The rules in force, each with how many calls it met and hit."""
        with self._lock:
            return self._rules.report()

    def _match_rules(self, name: str) -> Fault | None:
        states, fault = self._rules.match(name, self._state.latest_phase())
        for rule in states:
            self._change(rule)
            # The call that finds the master gone dies with the connection it came on.
            if rule.fault == FaultName.MASTER_MOVE and fault is None:
                fault = rule
        self._state.advance()
        return fault

    def _change(self, rule: Fault) -> None:
        changes: dict[str, Callable[[Fault], None]] = {
            FaultName.REFUSE_CONNECTIONS: self._refuse,
            FaultName.MASTER_MOVE: self._move_master,
            FaultName.CERTIFICATE_REPLACED: self._replace_certificate,
            FaultName.PASSWORD_CHANGED: self._change_password,
            FaultName.OTHER_CLUSTER: lambda _: self._state.become_other_cluster(),
            FaultName.HANDLE_VANISHED: lambda _: self._state.forget_result(self._state.latest_handle),
            FaultName.PHASE_FAILURE: self._fail_next_rekey,
            FaultName.COMPETING_REKEY: lambda one: self._state.compete(one.seconds, one.management),
            FaultName.CLOCK_SKEW: self._skew_clock,
            FaultName.KEY_TIME_SKEW: self._skew_key_time,
            FaultName.UPGRADE_PENDING: self._stage_upgrade,
            FaultName.CLUSTER_FAULT: lambda one: self._state.raise_fault(one.code or ""),
        }
        changes[rule.fault](rule)

    def _refuse(self, rule: Fault) -> None:
        self._refuse_connections = rule.connections or 0
        self._refuse_until = self._state.now() + timedelta(seconds=rule.seconds or 0.0)
        self._epoch += 1

    def _move_master(self, rule: Fault) -> None:
        self._state.move_master()
        self._refuse(rule)

    def _replace_certificate(self, _: Fault) -> None:
        self._certificate += 1
        self._epoch += 1

    def _change_password(self, rule: Fault) -> None:
        self._password = rule.password or secrets.token_urlsafe(18)

    def _fail_next_rekey(self, rule: Fault) -> None:
        self._state.failure = rule

    def _skew_clock(self, rule: Fault) -> None:
        self._state.clock_skew = timedelta(seconds=rule.seconds or 0.0)

    def _skew_key_time(self, rule: Fault) -> None:
        self._state.key_time_skew = timedelta(seconds=rule.seconds or 0.0)

    def _stage_upgrade(self, rule: Fault) -> None:
        self._state.pending_version = rule.version

    # -- the address ----------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Rises whenever the connections made so far end: a move of the master, another certificate, refusals."""
        with self._lock:
            return self._epoch

    @property
    def certificate(self) -> int:
        """The number of the certificate presented to new connections, 0 for the first."""
        with self._lock:
            return self._certificate

    def refuses_connection(self) -> bool:
        """Whether a connection made now is closed at once; counts it if so."""
        with self._lock:
            refused = self._refuse_connections > 0 or self._state.now() < self._refuse_until
            self._refuse_connections = max(0, self._refuse_connections - 1)
            return refused


def _failed(error: RpcError) -> dict[str, object]:
    return {"error": error.to_json()}
