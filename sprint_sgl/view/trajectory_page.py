"""One HTML page of trajectories: figures, timeline, stages, answer, transcript."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from sprint_sgl import protocol
from sprint_sgl.errors import BadInput
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.protocol.lexer import find_tags
from sprint_sgl.storage.files import RECORDS, whole_file
from sprint_sgl.tasks.countdown.checker import verdict_on
from sprint_sgl.trajectory import Execution, Stage, Trajectory, error_detail
from sprint_sgl.view.dag import Dag
from sprint_sgl.view.model_text import highlight_tags, text_markup
from sprint_sgl.view.pages import render_page, script_source
from sprint_sgl.view.saved_replies import is_reply, is_stream, trajectory_from_reply, trajectory_from_stream
from sprint_sgl.view.timeline import PLANNER, Bar, bars_by_clock, bars_by_tokens, round_ticks

HERE = Path(__file__).parent
STYLE = (HERE / "trajectory_page.css").read_text()
SCRIPT = (HERE / "trajectory_page.js").read_text()
LONGEST_HEADING = 120  # characters
MOST_PEERS = 3  # other methods that are drawn with a run
PACKED_TRACES = "filter.jsonl"


@dataclass(frozen=True)
class ShownRun:
    """A run on the page.

    correct   whether the answer is right; None if unknown
    reason    why it is not
    dag       the graph of a curated trace
    anchor    the id of the run on the page; by default its number
    peers     other runs of the same question, which are drawn on the same clock
    """

    trajectory: Trajectory
    method: str = ""
    correct: bool | None = None
    dag: Dag | None = None
    anchor: str = ""
    peers: tuple[ShownRun, ...] = ()
    reason: str = ""

    @staticmethod
    def of(trajectory: Trajectory, method: str = "") -> ShownRun:
        """Return a run whose answer is checked if its question is a Countdown problem."""
        verdict = verdict_on(trajectory.question, read_answer(trajectory.final_answer))
        if verdict is None:
            return ShownRun(trajectory, method)
        return ShownRun(trajectory, method, verdict.correct, reason=verdict.reason)

    @property
    def heading(self) -> str:
        return self.trajectory.question.strip().partition("\n")[0] or "No question"

    @property
    def short_heading(self) -> Markup:
        return text_markup(shorten(self.heading))

    @property
    def short_answer(self) -> Markup:
        return text_markup(shorten(self.answer))

    @property
    def question_has_more(self) -> bool:
        return shorten(self.heading) != self.trajectory.question.strip()

    def span(self, axis: str) -> float:
        """Return the end of the longest of the run and its peers, in seconds (`clock`) or tokens (`tokens`)."""
        bars = [bar for run in (self, *self.peers) for bar in getattr(run, axis)]
        return max((bar.end for bar in bars), default=0) or 1e-9

    @property
    def question(self) -> Markup:
        return text_markup(self.trajectory.question)

    @property
    def verdict(self) -> str:
        return "" if self.correct is None else "right" if self.correct else "wrong"

    @property
    def answer(self) -> str:
        return self.trajectory.final_answer.strip()

    @property
    def final_answer(self) -> Markup:
        return text_markup(self.answer or "none")

    @property
    def thought(self) -> Markup:
        return text_markup(self.trajectory.thought)

    @property
    def sequential(self) -> int:
        return self.trajectory.sequential_tokens

    @property
    def clock(self) -> list[Bar]:
        return bars_by_clock(self.trajectory)

    @property
    def tokens(self) -> list[Bar]:
        return bars_by_tokens(self.trajectory)

    @property
    def critical_executions(self) -> set[tuple[int, int]]:
        """Return (stage, prompt) of the executions that the answer waited for, by the clock."""
        return {(bar.stage, bar.lane) for bar in self.clock if bar.critical and bar.lane != PLANNER}

    @property
    def colours(self) -> list[tuple[int, str]]:
        """Return what each colour of the timeline stands for: stages by number, and the answer as the one after."""
        stages = [(number, f"stage {number}") for number in range(1, len(self.trajectory.stages) + 1)]
        return [*stages, (len(stages) + 1, "final answer" if stages else "thought and answer")]

    @property
    def stages(self) -> list[StageMarkup]:
        return [StageMarkup.of(stage) for stage in self.trajectory.stages]

    @property
    def transcript(self) -> Markup:
        return highlight_tags(protocol.transcript(self.trajectory))

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Figures by name; without calls, only those of the text."""
        t = self.trajectory
        shape = [("stages", str(len(t.stages))), ("widest stage", str(t.width))]
        if not t.calls:
            return shape
        given_up = sum(call.completion_tokens for call in t.beside)
        return [
            ("sequential tokens", f"{self.sequential:,}"),
            ("total tokens", f"{t.total_tokens:,}"),
            *shape,
            *([("cut off", str(t.cancelled_count))] if t.cancelled_count else []),
            *([("tokens of the attempt that was given up", f"{given_up:,}")] if given_up else []),
            ("seconds", f"{t.seconds:.2f}"),
            *([("seconds of tools", f"{t.tool_seconds:.2f}")] if t.tool_calls else []),
            ("cached prefix", f"{t.cached_share:.0%}"),
            ("launch", t.launch),
            *self._against_peers(),
        ]

    def _against_peers(self) -> Iterator[tuple[str, str]]:
        """Yield the speed-up against each peer, promised by sequential tokens and measured."""
        for peer in self.peers:
            if self.sequential and self.trajectory.seconds:
                yield f"speed-up promised, against {peer.method}", f"{peer.sequential / self.sequential:.2f}"
                yield "speed-up measured", f"{peer.trajectory.seconds / self.trajectory.seconds:.2f}"


