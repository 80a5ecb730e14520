"""Other formats of parallel reasoning: their tags, what their executors see, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.countdown.rows import CountdownRowsConfig, Problems, make_rows
from programs import apr_program, hogwild_program, pasta_program, sprint_program, threads_program
from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.lang.calls import Branch
from sprint_sgl.lang.program import Program
from sprint_sgl.training_rows import row_text
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.scripted import ScriptedBackend, replay
from training.preflight import check_channel
from training.row_file import read_rows, rows_kind
from training.tree.layout import trajectory_tree

QUESTION = "How much is 2 * 3 + 4 * 5?"
PLAYED = Trajectory(
    QUESTION,
    (
        Stage(
            (Prompt("Multiply 2 and 3", "Two products."), Prompt("Multiply 4 and 5")),
            (Execution("2 * 3 is\n3 + 3\n6"), Execution("4 * 5 is\n20")),
            "Then add.",
        ),
        Stage((Prompt("Add 6 and 20", "Based on execution_1.1:"),), (Execution("6 + 20\n26"),)),
    ),
    final_answer="\\boxed{26}",
)
PROGRAMS = {"sprint": sprint_program, "apr": apr_program, "pasta": pasta_program, "threads": threads_program}
RUNS = [(PROGRAMS[name], format) for name, format in protocol.FORMATS.items()]
OTHERS = [format for format in protocol.FORMATS.values() if format.name != "sprint"]
words = st.sampled_from(
    (
        *("a", "<", "\n", "\\", "<Plan_1>", "<\\Plan_1>", "</prompt_1.1>", "<Execution_1>", "<spawn_1>", "<\\spawn_1>"),
        *("</result_1.2>", "<async_1.1>", "</Thread_3.1>", "<Outline_1.1>", "<child_1.1", "<SPAWN_1>", "spawn_1"),
    )
)
texts = st.lists(words, max_size=6).map("".join)
prompts = st.builds(Prompt, texts.map("p{}".format), texts)
executions = st.builds(Execution, texts)
stages = st.lists(st.tuples(prompts, executions), max_size=3).flatmap(
    lambda pairs: st.builds(
        Stage, st.just(tuple(p for p, _ in pairs)), st.just(tuple(e for _, e in pairs)), texts.map("t{}".format)
    )
)
questions, several = texts.map("q{}".format), st.lists(stages, min_size=1, max_size=2).map(tuple)
trajectories = st.builds(Trajectory, questions, several, texts)


@pytest.mark.parametrize("format", protocol.FORMATS.values(), ids=protocol.FORMATS)
@given(trajectory=trajectories)
@example(trajectory=PLAYED)
def test_a_transcript_in_any_format_reads_back_as_the_trajectory(
    format: protocol.Format, trajectory: Trajectory
) -> None:
    question = format.spell(protocol.render_question(trajectory.question))
    read = format.parse(f"{question}\n\n<think>\n{format.transcript(trajectory)}")
    assert (read.question, read.stages, read.final_answer) == (
        trajectory.question,
        trajectory.stages,
        trajectory.final_answer,
    )


@pytest.mark.parametrize("format", OTHERS, ids=lambda format: format.name)
def test_a_format_writes_its_own_tags_alone(format: protocol.Format) -> None:
    written = format.transcript(PLAYED)
    assert {tag.rstrip("_0123456789.") for tag in re.findall(r"</?(\w+_[\d.]+)>", written)} == set(format.tags)
    assert format.spell("<\\Plan_1> and <spawn_1> and <async_1.1>").count("\\") == 2 or format.name == "threads"


@pytest.mark.parametrize(("program", "format"), RUNS, ids=protocol.FORMATS)
def test_a_run_in_any_format_gives_the_trajectory_with_the_whole_executions(
    program: Program, format: protocol.Format
) -> None:
    state = program.run(QUESTION, backend=ScriptedBackend(replay(PLAYED, format)))
    run = state.trajectory
    assert state["answer"] == "26"
    assert [[each.text for each in stage.executions] for stage in run.stages] == [
        [each.text for each in stage.executions] for stage in PLAYED.stages
    ]
    assert [stage.plan for stage in run.stages] == [stage.plan for stage in PLAYED.stages]
    assert run.repairs == ()
    assert run.launch == format.launch


def contexts(program: Program, format: protocol.Format) -> dict[str, str]:
    """What executors see behind the question, by the end of it, and the planner's last context."""
    backend = ScriptedBackend(replay(PLAYED, format))
    program.run(QUESTION, backend=backend)
    behind = [request.context.partition("<think>\n")[2] for request in backend.requests]
    opened = {context.rsplit("_", 1)[-1].rstrip(">\n"): context for context in behind if context.endswith(">\n")}
    return opened | {"planner": max((each for each in behind if not each.endswith(".1>\n")), key=len)}


def test_children_of_apr_see_their_message_alone_and_return_a_line() -> None:
    seen = contexts(apr_program, protocol.APR)
    assert seen["1.2"] == "<child_1.2> Multiply 4 and 5 </child_1.2>\n<joined_1>\n<result_1.2>\n"
    assert "3 + 3" not in seen["planner"]
    assert "<result_1.1>\n6\n</result_1.1>" in seen["planner"]


def test_threads_see_all_outlines_and_no_sibling() -> None:
    seen = contexts(threads_program, protocol.THREADS)
    for number, text in (("1.1", "Multiply 2 and 3"), ("1.2", "Multiply 4 and 5")):
        assert "Multiply 2 and 3" in seen[number]
        assert "Multiply 4 and 5" in seen[number]
        assert "3 + 3" not in seen[number], text
    assert "3 + 3" in seen["planner"]


