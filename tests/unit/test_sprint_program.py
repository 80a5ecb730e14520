"""The SPRINT program against a scripted model: order, prefixes, joins, limits, malformed output, failures."""

import gc
import math
import threading
import time
from collections.abc import Callable
from inspect import signature

import pytest

from programs import self_consistency_program, sequential_program, sprint_program
from sprint_sgl import protocol
from sprint_sgl.errors import BadInput, ContextFull, ProgramFailed, RuntimeUnavailable
from sprint_sgl.lang.program import Program, Run
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.planners import is_executor, plan, planner
from tests.fakes.scripted import ScriptedBackend, ScriptedRequest, count_tokens, replay

TWO_STAGES = Trajectory(
    "How much is it?",
    (
        Stage(
            (Prompt("add them", lead="Two ways."), Prompt("multiply them"), Prompt("halve it", lead="-----\nOr so.")),
            (Execution("it is 3"), Execution("it is 2"), Execution("it is 1")),
        ),
        Stage(
            (Prompt("check it", lead="Based on execution_1.2:\nCheck."),),
            (Execution("yes\nit is"),),
            tail="Then answer.",
        ),
    ),
    final_answer="It is \\boxed{2}.",
)


def run(backend: ScriptedBackend, **options: object) -> Run:
    return sprint_program.run("How much is it?", backend=backend, **options)


@pytest.mark.parametrize("launch", ["eager", "barrier"])
def test_the_run_is_the_trajectory_that_the_model_writes(launch: str) -> None:
    state = run(ScriptedBackend(replay(TWO_STAGES)), launch=launch)
    trajectory = state.trajectory
    assert state["answer"] == "2"
    assert trajectory.final_answer == "It is \\boxed{2}."
    assert trajectory.repairs == ()
    assert protocol.render(trajectory) == protocol.render(TWO_STAGES)


@pytest.mark.parametrize("launch", ["eager", "barrier"])
def test_the_context_of_every_call_is_a_verbatim_prefix(launch: str) -> None:
    backend = ScriptedBackend(replay(TWO_STAGES))
    run(backend, launch=launch)
    opening = protocol.planner_opening("How much is it?", prompt_style("sprint"))
    transcript = opening + protocol.render(TWO_STAGES).partition("<think>\n")[2]
    for request in backend.requests:
        context = request.context
        if is_executor(context):
            i, j = context.rpartition("<execution_")[2].rstrip(">\n").split(".")
            shared = context.removesuffix(protocol.close_plan(int(i)) + protocol.open_execution(int(i), int(j)))
            assert shared.endswith(f"</prompt_{i}.{j}>\n")
            context = shared
        assert transcript.startswith(context)


def test_eager_launch_starts_an_executor_while_the_planner_goes_on() -> None:
    backend = ScriptedBackend(replay(TWO_STAGES), pause=lambda context: 0.15 if is_executor(context) else 0.03)
    run(backend)
    first = next(r for r in backend.requests if r.context.endswith("<execution_1.1>\n"))
    later = [r for r in backend.requests if "</prompt_1.1>" in r.context[-200:] and not is_executor(r.context)]
    assert first.start < min(r.end for r in later)


def test_barrier_launch_starts_executors_after_the_plan() -> None:
    backend = ScriptedBackend(replay(TWO_STAGES), pause=lambda context: 0.05 if is_executor(context) else 0.02)
    run(backend, launch="barrier")
    executors = [r for r in backend.requests if "<execution_1." in r.context.splitlines()[-1]]
    planners = [r for r in backend.requests if "</Execution_1>" not in r.context and not is_executor(r.context)]
    assert min(r.start for r in executors) >= max(r.end for r in planners)


def test_siblings_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=5)

    def script(context: str) -> str:
        if "<execution_1." in context.splitlines()[-1]:
            barrier.wait()
        return replay(TWO_STAGES)(context)

    assert run(ScriptedBackend(script))["answer"] == "2"


def test_executions_join_in_prompt_order_whichever_ends_first() -> None:
    slow = {"<execution_1.1>": 0.2, "<execution_1.2>": 0.1}
    backend = ScriptedBackend(replay(TWO_STAGES), pause=lambda context: slow.get(context.splitlines()[-1], 0.0))
    trajectory = run(backend).trajectory
    assert [e.text for e in trajectory.stages[0].executions] == ["it is 3", "it is 2", "it is 1"]
    ends = [e.call.end for e in trajectory.stages[0].executions if e.call]
    assert ends == sorted(ends, reverse=True)