@dataclass(frozen=True)
class StageMarkup:
    """A stage as HTML: the plan without prompts, and (prompt, execution, status, cost) for each prompt."""

    plan: Markup
    pairs: list[tuple[Markup, Markup, str, str]]

    @staticmethod
    def of(stage: Stage) -> StageMarkup:
        pairs = zip(stage.prompts, stage.executions, strict=True)
        return StageMarkup(
            text_markup(stage.plan), [(text_markup(p.text), text_markup(e.text), e.status, _cost(e)) for p, e in pairs]
        )


def _cost(execution: Execution) -> str:
    """Return what an execution cost: its tokens, or the seconds of a tool."""
    if execution.call and execution.call.tool:
        return f"{execution.call.tool}, {execution.call.seconds:.2f} s"
    return f"{execution.tokens} tokens" if execution.tokens else ""


def shorten(text: str) -> str:
    return text if len(text) <= LONGEST_HEADING else f"{text[:LONGEST_HEADING].rstrip()}…"


def by_question(runs: Sequence[ShownRun]) -> dict[str, list[ShownRun]]:
    """Return the runs by their questions, both in the order in which they come."""
    found: dict[str, list[ShownRun]] = {}
    for run in runs:
        found.setdefault(run.trajectory.question, []).append(run)
    return found


def with_peers(shown: Sequence[ShownRun]) -> list[ShownRun]:
    """Return the runs, each with the runs of other methods on the same question, unless it has them already."""
    grouped = by_question(shown)
    return [
        replace(
            run,
            peers=run.peers
            or tuple(
                other
                for other in grouped[run.trajectory.question]
                if other is not run and other.clock and other.method != run.method
            )[:MOST_PEERS],
        )
        for run in shown
    ]


def first_questions(runs: Sequence[ShownRun], most: int) -> list[ShownRun]:
    """Return the runs of the first questions, in their order: at most so many runs, and all methods of a question."""
    kept: list[ShownRun] = []
    for several in by_question(runs).values():
        if kept and len(kept) + len(several) > most:
            break
        kept += several
    return kept


def write_trajectory_page(shown: Sequence[ShownRun], path: Path, title: str, left_out: int = 0) -> None:
    """Write the page; the same runs give the same bytes."""
    with whole_file(path) as file:
        file.write(render_trajectory_page(shown, title, left_out))


