"""Every case of an unfamiliar answer, and random scenarios of every fault in every order, at length.

``python -m tests.reliability.torture`` runs them; ``make test`` a sample of the first, and a few of the second.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from tests.reliability import fleet_torture, rotation_torture, unfamiliar
from tests.reliability.misfortunes import FIGURES, run_scenarios
from tests.reliability.report import SUMMARY
from tests.tables import write

LONGER = 100
"""How many times as many scenarios as in the tests."""


def figures() -> str:
    """What was run, in a sentence or two."""
    known = {what: f"{count:,}" for what, count in FIGURES.items()}
    executions = FIGURES["executions"] + FIGURES["fleet runs"]
    return (
        f"{known['scenarios']} scenarios: {executions:,} executions, {known['fleet runs']} of them fleet runs;\n"
        f"{FIGURES['steps'] + FIGURES['steps of runs']:,} steps, {known['crashes']} crashes, "
        f"{known['hanging functions resumed']} hanging functions resumed;\n"
        f"{known['stopped']} rotations and {known['runs stopped']} runs stopped, {known['redriven']} and "
        f"{known['runs redriven']} redriven; {known['names used again']} names used again;\n"
        f"{known['answers of a start lost']} answers to a start lost, {known['errors of AWS']} other errors of AWS; "
        f"clocks set {known['clocks set']} times;\n"
        f"{known['competing']} attempts of somebody else to rekey, {known['results read away']} results read away; "
        f"{known['rekeys']} rekeys in all. No promise was broken;\n"
        f"{FIGURES['demands met by a key whose stamp nobody could refute']:,} demands were met by an older key whose "
        "wrong stamp nobody could refute."
    )


def main() -> int:
    """Run them, and say or write down what was run; the exit status."""
    parser = ArgumentParser(prog="make torture", description="Every unfamiliar answer, and every fault in every order.")
    parser.add_argument("--random", action="store_true", help="other scenarios each time")
    parser.add_argument("--times", type=int, default=LONGER, help="as many as in the tests (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="write the figures into docs/reliability.md")
    asked = parser.parse_args()
    if unfamiliar.main():
        return 1
    for torture, scenario in (
        (rotation_torture, rotation_torture.RotationTorture),
        (fleet_torture, fleet_torture.FleetTorture),
    ):
        run_scenarios(scenario, torture.EXAMPLES * asked.times, torture.STEPS, derandomize=not asked.random)
    print(figures())  # noqa: T201 - what it is for
    if asked.record:
        write(SUMMARY, "torture", figures())
    return 0


if __name__ == "__main__":
    sys.exit(main())
