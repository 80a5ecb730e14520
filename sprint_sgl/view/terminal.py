"""Show a run on a terminal: stages as they happen, then the cost.

On a terminal the current stage is live (the plan streaming, the executors side by side), and finished stages stay
above it. In a pipe everything is plain text.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sprint_sgl.console import printable
from sprint_sgl.protocol import FINAL_ANSWER_OPEN, PROMPT_PATTERN, TAG_PATTERN, unescape_tags
from sprint_sgl.trajectory import Trajectory

if TYPE_CHECKING:
    from sprint_sgl.tasks.countdown.checker import Verdict

_TAG = re.compile(TAG_PATTERN)
_PROMPT = re.compile(PROMPT_PATTERN)
NARROWEST_TABLE, NARROWEST_BOX = 72, 34  # characters
LIVE_LINES = 8  # of an execution that is being written
Judge: TypeAlias = "Callable[[str], Verdict | None]"


@dataclass
class StageText:
    """The text of one stage so far."""

    plan: str = ""
    executions: dict[int, str] = field(default_factory=dict)


class View:
    """Collects what planner and executors write, from any thread, and prints each stage when the next one begins.

    judge   returns the verdict on an answer, which is shown with it; None where nothing is known
    """

    def __init__(self, console: Console, judge: Judge | None = None) -> None:
        self.console = console
        self.judge = judge
        self.stages: dict[int, StageText] = {}
        self._lock = threading.RLock()  # re-entrant: Ctrl-C may come while this thread prints
        self._printed = 0

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._print_before(max(self.stages, default=0) + 1)

    def write(self, stage: int, prompt: int | None, text: str) -> None:
        """Append text of the stage's planner, or of the executor of a prompt."""
        with self._lock:
            if stage not in self.stages:
                self._print_before(stage)
            current = self.stages.setdefault(stage, StageText())
            if prompt is None:
                current.plan += text
            else:
                current.executions[prompt] = current.executions.get(prompt, "") + text

    def _print_before(self, stage: int) -> None:
        for number in range(self._printed + 1, stage):
            self._printed = number
            if number in self.stages:
                self._print(number, self.stages[number])

    def _print(self, number: int, stage: StageText) -> None:
        _print_plain(self.console, "answer" if is_answer(stage.plan) else f"plan {number}", readable_plan(stage.plan))
        for j, execution in sorted(stage.executions.items()):
            _print_plain(self.console, f"execution {number}.{j}", _readable(execution))


class LiveView(View):
    """A view as panels, redrawn while the stage runs."""

    def __init__(self, console: Console, judge: Judge | None = None) -> None:
        super().__init__(console, judge)
        self._live = Live(console=console, refresh_per_second=12, transient=True)

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        super().__exit__(*exception)

    def write(self, stage: int, prompt: int | None, text: str) -> None:
        super().write(stage, prompt, text)
        self._live.update(stage_panel(stage, self.stages[stage], live=True))

    def _print(self, number: int, stage: StageText) -> None:
        self._live.update(Text(""))
        self.console.print(stage_panel(number, stage, self.judge))


def make_view(console: Console, judge: Judge | None = None) -> View:
    return LiveView(console, judge) if console.is_terminal else View(console, judge)


def is_answer(plan: str) -> bool:
    return plan.lstrip().startswith(FINAL_ANSWER_OPEN.strip())


def readable_plan(plan: str) -> str:
    """Return a plan without tags, each prompt on its own line with its number."""
    text = _PROMPT.sub(lambda match: f"→ {match[1]}.{match[2]} {match[3].strip()}", _TAG.sub("", plan))
    return _readable(text)


def _readable(text: str) -> str:
    return printable(unescape_tags(text)).strip()


def stage_panel(number: int, stage: StageText, judge: Judge | None = None, live: bool = False) -> RenderableType:
    """Return a stage as boxes that share both edges; an answer with the judge's verdict, if there is one."""
    plan = readable_plan(stage.plan)
    if is_answer(stage.plan):
        verdict = judge(plan) if judge else None
        said = "" if verdict is None else ", right" if verdict.correct else f", wrong: {verdict.reason}"
        return _box(f"answer{said}", plan, "red" if verdict and not verdict.correct else "green")
    box_of_plan = _box(f"plan {number}", plan, "cyan")
    if not stage.executions:
        return box_of_plan
    limit = LIVE_LINES if live else None
    texts = [(f"execution {number}.{j}", _last_lines(_readable(x), limit)) for j, x in sorted(stage.executions.items())]
    return Group(box_of_plan, BoxRows(texts, "yellow" if live else "dim"))


def _box(title: str, text: str, style: str, height: int | None = None) -> Panel:
    return Panel(Text(text), title=Text(printable(title)), border_style=style, title_align="left", height=height)


@dataclass(frozen=True)
class BoxRows:
    """Boxes side by side, in rows that fill the width; those of one row have the same height.

    texts   title and text of each box
    """

    texts: Sequence[tuple[str, str]]
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for row in self._rows(max(1, options.max_width // NARROWEST_BOX)):
            narrow, wider = divmod(options.max_width, len(row))
            widths = [narrow + (k < wider) for k in range(len(row))]
            sizes = [options.update(width=width, height=None) for width in widths]
            boxes = zip((_box(*each, self.style) for each in row), sizes, strict=True)
            height = max(len(console.render_lines(*each, pad=False)) for each in boxes)
            grid = Table.grid()
            for width in widths:
                grid.add_column(width=width)
            grid.add_row(*(_box(*each, self.style, height) for each in row))
            yield grid

    def _rows(self, most: int) -> Iterator[Sequence[tuple[str, str]]]:
        """Yield rows of at most so many boxes, as equal in number as they can be."""
        count = -(-len(self.texts) // most)
        for k in range(count):
            yield self.texts[k * len(self.texts) // count : (k + 1) * len(self.texts) // count]


def _last_lines(text: str, limit: int | None) -> str:
    return "\n".join(text.splitlines()[-limit:]) if limit else text


def _print_plain(console: Console, title: str, text: str) -> None:
    console.print(Text(f"[{title}]"))
    for line in text.split("\n"):
        console.print(Text(f"  {line}"), soft_wrap=True)


def cost_table(rows: Sequence[tuple[str, str, Trajectory]], width: int) -> RenderableType:
    """Return a table of methods with answers and costs, or lines of text if a table does not fit the width."""
    if width < NARROWEST_TABLE:
        return Group(*(Text(f"{name}: {printable(answer)}\n  {cost_line(run)}") for name, answer, run in rows))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("method")
    table.add_column("answer")
    for name in ("stages", "sequential tokens", "total tokens", "cached prefix", "seconds"):
        table.add_column(name, justify="right")
    for method, answer, trajectory in rows:
        table.add_row(
            method,
            Text(printable(answer)),
            str(len(trajectory.stages)),
            f"{trajectory.sequential_tokens:,}",
            f"{trajectory.total_tokens:,}",
            f"{trajectory.cached_share:.0%}",
            f"{trajectory.seconds:.2f}",
        )
    return table


def cost_line(trajectory: Trajectory) -> str:
    tools = len(trajectory.tool_calls)
    called = f", {tools} tool call{'s' * (tools > 1)} of {trajectory.tool_seconds:.2f} s" if tools else ""
    return (
        f"{trajectory.sequential_tokens:,} sequential of {trajectory.total_tokens:,} tokens, "
        f"{trajectory.cached_share:.0%} cached prefix, {trajectory.seconds:.2f} s{called}"
    )
