"""A sample of the cases of ``unfamiliar``; the module itself plays all of them."""

from __future__ import annotations

from random import Random

from tests.reliability.unfamiliar import SCENARIOS, cases, wrong

PLAYED = 120


def test_whatever_form_a_member_of_an_answer_has_only_the_clusters_state_decides_once_a_rekey_was_sent() -> None:
    """Before that a rotation goes right or is refused by a name of ours; the next one always goes right."""
    sample = Random("unfamiliar").sample(cases(), PLAYED)  # noqa: S311 - the same on every machine
    assert {case.scenario for case in sample} == set(SCENARIOS)
    assert not {str(case): why for case in sample if (why := wrong(case))}
