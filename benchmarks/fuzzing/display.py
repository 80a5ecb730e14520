"""Fuzz what is shown to a person: no model text becomes markup in a page or a control sequence on a terminal."""

from __future__ import annotations

import io
import random
import re
from html.parser import HTMLParser

from rich.console import Console

from benchmarks.fuzzing.cases import Target
from benchmarks.fuzzing.texts import MARKUP, any_text, random_trajectory, short_text, without_surrogates
from sprint_sgl import console as consoles
from sprint_sgl.console import say
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.view import trajectory_page as page
from sprint_sgl.view.model_text import highlight_tags, text_markup
from sprint_sgl.view.terminal import LiveView, View, cost_table
from sprint_sgl.view.timeline import bars_by_clock, bars_by_tokens
from sprint_sgl.view.trajectory_page import ShownRun

# Elements of MathML and of our template; any other element in a page comes from a text.
_MATHML = """math menclose mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt
    mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"""
MATHML = frozenset(_MATHML.split())
_TEMPLATE = """html head meta title style body a header h1 h2 h3 h4 nav table tr th td main article div ul li b span
    section input label svg text line rect path g circle p details summary pre thead tbody select option button"""
TEMPLATE = frozenset(_TEMPLATE.split())
HARMFUL = re.compile(r"on|src$|formaction$|srcdoc$|xlink")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
FRAMES = re.compile("[\\s\u2500-\u257f]+")
STYLES = re.compile("\x1b\\[[0-9;]*m")  # rich's own control sequences


class MarkupChecker(HTMLParser):
    """Fail on an element, attribute or link that does not come from the template."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.known = names

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.known, f"<{tag}> comes from a text"
        for name, value in attrs:
            assert not HARMFUL.match(name), f'{name}="{value}" comes from a text'
            assert name != "href" or (value or "").startswith("#"), f"a link to {value}"
            assert name != "style" or tag == "svg", f"a style of {tag}"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:50]!r}")

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html"

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"a processing instruction: {data[:50]!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data[:50]!r}")


def check_html(html: str, names: frozenset[str]) -> None:
    parser = MarkupChecker(names)
    parser.feed(html)
    parser.close()
    assert "<script" not in html.lower()


def rich_text(rng: random.Random) -> str:
    """Return a text with more formulas and markup than elsewhere."""
    return any_text(rng) if rng.random() < 0.5 else "".join(rng.choice(MARKUP) + short_text(rng, 8) for _ in range(4))


def check_markup(text: str) -> None:
    check_html(text_markup(text), MATHML | {"span"})
    check_html(highlight_tags(text), frozenset({"b"}))


def page_case(rng: random.Random) -> tuple[list[ShownRun], str]:
    """Return runs to show and a title, without lone surrogates, which no file can hold."""
    texts = lambda rng: without_surrogates(short_text(rng, 8))  # noqa: E731
    runs = [
        ShownRun(random_trajectory(rng, texts), texts(rng), rng.choice((None, True, False)))
        for _ in range(rng.choice((1, 2)))
    ]
    return runs, texts(rng)


def check_page(case: tuple[list[ShownRun], str]) -> None:
    """Check that the page holds no markup but its own, and no script but its index's."""
    html = page.render_trajectory_page(*case)
    html.encode()
    check_html(html.replace(page.SCRIPT, "", 1).replace("<script></script>", "", 1), TEMPLATE | MATHML)


def run_case(rng: random.Random) -> Trajectory:
    return random_trajectory(rng)


def check_timeline(run: Trajectory) -> None:
    """Check that no bar ends before it starts, and that the last bar ends at the run's sequential tokens."""
    tokens = bars_by_tokens(run)
    assert all(bar.start <= bar.end for bar in [*tokens, *bars_by_clock(run)])
    path = run.sequential_tokens
    assert max((bar.end for bar in tokens), default=0) == path


def screen_case(rng: random.Random) -> tuple[bool, list[tuple[int, int | None, str]]]:
    """Return whether the output is a terminal, and what planner and executors write to it."""
    writers = [(rng.randint(1, 3), rng.choice((None, None, 1, 2))) for _ in range(rng.randint(1, 6))]
    return rng.random() < 0.2, [(*writer, any_text(rng)[:2000]) for writer in sorted(writers, key=str)]


def check_screen(case: tuple[bool, list[tuple[int, int | None, str]]]) -> None:
    """Check that the terminal gets only rich's own control characters, and that words in brackets stay."""
    terminal, written = case
    file = io.StringIO()
    console = Console(file=file, width=90, force_terminal=terminal, legacy_windows=False)
    shown: View = LiveView(console) if terminal else View(console)
    if isinstance(shown, LiveView):
        shown._live.auto_refresh = False
    for stage, prompt, text in written:
        View.write(shown, stage, prompt, text)
    View.__exit__(shown)
    console.print(cost_table([("SPRINT", written[0][2], Trajectory("q"))], 90))
    check_printed(file.getvalue(), [text for _, prompt, text in written if prompt is None])


def check_printed(shown: str, texts: list[str]) -> None:
    shown.encode()
    left = STYLES.sub("", shown)
    assert not CONTROL.search(left), f"{CONTROL.search(left)} in what is shown"
    unwrapped = FRAMES.sub("", left)
    for word in ("[bold]", "[red]planted", "[/]", ":smile:"):
        assert word in unwrapped or not any(word in text for text in texts), f"{word} is gone"


def check_line(text: str) -> None:
    """Check that a line is printed to stderr unchanged."""
    file = io.StringIO()
    kept, consoles.notes = consoles.notes, Console(file=file, width=90)
    try:
        say(text, style="red")
    finally:
        consoles.notes = kept
    check_printed(file.getvalue(), [text])


TARGETS = (
    Target("markup", 0.03, rich_text, check_markup),
    Target("page", 0.01, page_case, check_page),
    Target("timeline", 0.02, run_case, check_timeline),
    Target("screen", 0.01, screen_case, check_screen),
    Target("stderr", 0.01, any_text, check_line),
)
