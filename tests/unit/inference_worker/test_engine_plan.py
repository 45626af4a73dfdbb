"""Which models share an engine process."""

import pytest

from inference_worker.engine_plan import name_of, plan_engines

ENTRIES = ("whisper", "asr=whisper:small", "tests.models:Upper")


@pytest.mark.parametrize(
    ("engines", "groups"),
    [
        ("shared", [ENTRIES]),
        ("per-model", [(entry,) for entry in ENTRIES]),
        ("whisper;asr,tests.models:Upper", [ENTRIES[:1], ENTRIES[1:]]),
        (" tests.models:Upper , whisper ; asr ", [(ENTRIES[2], ENTRIES[0]), (ENTRIES[1],)]),
    ],
)
def test_models_are_grouped_as_asked(engines: str, groups: list[tuple[str, ...]]) -> None:
    """Groups name models as callers do; a class without a name of its own by its path."""
    plan = plan_engines(engines, ENTRIES, ["cpu"])

    assert [spec.models for spec in plan] == groups
    assert all({*spec.models, *spec.elsewhere} == set(ENTRIES) for spec in plan)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("whisper", "whisper"),
        ("asr=whisper:small", "asr"),
        ("whisper=/data/a=b", "whisper"),
        ("pkg:Class", "pkg:Class"),
        ("pkg:Class@/data/a", "pkg:Class"),
        ("pkg:Class@/data/a=b", "pkg:Class"),
        ("own=pkg:Class@/data/a=b", "own"),
    ],
)
def test_name_of_leaves_out_the_source(entry: str, name: str) -> None:
    """Metric labels carry names, never paths."""
    assert name_of(entry) == name


@pytest.mark.parametrize(
    ("engines", "complaint"),
    [
        ("whisper;siglip,asr", "expected .*groups of the models served, whisper, asr, .*; got 'siglip'"),
        ("permodel", "got 'permodel'"),
        ("", "got ''"),
        ("whisper;;asr,tests.models:Upper", "got ''"),
        ("whisper,asr", "tests.models:Upper must be added"),
        ("whisper;asr,whisper,tests.models:Upper", "whisper is in two groups"),
    ],
)
def test_a_wrong_group_is_refused_by_name(engines: str, complaint: str) -> None:
    """Every model served is in one group, and nothing else is."""
    with pytest.raises(ValueError, match=complaint):
        plan_engines(engines, ENTRIES, ["cpu"])


def test_two_engines_of_one_name_are_refused() -> None:
    """Two models of one name would take each other's jobs."""
    with pytest.raises(ValueError, match="a is named twice by --models"):
        plan_engines("per-model", ["a=x", "a=y"], ["cpu"])
