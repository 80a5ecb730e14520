"""What a person sees: stages in order, prompts by number, no tags, and nothing that a model wrote as markup."""

import io
import re
from functools import partial

from rich.console import Console

from sprint_sgl.cli.solve import judge_answer
from sprint_sgl.console import print_plain
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory
from sprint_sgl.view.terminal import LiveView, StageText, View, cost_table, make_view, readable_plan, stage_panel


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain() -> Console:
    return Console(file=io.StringIO(), width=100)


def terminal() -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=True)


def write_two_stages(view: View) -> None:
    with view:
        view.write(1, None, "<Plan_1>\nTwo ways.\n<prompt_1.1> add [bold]")
        view.write(1, None, " </prompt_1.1>\n")
        view.write(1, 1, "it is ")
        view.write(1, None, "</Plan_1>\n\n")
        view.write(1, 1, "3 <\\Plan_9>\n")
        view.write(2, None, "<Final_answer>\n\\boxed{3}\n")


def test_a_pipe_gets_plain_text_in_order() -> None:
    console = plain()
    write_two_stages(make_view(console))
    assert text_of(console).splitlines() == [
        "[plan 1]",
        "  Two ways.",
        "  → 1.1 add [bold]",
        "[execution 1.1]",
        "  it is 3 <Plan_9>",
        "[answer]",
        "  \\boxed{3}",
    ]


def test_a_terminal_gets_panels_for_every_stage() -> None:
    console = terminal()
    view = make_view(console)
    assert isinstance(view, LiveView)
    write_two_stages(view)
    for part in ("plan 1", "execution 1.1", "it is 3 <Plan_9>", "→ 1.1 add [bold]", "answer", "\\boxed{3}"):
        assert part in text_of(console)


def test_boxes_share_both_edges_and_those_of_a_row_their_height() -> None:
    console = Console(file=io.StringIO(), width=104, force_terminal=True, color_system=None)
    executions = {j: "long " * 9 * (j % 3) for j in range(1, 6)}  # three boxes would fit, so 2 and 3 are shown
    console.print(stage_panel(1, StageText("<Plan_1>\nFive ways.", executions)))
    console.print(stage_panel(2, StageText("<Plan_2>\nOne way.", {1: "text"})))
    lines = text_of(console).splitlines()
    assert {len(line) for line in lines} == {104}
    assert {line[0] + line[-1] for line in lines} == {"╭╮", "││", "╰╯"}
    assert [line.count("╭") for line in lines if "execution" in line] == [2, 3, 1]
    assert [line.count("╰") for line in lines if "╰" in line] == [1, 2, 3, 1, 1]


def test_the_answer_to_a_countdown_problem_is_said_to_be_right_or_wrong() -> None:
    for answer, said in (("65+15", "answer, wrong: "), ("(3+62)+15", "answer, right")):
        console = terminal()
        with make_view(console, partial(judge_answer, "Use 15, 3 and 62 to make 80")) as view:
            view.write(1, None, f"<Final_answer>\n\\boxed{{{answer}}}\n</Final_answer>")
        assert said in text_of(console)


def test_nothing_that_a_model_wrote_is_a_command_to_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;title\x07 \x9b31m \x00 \ud800 :smile: [red]x"
    console = plain()
    with make_view(console) as view:
        view.write(1, None, f"<Plan_1>\n{evil}\n")
        view.write(1, 1, evil)
    console.print(cost_table([("SPRINT", evil, Trajectory("q"))], 120))
    print_plain(console, evil, style="red")
    shown = text_of(console)
    shown.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert shown.count("\u241b[2J") == 4
    assert shown.count(":smile: [red]x") == 3  # the table breaks lines


def test_tags_in_the_making_are_not_shown_as_prompts_without_end() -> None:
    assert readable_plan("<Plan_2>\nSee.\n<prompt_2.1> che") == "See.\n→ 2.1 che"


def test_the_costs_name_both_methods_and_their_tokens() -> None:
    call = Call(prompt_tokens=100, cached_tokens=75, completion_tokens=40, end=1.0)
    stage = Stage((Prompt("p", offset=10),), (Execution("e", call=call),), planner_calls=(Call(completion_tokens=20),))
    for width in (120, 40):
        console = plain()
        console.print(cost_table([("SPRINT", "[red]1", Trajectory("q", (stage,), "1", seconds=1.25))], width))
        shown = text_of(console)
        for part in ("SPRINT", "[red]1", "50", "60", "75%", "1.25"):
            assert part in shown