def test_promises_of_pasta_see_the_text_up_to_themselves() -> None:
    seen = contexts(pasta_program, protocol.PASTA)
    assert "Multiply 4 and 5" not in seen["1.1"]
    assert "Multiply 2 and 3" in seen["1.2"]
    assert "3 + 3" in seen["planner"]


@pytest.mark.parametrize("format", OTHERS, ids=lambda format: format.name)
def test_wrong_numbers_are_repaired_and_counted(format: protocol.Format) -> None:
    def wrong(context: str) -> str:
        return re.sub(r"(?<=_1\.)2(?=>)", "7", replay(PLAYED, format)(context))

    run = PROGRAMS[format.name].run(QUESTION, backend=ScriptedBackend(wrong)).trajectory
    assert [len(stage.prompts) for stage in run.stages] == [2, 1]
    assert dict(run.repairs)["wrong_number"] == 1


@pytest.mark.parametrize("format", OTHERS, ids=lambda format: format.name)
def test_who_watches_reads_sprints_tags_whatever_the_pieces(format: protocol.Format) -> None:
    seen: list[tuple[str, str]] = []
    watch = protocol.in_sprints_tags(format, lambda branch, text: seen.append((str(branch), text)))
    text = format.spell(protocol.render_plan(1, PLAYED.stages[0].prompts, "a < b"))
    for character in text:
        watch(Branch(1), character)
    watch(Branch(1), "")
    assert "".join(text for _, text in seen) == protocol.render_plan(1, PLAYED.stages[0].prompts, "a < b")
    assert seen[-1] == (str(Branch(1)), "")


def test_an_unknown_format_is_named_with_the_near_one() -> None:
    with pytest.raises(BadInput, match="unknown format 'thread', did you mean threads"):
        protocol.format_named("thread")


def hogwild(script: Callable[[str], str], **options: int) -> tuple[Trajectory, str, ScriptedBackend]:
    backend = ScriptedBackend(script)
    state = hogwild_program.run(QUESTION, backend=backend, **options)
    return state.trajectory, state["answer"], backend


def test_workers_read_what_all_have_written_before_their_next_line() -> None:
    def script(context: str) -> str:
        log = context.rpartition(QUESTION)[2]
        return "so \\boxed{26}\n" if "line of [2]" in log else f"line of {log[-4:].strip()}\nmore"

    run, answer, backend = hogwild(script, workers=2)
    assert answer == "26"
    assert [[each.text for each in stage.executions] for stage in run.stages] == [
        ["line of [1]", "line of [2]"],
        ["so \\boxed{26}"] * 2,
    ]
    seen = sorted(request.context.rpartition(QUESTION)[2] for request in backend.requests[2:])
    assert [log[-36:] for log in seen] == [f"[1] line of [1]\n[2] line of [2]\n[{j}] " for j in (1, 2)]
    assert run.repairs == ()


def test_the_answer_is_asked_for_after_the_last_round() -> None:
    def script(context: str) -> str:
        return "26} and so on" if context.endswith("\\boxed{") else "thinking\n"

    run, answer, _ = hogwild(script, workers=3, max_rounds=2)
    assert answer == "26"
    assert [len(stage.executions) for stage in run.stages] == [3, 3]
    assert dict(run.repairs) == {"forced_answer": 1}
    assert run.answer_tokens


def test_workers_with_nothing_to_say_end_the_rounds() -> None:
    run, answer, _ = hogwild(lambda context: "26}" if context.endswith("\\boxed{") else "\n")
    assert (answer, len(run.stages)) == ("26", 1)


def test_rows_of_a_format_are_trees_of_its_own_channel(tmp_path: Path) -> None:
    problems = Problems(three=8, four=0)
    counts = make_rows(CountdownRowsConfig(str(tmp_path / "rows"), problems, protocol="apr", validation=2))
    assert counts["apr.train.jsonl"] == counts["rft.train.jsonl"] >= 4
    file = tmp_path / "rows" / "apr.train.jsonl"
    (first, *_) = read_rows(file)
    assert first["channel"] == "tree_apr"
    assert "<spawn_1>" in row_text(first)
    assert rows_kind(file) == "apr"
    check_channel(first, laid_out=True)
    with pytest.raises(BadInput, match="unknown channel 'tree_arp': trees have the channel 'tree', or tree_apr"):
        check_channel(first | {"channel": "tree_arp"}, laid_out=True)
    with pytest.raises(BadInput, match="unknown format 'arp'; known: sprint, apr"):
        make_rows(CountdownRowsConfig(str(tmp_path / "other"), problems, protocol="arp"))


def test_what_a_child_does_not_return_is_trained_and_not_read_by_its_parent() -> None:
    def encode(text: str) -> list[int]:
        return list(map(ord, text))

    tree = trajectory_tree("opening\n", PLAYED, encode, encode, end=0, format=protocol.APR)
    trunk = "".join(map(chr, tree.input_ids[: tree.trunk_length]))
    branches = [node for number, node in enumerate(tree.nodes) if number and node.parent != number - 1]
    assert {branch.parent for branch in branches} == {0}
    assert "3 + 3" not in trunk
    assert "<result_1.1>\n6\n</result_1.1>" in trunk
    assert any("3 + 3" in "".join(chr(label) for label in branch.labels if label > 0) for branch in branches)
