"""Show a run on a terminal: stages as they happen, then the cost.

On a terminal the current stage is live (the plan streaming, the executors side by side), and finished stages stay
above it. In a pipe everything is plain text.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sprint_sgl.console import printable
from sprint_sgl.protocol import FINAL_ANSWER_OPEN, PROMPT_PATTERN, TAG_PATTERN, unescape_tags
from sprint_sgl.trajectory import Trajectory

_TAG = re.compile(TAG_PATTERN)
_PROMPT = re.compile(PROMPT_PATTERN)
NARROWEST_TABLE = 72


@dataclass
class StageText:
    """The text of one stage so far."""

    plan: str = ""
    executions: dict[int, str] = field(default_factory=dict)


class View:
    """Collects what planner and executors write, from any thread, and prints each stage when the next one begins."""

    def __init__(self, console: Console) -> None:
        self.console = console
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

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, refresh_per_second=12, transient=True)

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        super().__exit__(*exception)

    def write(self, stage: int, prompt: int | None, text: str) -> None:
        super().write(stage, prompt, text)
        self._live.update(stage_panel(stage, self.stages[stage], self.console.width, live=True))

    def _print(self, number: int, stage: StageText) -> None:
        self._live.update(Text(""))
        self.console.print(stage_panel(number, stage, self.console.width))


def make_view(console: Console) -> View:
    return LiveView(console) if console.is_terminal else View(console)


def is_answer(plan: str) -> bool:
    return plan.lstrip().startswith(FINAL_ANSWER_OPEN.strip())


def readable_plan(plan: str) -> str:
    """Return a plan without tags, each prompt on its own line with its number."""
    text = _PROMPT.sub(lambda match: f"→ {match[1]}.{match[2]} {match[3].strip()}", _TAG.sub("", plan))
    return _readable(text)


def _readable(text: str) -> str:
    return printable(unescape_tags(text)).strip()


def stage_panel(number: int, stage: StageText, width: int, live: bool = False) -> RenderableType:
    if is_answer(stage.plan):
        return Panel(Text(readable_plan(stage.plan)), title="answer", border_style="green", title_align="left")
    plan = Panel(Text(readable_plan(stage.plan)), title=f"plan {number}", border_style="cyan", title_align="left")
    if not stage.executions:
        return plan
    columns = max(1, min(len(stage.executions), width // 34))
    panels = [
        Panel(
            Text(_last_lines(_readable(text), 8 if live else None)),
            title=f"execution {number}.{j}",
            width=width // columns - 1,
            border_style="yellow" if live else "dim",
            title_align="left",
        )
        for j, text in sorted(stage.executions.items())
    ]
    return Group(plan, Columns(panels, padding=(0, 0)))


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
    return (
        f"{trajectory.sequential_tokens:,} sequential of {trajectory.total_tokens:,} tokens, "
        f"{trajectory.cached_share:.0%} cached prefix, {trajectory.seconds:.2f} s"
    )