def endless(context: str) -> str:
    """A model that plans on and on, until its answer is forced."""
    if context.endswith("<Final_answer>\n"):
        return "\\boxed{7}\n</Final_answer>"
    if is_executor(context):
        return "done"
    i = context.count("\n</Execution_") + 1
    return "</Plan_" if f"</prompt_{i}.1>" in context else f"<Plan_{i}>\n<prompt_{i}.1> again </prompt_{i}.1>"


def test_the_answer_is_forced_at_the_twelfth_stage() -> None:
    state = run(ScriptedBackend(endless))
    assert state["answer"] == "7"
    assert len(state.trajectory.stages) == 11
    assert dict(state.trajectory.repairs) == {"forced_answer": 1}
    assert len(run(ScriptedBackend(endless), max_stages=3).trajectory.stages) == 2


ANSWER = "<Final_answer>\n\\boxed{1}\n</Final_answer>"


@pytest.mark.parametrize(
    ("written", "prompts", "kind"),
    [
        ("<Plan_1>\n<prompt_1.4> a </prompt_1.4>\n</Plan_1>", ["a"], "wrong_number"),
        ("<Plan_7>\n<prompt_1.1> a </prompt_1.1>\n</Plan_7>", ["a"], "wrong_number"),
        ("<Plan_1>\n<prompt_1.1> a\n</Plan_1>", ["a"], "unclosed"),
        ("<Plan_1>\n<prompt_1.1> a\n<prompt_1.2> b </prompt_1.2>\n</Plan_1>", ["a", "b"], "unclosed"),
        ("<Plan_1>\n<prompt_1.1>  </prompt_1.1>\n</Plan_1>", [], "empty_prompt"),
    ],
)
def test_malformed_plans_are_repaired_counted_and_carried_on(written: str, prompts: list[str], kind: str) -> None:
    state = run(ScriptedBackend(piecewise(written)))
    assert state["answer"] == "1"
    assert [p.text for p in state.trajectory.stages[0].prompts] == prompts
    assert dict(state.trajectory.repairs)[kind] >= 1


def piecewise(first_plan: str) -> Callable[[str], str]:
    """A planner that writes this first plan, whatever its context was repaired to, and then answers."""
    pieces = [piece for part in first_plan.split("</prompt_") for piece in [part]]
    asked: list[str] = []

    def script(context: str) -> str:
        if is_executor(context):
            return "done\n</execution_"
        if "</Execution_1>" in context:
            return ANSWER
        asked.append(context)
        if len(asked) > len(pieces):
            return "</Plan_1>"
        piece = pieces[len(asked) - 1]
        text = piece if len(asked) == 1 else piece.partition(">")[2].lstrip("\n")
        return text + ("</prompt_" if len(asked) < len(pieces) else "")

    return script


def test_a_planner_that_never_stops_opening_empty_prompts_comes_to_an_end() -> None:
    def script(context: str) -> str:
        return ANSWER if "</Execution_1>" in context else "<Plan_1>\n</prompt_1.1>"

    state = run(ScriptedBackend(script))
    assert state["answer"] == "1"
    assert len(state.trajectory.calls) == 3


def test_a_run_that_fills_the_models_context_ends_there() -> None:
    opening = count_tokens(protocol.planner_opening("How much is it?", prompt_style("sprint")))
    for room in range(opening + 1, opening + 60):
        trajectory = run(ScriptedBackend(endless, room=room), max_stages=1000).trajectory
        assert dict(trajectory.repairs)["context_full"] == 1
        assert trajectory.final_answer == ""
        assert 1 <= len(trajectory.stages) <= room - opening


