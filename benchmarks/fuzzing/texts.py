"""Random texts as models and attackers write them: sequences of fragments, trajectories, and damaged ones."""

from __future__ import annotations

import random
from collections.abc import Callable

from sprint_sgl import protocol
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory

TAGS = (
    *("<Question>", "</Question>", "<think>", "</think>", "<Final_answer>", "</Final_answer>", "< /plan_2 >"),
    *(f"<{slash}{name}_{i}>" for slash in ("", "/") for name in ("Plan", "Execution") for i in (1, 2, 3)),
    *(f"<{slash}{name}_{n}>" for slash in ("", "/") for name in ("prompt", "execution") for n in ("1.1", "1.2", "2.1")),
    *(
        "<\\Plan_1>",
        "<\\\\/think>",
        "<plan 1>",
        "</prompt>",
        "<execution>",
        "<Plan_999999999>",
        "<prompt_1.>",
        "<Plan_",
    ),
    *(
        "Plan_1>",
        "prompt_1.1",
        "Execution",
        "execution_",
        "Final_answer>",
        "</Fin",
        "</prompt_1.",
        "\n-----\n",
        "-----",
    ),
    *("No prompt to execute.", "Based on execution_1.1:", "<answer>", "</answer>"),
)
ODD = (
    *"<>/\\_. \n\t1234a&;\"'`=[]{}$%#@\u017f\u212a",
    *("\r", "\r\n", "\x00", "\x07", "\x08", "\x1b[2J", "\x1b]0;title\x07", "\x7f", "\x85", "\x9b31m", "\xa0"),
    *("\u2028", "\u202e", "\ufeff", "\ufffe", "\ufffd", "\U0001f600", "e\u0301\u0301", "\u0660\u0661", "\u0130"),
)
MARKUP = (
    *("<script>planted(1)</script>", "</script>", "<img src=x onerror=planted(2)>", '" onload="planted(3)', "' x='"),
    *("</title>", "</style>", "</pre></main>", "<!--", "-->", "<![CDATA[", "]]>", "&lt;script&gt;", "&#60;", "&amp;"),
    *("javascript:planted(4)", "{{7*7}}", "{% raw %}", "${7*7}", "<svg/onload=planted(5)>", "<a href=//x>"),
    *("[bold]", "[/bold]", "[red]planted", "[link=http://x]y[/link]", "[/]", "\\[", "[@click=app.bell]", ":smile:"),
)
MATH = (
    *("$", "$$", "\\(", "\\)", "\\[", "\\]", "\\boxed{", "\\boxed{1+2}", "\\fbox{", "\\frac{1}{2}", "x^2", "\\text{"),
    *("\\href{javascript:planted(6)}{x}", "\\text{<script>planted(7)</script>}", "\\sqrt[3]{", "\\begin{matrix}", "&"),
    *("\\color{red}", "\\left(", "\\right.", "\\unknown", "{", "}", "\\", "_", "^", "=66", "(25-7)*3+12", "\u00d7"),
    *("\\style{color:red}{x}", "\\class{a}{b}", "\\require{html}", "\\def\\x{\\x\\x}\\x", "\\over", "~"),
)
WORDS = (
    "add 3 and 4",
    "so",
    "it is 7",
    "Use 3, 7 and 12 to make 66",
    "first",
    "done.",
    "66",
    "a",
    "line one\nline two",
)
FRAGMENTS = TAGS + ODD + MARKUP + MATH + WORDS
POOLS = (FRAGMENTS, TAGS + WORDS, TAGS + ODD, MARKUP + MATH + WORDS, FRAGMENTS)
ENDS = ("", "length", "abort", *protocol.STOPS)
HUGE = 1 / 2000  # share of all texts


def any_character(rng: random.Random) -> str:
    """Return any Unicode character, lone surrogates included."""
    return chr(rng.choice((rng.randrange(0x100), rng.randrange(0x3000), rng.randrange(0x110000))))


