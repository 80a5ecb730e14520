from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.agreement import (
    ANNOTATORS,
    Agreement,
    Confusion,
    agreement,
    by_paragraphs,
    by_rules,
    match_places,
    measure,
)
from benchmarks.recorded import Annotation, drop_empty_components, read_recordings
from curation.annotate.components import Component, check_components, cover
from sprint_sgl.errors import BadInput

LINES = [
    "Two sides.\n\n",
    "Now, we need the area.\n",
    "It is 6.\n\n",
    "Alternatively, let's count.\n",
    "Six squares.\n",
]
APART = Annotation(
    (
        Component(plan=((1, 1),)),
        Component(plan=((2, 2),), prompt="Multiply.", execution=((3, 3),)),
        Component(plan=((4, 4),), prompt="Count.", execution=((5, 5),)),
    ),
    ((), (1,), (1,)),
)
CHAINED = Annotation(APART.components, ((), (1,), (2,)))
MERGED = Annotation((Component(plan=((1, 2),), prompt="Go on.", execution=((3, 5),)),), ((),))


def perfect(found: Agreement) -> bool:
    counts = found.starts, found.near, found.phases, found.same, found.needs
    return all(c.accuracy == c.f1 == c.kappa == 1.0 for c in counts)


@pytest.mark.parametrize("annotation", [APART, CHAINED, MERGED])
def test_an_annotation_agrees_with_itself_perfectly(annotation: Annotation) -> None:
    found = agreement(annotation, annotation, LINES)
    assert perfect(found)
    assert (found.steps, found.stages) == (found.right_steps, found.right_stages)


@given(st.lists(st.sampled_from([*LINES, "Wait, that is 7.\n\n", "Let me check that it is 6.\n"]), min_size=1))
def test_the_rules_agree_with_themselves_perfectly(lines: list[str]) -> None:
    assert perfect(agreement(by_rules(lines), by_rules(lines), lines))


def test_a_dependency_too_many_costs_agreement_on_what_needs_what_alone() -> None:
    found = agreement(APART, CHAINED, LINES)
    assert found.starts.f1 == found.phases.accuracy == found.same.kappa == 1.0
    assert found.needs == Confusion(both=4, second=4)  # lines 2-3 and 4-5 need line 1; the chain lets 4-5 need 2-3


def test_dependencies_count_over_any_number_of_steps() -> None:
    assert agreement(CHAINED, CHAINED, LINES).needs == Confusion(both=8)


def test_lines_of_one_component_need_each_other() -> None:
    found = agreement(APART, MERGED, LINES)
    assert found.starts == Confusion(first=2)
    assert found.needs == Confusion(both=4, second=4)
    assert found.same == Confusion(both=2, second=8)


@pytest.mark.parametrize(
    ("other", "within", "expected"),
    [
        ([3, 9], 0, Confusion(both=2)),
        ([4, 9], 0, Confusion(both=1, first=1, second=1)),
        ([4, 10], 1, Confusion(both=2)),
        ([3, 4], 1, Confusion(both=1, first=1, second=1)),
        ([], 1, Confusion(first=2)),
    ],
)
def test_each_start_is_matched_once(other: list[int], within: int, expected: Confusion) -> None:
    assert match_places([3, 9], other, within) == expected


def test_kappa_is_zero_where_agreement_is_what_chance_gives() -> None:
    assert Confusion(25, 25, 25, 25).kappa == 0.0
    assert Confusion(both=30, second=10).kappa == 0.0
    assert Confusion(both=10, neither=30).kappa == 1.0


def test_traces_are_pooled_by_their_counts() -> None:
    pooled = Agreement(starts=Confusion(both=1), steps=4) + Agreement(starts=Confusion(second=3), steps=2)
    assert pooled == Agreement(starts=Confusion(both=1, second=3), steps=6)


def test_the_baseline_makes_a_chain_of_paragraphs() -> None:
    found = by_paragraphs(LINES)
    check_components(found.components)
    assert cover(found.components, LINES) == found.components
    assert found.parents == ((), (1,), (2,))
    assert [component.spans[0][0] for component in found.components] == [1, 2, 4]


