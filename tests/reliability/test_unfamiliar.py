"""A sample of the cases of ``unfamiliar``; the module itself plays all of them."""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random
from typing import get_args, get_type_hints

import pytest

from element_rekey.outcomes import Outcome
from local.simulator import Assumptions
from tests.reliability.unfamiliar import SCENARIOS, cases, play, wrong

PLAYED = 120


def test_whatever_form_a_member_of_an_answer_has_only_the_clusters_state_decides_once_a_rekey_was_sent() -> None:
    """Before that a rotation goes right or is refused by a name of ours; the next one always goes right."""
    sample = Random("unfamiliar").sample(cases(), PLAYED)  # noqa: S311 - the same on every machine
    assert {case.scenario for case in sample} == set(SCENARIOS)
    assert not {str(case): why for case in sample if (why := wrong(case))}


FORMS = ("result_shape", "member_case", "numbers", "echoed_id", "management_case", "no_rekey", "served_versions")
"""The simulator's assumptions about the form of answers."""
SHAPES = [
    *({name: value} for name in FORMS for value in get_args(get_type_hints(Assumptions)[name])),
    {"result_type": "SearRekeyMasterKey"},
    {"management_taken": "sameCase"},
    {"management_taken": "sameCase", "management_case": "upper"},
    {name: get_args(get_type_hints(Assumptions)[name])[-1] for name in FORMS},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(f"{name}={shape[name]}" for name in shape))
def test_in_whatever_form_a_cluster_answers_its_key_is_replaced_once(shape: dict[str, str]) -> None:
    """Told as a command line tells it, so that each form can be tried by hand, too."""
    assert set(shape) <= {field.name for field in fields(Assumptions)}
    assumed = Assumptions()
    for name, value in shape.items():
        assumed = assumed.switched(name, value)
    for scenario in SCENARIOS[:2]:
        played = play(replace(scenario, spec=replace(scenario.spec, assumptions=assumed)))
        assert (played.first.outcome, played.rekeys, played.replaced) == (Outcome.ROTATED, (1, 1), True)
        assert played.first.change
        readable = shape.get("result_shape") in (None, "object", "text")
        assert played.first.change.job_result_read is readable
        assert bool(played.first.unfamiliar) == ("result_type" in shape or shape.get("result_shape") == "words")