def without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def short_text(rng: random.Random, most: int = 6) -> str:
    """Return up to `most` fragments joined, sometimes ""."""
    pool = rng.choice(POOLS)
    return "".join(rng.choice(pool) if rng.random() < 0.95 else any_character(rng) for _ in range(rng.randrange(most)))


def nonempty_text(rng: random.Random, most: int = 6) -> str:
    return short_text(rng, most).strip() or "x"


def random_trajectory(rng: random.Random, piece: Callable[[random.Random], str] = short_text) -> Trajectory:
    """Return a trajectory that a run could have left, with texts from `piece`."""
    stages = []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        prompts = [Prompt(piece(rng).strip() or "p", piece(rng), rng.randrange(99)) for _ in range(rng.randrange(4))]
        statuses = ("ok", "ok", "ok", "truncated", "cancelled", "failed")
        executions = [Execution(piece(rng), rng.choice(statuses), random_call(rng)) for _ in prompts]
        stages.append(Stage(tuple(prompts), tuple(executions), piece(rng), (random_call(rng),)))
    thought = "" if stages else piece(rng)
    repairs = ((piece(rng), 1),) if rng.random() < 0.1 else ()
    launch = rng.choice(("eager", "barrier", "rounds"))
    return Trajectory(
        piece(rng),
        tuple(stages),
        piece(rng),
        thought,
        (random_call(rng),),
        repairs,
        seconds=rng.random(),
        launch=launch,
    )


def random_call(rng: random.Random) -> Call:
    start = rng.random()
    return Call(rng.randrange(999), rng.randrange(99), rng.randrange(99), start, start + rng.random(), rng.choice(ENDS))


def plain_trajectory(rng: random.Random) -> Trajectory:
    """Return a trajectory without calls and statuses: what a text can hold."""
    stages = tuple(
        Stage(
            tuple(Prompt(nonempty_text(rng), short_text(rng)) for _ in range(n)),
            tuple(Execution(short_text(rng)) for _ in range(n)),
            short_text(rng),
        )
        for n in (rng.randrange(4) for _ in range(rng.randrange(4)))
    )
    return Trajectory(short_text(rng), stages, short_text(rng))


def damage(rng: random.Random, text: str) -> str:
    """Cut, double, swap or insert one to six times."""
    for _ in range(rng.randint(1, 6)):
        text = damage_once(rng, text)
    return text


def damage_once(rng: random.Random, text: str) -> str:
    a, b, c = sorted(rng.randrange(len(text) + 1) for _ in range(3))
    match rng.randrange(7):
        case 0:
            return text[:a] + text[b:]
        case 1:
            return text[:b] + text[a:b] + text[b:]
        case 2:
            return text[:a] + text[b:c] + text[a:b] + text[c:]
        case 3:
            return text[:a] + rng.choice(FRAGMENTS) + text[a:]
        case 4:
            return text[:c]
        case 5:
            return text[:a] + text[a:b].swapcase() + text[b:]
    return text[:a] + text[a:b].replace("1", "2") + text[b:]


def any_text(rng: random.Random) -> str:
    """Return what a model may write: a trajectory, a damaged one, or fragments; rarely a huge text."""
    if rng.random() < HUGE:
        return huge_text(rng)
    match rng.randrange(8):
        case 0:
            return protocol.render(plain_trajectory(rng))
        case 1 | 2 | 3 | 4:
            return damage(rng, protocol.render(plain_trajectory(rng)))
        case 5:
            return "".join(any_character(rng) for _ in range(rng.randrange(40)))
    return short_text(rng, 40)


def huge_text(rng: random.Random) -> str:
    """Return up to 100,000 characters of few different fragments, to show quadratic time."""
    few = [rng.choice(FRAGMENTS) for _ in range(rng.choice((1, 2, 5)))]
    size = rng.randrange(100_000) // max(1, max(map(len, few)))
    return "".join(rng.choice(few) for _ in range(size))