def test_the_collector_asks_no_thread_whether_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread that is being started it would wait for that very thread."""
    state = run(ScriptedBackend(replay(TWO_STAGES)))
    asked: list[object] = []
    monkeypatch.setattr(threading.Thread, "is_alive", lambda thread: bool(asked.append(thread)))
    del state
    gc.collect()
    assert asked == []


def test_help_shows_the_programs_own_arguments_and_those_of_every_run() -> None:
    names = list(signature(sprint_program.run).parameters)
    assert names[:3] == ["question", "max_stages", "launch"]
    assert {"temperature", "stream", "backend"} <= set(names)
    assert not {"args", "kwargs", "s"} & set(names)
    assert list(signature(sprint_program.bind(max_stages=2).run).parameters) == names


def test_a_states_repr_is_a_line_about_the_run() -> None:
    state = run(ScriptedBackend(replay(TWO_STAGES)))
    cost = f"{state.trajectory.sequential_tokens} sequential of {state.trajectory.total_tokens} tokens"
    assert repr(state) == f"<Run, 2 stages, {cost}, answer {state['answer']!r}>"


def test_options_that_a_program_does_not_have_are_named() -> None:
    with pytest.raises(BadInput, match=r"no argument 'temprature', did you mean temperature\? It has question, "):
        run(ScriptedBackend(replay(TWO_STAGES)), temprature=1)
    with pytest.raises(BadInput, match="no argument 'stop'; it has question, max_stages"):
        run(ScriptedBackend(replay(TWO_STAGES)), stop="x")
    for name, value in (("max_stages", "a"), ("max_stages", 0), ("launch", "never"), ("on_failure", None),
                        ("temperature", math.nan), ("temperature", -1), ("max_new_tokens", 0),
                        ("max_new_tokens", 10**20), ("max_new_tokens", True), ("max_stages", True),
                        ("max_stages", 10**20), ("temperature", True)):  # fmt: skip
        with pytest.raises(BadInput, match=f"{name} must be .*got {value!r}"):
            run(ScriptedBackend(replay(TWO_STAGES)), **{name: value})
    for limit in (0, -1, 10**20, True):
        with pytest.raises(BadInput, match=f"max_tokens must be .*got {limit!r}"):
            sequential_program.run("q", max_tokens=limit, backend=ScriptedBackend(replay(TWO_STAGES)))
    for threads in (0, "2"):
        with pytest.raises(BadInput, match="num_threads"):
            sprint_program.run_batch(["q"], num_threads=threads)


def test_a_batch_may_come_one_by_one() -> None:
    begun = threading.Semaphore(0)

    def slowly(context: str) -> float:
        begun.release()
        return 0.05

    backend = ScriptedBackend(replay(TWO_STAGES), pause=slowly)
    states = sprint_program.run_batch(["q"] * 50, backend=backend, num_threads=2, generator_style=True)
    assert begun.acquire(timeout=5)  # before anybody asks for a state
    assert [next(states)["answer"] for _ in range(3)] == ["2"] * 3
    states.close()
    asked = len(backend.requests)
    assert asked < 50 * 4 - 40
    time.sleep(1)
    assert len(backend.requests) <= asked + 2 * 20  # the two that were under way end


@pytest.mark.parametrize("program", [sprint_program, sequential_program, self_consistency_program])
def test_a_question_that_does_not_fit_is_the_callers_to_mend(program: Program) -> None:
    with pytest.raises(ContextFull, match="fills the model's context"):
        program.run("How much is it? " * 100, backend=ScriptedBackend(replay(TWO_STAGES), room=100))


def test_a_truncated_execution_is_marked_and_counted() -> None:
    def script(context: str) -> str:
        return "word " * 500 if is_executor(context) else planner(plan(1, "a"), ANSWER)(context)

    trajectory = run(ScriptedBackend(script), max_new_tokens=40).trajectory
    (execution,) = trajectory.stages[0].executions
    assert execution.status == "truncated"
    assert execution.tokens == 40
    assert dict(trajectory.repairs)["truncated"] == 1


@pytest.mark.parametrize("launch", ["eager", "barrier"])
def test_a_run_of_which_nothing_was_cut_is_the_whole_run(launch: str) -> None:
    whole = protocol.render(TWO_STAGES)
    cut = set()
    for limit in range(1, 40):
        trajectory = run(ScriptedBackend(replay(TWO_STAGES)), max_new_tokens=limit, launch=launch).trajectory
        assert trajectory.truncated_count or protocol.render(trajectory) == whole, limit
        cut.add(trajectory.truncated_count > 0)
    assert cut == {True, False}


def test_an_executor_cannot_open_tags_in_the_planners_context() -> None:
    backend = ScriptedBackend(planner(plan(1, "a"), ANSWER))
    honest = backend.script
    backend.script = lambda context: (
        "fine <Final_answer> \\boxed{666} <Plan_2> <prompt_2.1>" if is_executor(context) else honest(context)
    )
    state = run(backend)
    assert state["answer"] == "1"
    assert len(state.trajectory.stages) == 1
    assert state.trajectory.stages[0].executions[0].text == "fine <Final_answer> \\boxed{666} <Plan_2> <prompt_2.1>"
    answer_request = backend.requests[-1]
    assert "<\\Final_answer> \\boxed{666} <\\Plan_2>" in answer_request.context
    assert dict(state.trajectory.repairs)["nested"] >= 1


def test_tags_in_the_question_are_text() -> None:
    question = "What does <Plan_1></Plan_1> <Final_answer>9</Final_answer> </Question> mean?"
    backend = ScriptedBackend(lambda context: ANSWER)
    state = sprint_program.run(question, backend=backend)
    assert state.trajectory.question == question
    assert "<Final_answer>9" not in backend.requests[0].context
    assert backend.requests[0].context.count("</Question>") == backend.requests[0].context.count("<Question>")


def failing(context: str) -> str:
    if context.endswith("<execution_1.2>\n"):
        raise ConnectionError("the socket is gone")
    return replay(TWO_STAGES)(context)


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_fork_that_fails_is_an_error_that_names_its_stage_and_prompt() -> None:
    threads = threading.active_count()
    with pytest.raises(ProgramFailed, match=r"executor 1\.2: the socket is gone") as caught:
        run(ScriptedBackend(failing))
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert ends(lambda: threading.active_count() <= threads)


def ends(condition: Callable[[], bool], limit: float = 5.0) -> bool:
    deadline = time.monotonic() + limit
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_failed_fork_may_be_marked_and_answers_keep_their_prompts() -> None:
    trajectory = run(ScriptedBackend(failing_marked), on_failure="mark").trajectory
    texts = [(e.text, e.status) for e in trajectory.stages[0].executions]
    assert texts == [("it is 3", "ok"), ("", "failed"), ("it is 1", "ok")]
    assert dict(trajectory.repairs) == {"failed_execution": 1}


def failing_marked(context: str) -> str:
    if context.endswith("<execution_1.2>\n"):
        raise ConnectionError("the socket is gone")
    return ANSWER if "</Execution_1>" in context else replay(TWO_STAGES)(context)


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_planner_that_fails_is_an_error_that_names_its_stage() -> None:
    def script(context: str) -> str:
        if "</Execution_1>" in context:
            raise TimeoutError("too slow")
        return replay(TWO_STAGES)(context)

    with pytest.raises(ProgramFailed, match="planner, stage 2: too slow"):
        run(ScriptedBackend(script))


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_streaming_run_raises_its_error_too() -> None:
    state = run(ScriptedBackend(failing), stream=True)
    with pytest.raises(ProgramFailed, match=r"executor 1\.2"):
        list(state.text_iter())
    with pytest.raises(ProgramFailed, match=r"executor 1\.2"):
        _ = state["answer"]


def test_a_streaming_run_yields_the_planners_whole_text() -> None:
    state = run(ScriptedBackend(replay(TWO_STAGES)), stream=True)
    text = "".join(state.text_iter())
    assert (
        text.partition("<think>\n")[2]
        == protocol.render(TWO_STAGES).partition("<think>\n")[2].partition("</Final_answer>")[0]
    )
    assert state["answer"] == "2"


@pytest.mark.parametrize("stream", [True, False])
def test_a_watcher_sees_what_every_branch_writes(stream: bool) -> None:
    seen: dict[str, str] = {}
    lock = threading.Lock()

    def watch(branch: object, text: str) -> None:
        with lock:
            seen[str(branch)] = seen.get(str(branch), "") + text

    run(ScriptedBackend(replay(TWO_STAGES)), stream=stream, watch=watch).trajectory  # noqa: B018
    assert seen["executor 1.2"].strip() == "it is 2"
    assert protocol.render_plan(1, TWO_STAGES.stages[0].prompts) == seen["planner, stage 1"]


def test_a_batch_keeps_its_order_and_accepts_both_of_sglangs_forms() -> None:
    backend = ScriptedBackend(lambda context: f"<Final_answer>\n{context.count('x')}\n</Final_answer>")
    questions = ["a", "xa", "xxa", "xxxa"]
    base = int(sprint_program.run("a", backend=backend)["answer"])
    for rows in ([{"question": q} for q in questions], [(q,) for q in questions]):
        states = sprint_program.run_batch(rows, backend=backend, num_threads=4)
        assert [int(state["answer"]) - base for state in states] == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:Error in stream_executor")
def test_a_batch_raises_the_first_failure_after_all_have_ended() -> None:
    def script(context: str) -> str:
        if "bad" in context:
            raise ConnectionError("gone")
        return ANSWER

    backend = ScriptedBackend(script)
    with pytest.raises(ProgramFailed, match="planner, stage 1: gone"):
        sprint_program.run_batch([("bad",), ("good",), ("fine",)], backend=backend)
    assert len(backend.requests) == 2


def test_sequential_tokens_follow_the_papers_definition() -> None:
    trajectory = run(ScriptedBackend(replay(TWO_STAGES))).trajectory
    expected = trajectory.answer_tokens
    for stage in trajectory.stages:
        branches = [p.offset + e.tokens for p, e in zip(stage.prompts, stage.executions, strict=True)]
        expected += max(stage.plan_tokens, *branches)
    assert trajectory.sequential_tokens == expected
    assert trajectory.sequential_tokens < trajectory.sequential_tokens_barrier < trajectory.total_tokens
    barrier = run(ScriptedBackend(replay(TWO_STAGES)), launch="barrier").trajectory
    assert barrier.sequential_tokens == trajectory.sequential_tokens_barrier
    offsets = [p.offset for p in trajectory.stages[0].prompts]
    assert offsets == sorted(offsets)
    assert offsets[0] > 0


def test_an_ideal_cache_serves_all_of_a_forks_prefix() -> None:
    trajectory = run(ScriptedBackend(replay(TWO_STAGES))).trajectory
    forks = [e.call for stage in trajectory.stages for e in stage.executions if e.call]
    assert all(call.uncached_prefill_tokens <= 4 for call in forks)


def test_every_branch_has_its_own_seed() -> None:
    backend = ScriptedBackend(replay(TWO_STAGES))
    run(backend, seed=5)
    seeds = [request.seed for request in backend.requests if is_executor(request.context)]
    assert None not in seeds
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("question", ["", "   \n", "x" * 100_001])
def test_an_unusable_question_is_refused_before_any_request(question: str) -> None:
    backend = ScriptedBackend(lambda context: ANSWER)
    with pytest.raises(BadInput, match="question"):
        sprint_program.run(question, backend=backend)
    assert backend.requests == []


def test_without_a_runtime_the_error_says_how_to_get_one() -> None:
    with pytest.raises(RuntimeUnavailable, match=r"with launch\(\)"):
        sprint_program.run("a question")


def test_a_trajectory_survives_json() -> None:
    trajectory = run(ScriptedBackend(replay(TWO_STAGES))).trajectory
    assert Trajectory.from_json(trajectory.to_json()) == trajectory


def test_the_sequential_program_accounts_alike() -> None:
    backend = ScriptedBackend(lambda context: "Let me see.\nIt is two.\n</think>\n\nSo \\boxed{2}")
    state = sequential_program.run("How much is it?", backend=backend)
    assert state["answer"] == "2"
    trajectory = state.trajectory
    assert trajectory.thought == "Let me see.\nIt is two."
    assert trajectory.sequential_tokens == trajectory.total_tokens > 0


def test_a_truncated_sequential_thought_is_counted() -> None:
    backend = ScriptedBackend(lambda context: "on and " * 100)
    trajectory = sequential_program.run("How much is it?", backend=backend, max_tokens=30).trajectory
    assert trajectory.repairs == (("truncated", 1),)
    assert trajectory.total_tokens == 30


def test_bound_arguments_hold_and_unknown_ones_are_refused() -> None:
    bound = sprint_program.bind(launch="barrier")
    assert bound.run("How much is it?", backend=ScriptedBackend(replay(TWO_STAGES))).trajectory.launch == "barrier"
    with pytest.raises(BadInput, match="no argument 'stages'"):
        sprint_program.bind(stages=3)


def requests_by_kind(requests: list[ScriptedRequest]) -> tuple[int, int]:
    executors = sum(is_executor(request.context) for request in requests)
    return len(requests) - executors, executors


def test_a_stage_costs_one_planner_call_a_prompt_and_one_to_close() -> None:
    backend = ScriptedBackend(replay(TWO_STAGES))
    run(backend)
    assert requests_by_kind(backend.requests) == (4 + 2 + 1, 3 + 1)
