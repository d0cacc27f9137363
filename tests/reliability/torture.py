"""Random scenarios of every fault in every order: ``python -m tests.reliability.torture`` runs many of them."""

from __future__ import annotations

import sys

from tests.reliability import fleet_torture, rotation_torture
from tests.reliability.misfortunes import FIGURES, run_scenarios

LONGER = 100


if __name__ == "__main__":
    repeated = "--random" not in sys.argv
    rotations, fleets = rotation_torture.EXAMPLES * LONGER, fleet_torture.EXAMPLES * LONGER
    run_scenarios(rotation_torture.RotationTorture, rotations, rotation_torture.STEPS, derandomize=repeated)
    run_scenarios(fleet_torture.FleetTorture, fleets, fleet_torture.STEPS, derandomize=repeated)
    print(", ".join(f"{count} {what}" for what, count in FIGURES.items()))  # noqa: T201 - what it is for
