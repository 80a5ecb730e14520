"""What a person sees: stages in order, prompts by number, no tags, and nothing that a model wrote as markup."""

import io
import re

from rich.console import Console

from sprint_sgl.console import print_plain
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory
from sprint_sgl.view.terminal import LiveView, View, cost_table, make_view, readable_plan


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
