"""`python -m local.simulator`: clusters that serve until a signal comes.

The first line on standard output is JSON and says where they are; what follows is nothing.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from local.simulator.assumptions import Assumptions
from local.simulator.errors import SimulatorError
from local.simulator.faults import Fault, parse_rules
from local.simulator.running import Simulator
from local.simulator.spec import ACCESS_TYPES, OLDEST_KEY, ClusterSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.simulator.running import RunningCluster

_MOST_CLUSTERS = 500
NAMES = ("prod-a", "prod-b", "lab-a")  # those of the examples in events/


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the simulator's options to a parser; `serve` takes what comes out."""
    usual = ClusterSpec()
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--names", metavar="A,B", help=f"the clusters (default {','.join(NAMES)}, as in events/)")
    which.add_argument("--clusters", type=int, metavar="N", help="so many clusters, named cluster-1 and so on")
    add("--rekey-seconds", type=float, default=10.0, metavar="S", help="how long a rekey takes (default 10)")
    add("--faults", type=Path, metavar="FILE", help="fault rules for every cluster, as JSON (docs/simulator.md)")
    add("--api-version", default=usual.api_version, metavar="V", help="API version of the clusters (default 12.3)")
    add("--key-age-days", type=float, default=100.0, metavar="D", help="age of the master keys at the start")
    add("--external", type=int, metavar="ID", help="keep the first key with this key provider (there is one: 15)")
    add("--role", default=usual.role, metavar="ROLE", help=f"access type of the account: {', '.join(ACCESS_TYPES)}")
    add("--no-encryption", action="store_true", help="software encryption at rest is disabled")
    add("--self-signed", action="store_true", help="self-signed certificates, as from the factory")
    add("--element-tls", action="store_true", help="certificates, protocol and cipher suites as documented for Element")
    add("--ipv6", action="store_true", help="listen on ::1")
    add("--port", type=int, default=0, metavar="P", help="port of the first cluster, the others follow (default: any)")
    add("--seed", metavar="TEXT", help="makes cluster, key and handle ids repeatable (default: new ones each time)")
    add(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="switch one assumption about unpublished behaviour (docs/simulator.md)",
    )


def specifications(options: argparse.Namespace) -> tuple[ClusterSpec, ...]:
    """The clusters that the options ask for.

    Raises:
        SimulatorError: an option makes no sense; the message says which.
    """
    names = _names(options)
    if not 0 <= options.key_age_days <= OLDEST_KEY.days:
        raise SimulatorError(f"--key-age-days is a number from 0 to {OLDEST_KEY.days}, not {options.key_age_days:g}.")
    try:
        first = ClusterSpec(
            name=names[0],
            api_version=options.api_version,
            rekey_seconds=options.rekey_seconds,
            encryption_enabled=not options.no_encryption,
            key_age=timedelta(days=options.key_age_days),
            key_provider_id=options.external,
            role=options.role,
            faults=_rules(options.faults),
            assumptions=_assumptions(options.assume),
            seed=secrets.token_hex() if options.seed is None else options.seed,
            host="::1" if options.ipv6 else "127.0.0.1",
            self_signed=options.self_signed,
            tls="element" if options.element_tls else "modern",
        )
        return tuple(
            replace(first, name=name, port=options.port + number if options.port else 0)
            for number, name in enumerate(names)
        )
    except ValueError as error:
        raise SimulatorError(str(error)) from None


def _names(options: argparse.Namespace) -> tuple[str, ...]:
    if options.names is not None:
        return tuple(name.strip() for name in options.names.split(","))
    if options.clusters is None:
        return NAMES
    if not 1 <= options.clusters <= _MOST_CLUSTERS:
        raise SimulatorError(f"--clusters is a number from 1 to {_MOST_CLUSTERS}, not {options.clusters}.")
    return tuple(f"cluster-{number + 1}" for number in range(options.clusters))


def _rules(path: Path | None) -> tuple[Fault, ...]:
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorError(f"The fault rules cannot be read from {path}: {error}.") from None
    return parse_rules(text)


def _assumptions(switches: Sequence[str]) -> Assumptions:
    assumptions = Assumptions()
    for switch in switches:
        name, _, value = switch.partition("=")
        assumptions = assumptions.switched(name, value)
    return assumptions


def description(running: RunningCluster) -> dict[str, str]:
    """Where a cluster is and how to log in, as in the first line of output."""
    return {
        "name": running.name,
        "mvip": running.mvip,
        "username": running.username,
        "password": running.password,
        "caFile": str(running.ca_file),
        "certificateFingerprint": running.certificate_fingerprint,
    }


def serve(options: argparse.Namespace) -> int:
    """Serves the clusters until SIGTERM or Ctrl-C; returns the exit status. Call it on the main thread."""
    stop = threading.Event()
    # Installed first, so that a signal during the start still leaves nothing behind.
    before = {one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Simulator(specifications(options)) as simulator:
            print(json.dumps({"clusters": [description(one) for one in simulator]}), flush=True)
            stop.wait()
    except SimulatorError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1  # nobody reads where the clusters are
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name."""
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description="Simulated NetApp Element clusters.")
    add_arguments(parser)
    return serve(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