def render_trajectory_page(shown: Sequence[ShownRun], title: str, left_out: int = 0) -> str:
    """Return the page as HTML."""
    seconds = sorted(run.trajectory.seconds for run in shown)
    return render_page(
        HERE / "trajectory_page.html.j2",
        views=with_peers(shown),
        title=title,
        own_style=STYLE,
        left_out=left_out,
        slow=seconds[int(0.9 * len(seconds))] if seconds else 0.0,
        ticks=round_ticks,
        script=SCRIPT,
        script_source=script_source(SCRIPT),
    )


def read_runs(source: Path) -> list[ShownRun]:
    """Return the runs in a file or folder. Raises BadInput.

    Readable are a trajectory as JSON, a reply of `sprint-sgl serve` with its trajectory, a transcript, the records or
    folder of a benchmark, and the packed traces or folder of a curation.
    """
    try:
        path = next((source / name for name in (RECORDS, PACKED_TRACES) if (source / name).is_file()), source)
        if path.is_dir():
            raise BadInput(f"{path} holds no run: neither {RECORDS} of a benchmark nor {PACKED_TRACES} of a curation")
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror}") from error
    kind = path.suffix.lower()
    if kind == ".jsonl" and not _is_json(content.rpartition(b"\n")[2]):
        content = content.rpartition(b"\n")[0]  # a run is writing its last line, or was killed
    text = _text(content, path)
    if kind == ".jsonl":
        return [_row(line, f"{path}:{number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if kind == ".json" or is_stream(text) or (kind != ".txt" and text.lstrip().startswith("{")):
        return [ShownRun.of(_trajectory(text, str(path)))]
    if not text.strip():
        raise BadInput(f"{path} is empty")
    if not find_tags(text):
        raise BadInput(f"{path} is not a transcript: it has no tag of a plan, an execution or a thought")
    return [ShownRun.of(protocol.parse(text))]


def read_several(sources: Sequence[Path]) -> list[ShownRun]:
    """Return the runs of several files or folders; their methods are then told apart by the source's name."""
    if len(sources) == 1:
        return read_runs(sources[0])
    return [
        replace(run, method=f"{run.method} of {source.stem}" if run.method else source.stem)
        for source in sources
        for run in read_runs(source)
    ]


def explain_none(sources: Sequence[Path], method: str | None, wrong: bool) -> str:
    """Return why none of the runs in these files is shown."""
    place, methods = ", ".join(map(str, sources)), sorted({run.method for run in read_several(sources)} - {""})
    if method and method not in methods:
        return f"{place} has no method {method!r}; it has {', '.join(methods) or 'none'}"
    return f"{place} has no wrong answer{f' of {method}' if method else ''}" if wrong else f"{place} has no run"


def _text(content: bytes, path: Path) -> str:
    """Return the file's text without a byte order mark."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text in UTF-8: {error}") from error
    if "\0" in text:
        raise BadInput(f"{path} is not text: it holds zero bytes")
    return text


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _row(line: str, place: str) -> ShownRun:
    try:
        row = json.loads(line)
        if is_reply(row):
            return ShownRun.of(trajectory_from_reply(row))
        trajectory = Trajectory.from_dict(row["trajectory"])
        if "trace" in row:
            return ShownRun(trajectory, dag=Dag.of(row["trace"]["steps"], row["sigma"]))
        return ShownRun(trajectory, row["method"], row["correct"], reason=str(row.get("reason") or ""))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{place} is neither a record of sprint-sgl bench, a reply of serve nor a packed trace: "
            f"{error_detail(error)}"
        ) from error


def _trajectory(text: str, place: str) -> Trajectory:
    try:
        if is_stream(text):
            return trajectory_from_stream(text)
        row = json.loads(text)
        if not isinstance(row, Mapping):
            raise ValueError("Input should be an object")
        return trajectory_from_reply(row) if is_reply(row) else Trajectory.from_dict(row)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(f"{place} is not a trajectory: Invalid JSON: {error}") from error
    except ValueError as error:
        raise BadInput(
            f"{place} is not a trajectory: {error_detail(error)}; sprint-sgl solve --json prints one"
        ) from error