def test_what_needs_a_component_without_lines_needs_its_parents() -> None:
    some, none = Component(plan=((1, 1),)), Component()
    other = Component(plan=((2, 2),))
    assert drop_empty_components([some, none, other], [(), (1,), (2,)]) == Annotation((some, other), ((), (1,)))


INLINE = """### Component 1
<description>
Say what is sought.
</description>

<plan>
The sides are known. The area is sought.
</plan>

<prompt>
None
</prompt>

<execution>
None
</execution>

### Component 2
<plan>
Multiply them.
</plan>

<prompt>
Multiply the sides.
</prompt>

<execution>
2 * 3 = 6

So it is 6.
</execution>
"""


SEPARATION = """### Component 1 (Lines 1-2)
- **Plan:** Lines 1-2
- **Prompt:** None
- **Execution:** Lines not found

### Component 2 (Lines 3-6)
- **Plan:** Line 3
- **Prompt:** Multiply the sides.
- **Execution:** Lines 4-6
"""


def record(folder: Path, parents: str) -> Path:
    (folder / "component_inline_7.txt").write_text(INLINE)
    (folder / "component_separation_7.txt").write_text(SEPARATION)
    (folder / "created_dag_7.json").write_text(parents)
    return folder


def test_a_recording_gives_back_the_trace_and_its_annotation(tmp_path: Path) -> None:
    (found,) = read_recordings(record(tmp_path, '{"1": [], "2": [1]}'))
    assert found.name == "7"
    assert "".join(found.lines) == (
        "The sides are known. The area is sought.\n\nMultiply them.\n2 * 3 = 6\n\nSo it is 6.\n\n"
    )
    assert [(c.plan, c.execution) for c in found.annotation.components] == [(((1, 1),), ()), (((2, 2),), ((3, 4),))]
    assert found.annotation.parents == ((), (1,))
    assert (found.steps, found.stages) == (2, 1)


def test_a_recording_packs_by_the_lines_that_its_reply_names(tmp_path: Path) -> None:
    (found,) = read_recordings(record(tmp_path, '{"1": [], "2": [1]}'))
    row = measure([found], by_rules)["7"]
    assert (row.right_steps, row.right_stages) == (found.steps, found.stages)
    (tmp_path / "component_separation_7.txt").write_text(SEPARATION.partition("### Component 2")[0])
    with pytest.raises(BadInput, match=r"has 2 components, component_separation_7\.txt 1"):
        read_recordings(tmp_path)


def test_a_folder_without_recordings_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        read_recordings(tmp_path / "nowhere")


def test_a_recording_without_usable_parents_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"created_dag_7\.json"):
        read_recordings(record(tmp_path, "no dictionary"))


def test_recorded_annotations_can_be_used(shared_data: Path) -> None:
    for recording in read_recordings(shared_data / "curation_recorded"):
        check_components(recording.annotation.components)
        assert cover(recording.annotation.components, recording.lines) == recording.annotation.components
        assert perfect(agreement(recording.annotation, recording.annotation, recording.lines))


def test_the_ratio_of_a_recording_is_the_papers(shared_data: Path) -> None:
    found = {r.name: (r.steps, r.stages) for r in read_recordings(shared_data / "curation_recorded")}
    assert found == {"0": (11, 5), "1": (16, 5), "3": (15, 14), "4": (14, 10), "6": (13, 9), "8": (8, 4)}


def test_the_rules_find_steps_and_phases_of_recordings_better_than_paragraphs_do(shared_data: Path) -> None:
    recordings = read_recordings(shared_data / "curation_recorded")
    rules, paragraphs = (sum(measure(recordings, a).values(), Agreement()) for a in ANNOTATORS.values())
    assert rules.starts.f1 > paragraphs.starts.f1
    assert rules.near.f1 > paragraphs.near.f1
    assert rules.phases.accuracy > paragraphs.phases.accuracy
    assert rules.same.kappa > paragraphs.same.kappa
    assert rules.needs.kappa > paragraphs.needs.kappa
