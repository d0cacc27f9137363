"""A simulator of NetApp Element clusters: the Element API as far as a key rotation needs it, with faults."""

from local.simulator.assumptions import Assumptions
from local.simulator.calls import RequestRecord
from local.simulator.cluster import SimulatedCluster
from local.simulator.errors import AnswerLost, CallRefused, RpcError, SimulatorError
from local.simulator.faults import FAULTS, Fault, FaultGroup, FaultKind, FaultName, parse_rules
from local.simulator.methods import METHODS
from local.simulator.rekey import Management, MasterKey, Phase, Rekey
from local.simulator.running import RunningCluster, Simulator
from local.simulator.spec import ClusterSpec, ProviderSpec

__all__ = [
    "FAULTS",
    "METHODS",
    "AnswerLost",
    "Assumptions",
    "CallRefused",
    "ClusterSpec",
    "Fault",
    "FaultGroup",
    "FaultKind",
    "FaultName",
    "Management",
    "MasterKey",
    "Phase",
    "ProviderSpec",
    "Rekey",
    "RequestRecord",
    "RpcError",
    "RunningCluster",
    "SimulatedCluster",
    "Simulator",
    "SimulatorError",
    "parse_rules",
]
