r"""Formats of parallel reasoning, all written on the grammar of SPRINT's tags.

A format has tags of its own, says what an executor sees, and what comes back from it. All else is SPRINT's: prompts
that are numbered by stage, executions in their order, an answer, and the repairs of malformed text.

    SPRINT     APR         PASTA        threads       the element
    Plan       spawn       promises     Parallel      what the planner writes in one stage
    prompt     child       promise      Outline       one task in it
    Execution  joined      sync         Threads       what comes back, all of it
    execution  result      async        Thread        from one executor

`spell` turns SPRINT's text into the format's, and `unspell` is the inverse for every text that `render` writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar

from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.lexer import tag_texts
from sprint_sgl.protocol.model_output import PlanText, parse, read_execution, read_plan
from sprint_sgl.protocol.prompts import PromptStyle
from sprint_sgl.protocol.rendering import (
    EXECUTOR_STOPS,
    PLANNER_STOPS,
    PROMPT_STOP,
    close_plan,
    close_prompt,
    open_execution,
    open_plan,
    planner_opening,
    render_executions,
    render_final_answer,
    render_prompt,
    render_stages,
)
from sprint_sgl.protocol.repairs import Repairs
from sprint_sgl.trajectory import Execution, Prompt, Trajectory
from sprint_sgl.validation import suggestion

T = TypeVar("T")
TAGS = ("Plan", "prompt", "Execution", "execution")


@dataclass(frozen=True)
class Format:
    """A format of parallel reasoning.

    tags      names in the place of Plan, prompt, Execution and execution
    launch    whether an executor starts when its prompt closes, or all of them when the plan closes
    sees      what an executor sees: the planner's text up to its own prompt, or up to the end of the plan, or the
              question and its own prompt alone
    returns   what of its text comes back to the planner: all of it, or its last line
    lengths   whether a prompt says how long its execution will be
    """

    name: str
    tags: tuple[str, str, str, str] = TAGS
    launch: Literal["eager", "barrier"] = "eager"
    sees: Literal["text", "plan", "prompt"] = "text"
    returns: Literal["all", "last line"] = "all"
    lengths: bool = False

    def spell(self, text: str) -> str:
        """Return a text in SPRINT's tags in this format's."""
        if self.tags == TAGS:
            return text
        return _TAG.sub(self._own, self._like.sub(r"<\\\1", text))

    def unspell(self, text: str) -> str:
        """Return a text in this format's tags in SPRINT's; SPRINT's own tags in it are text."""
        if self.tags == TAGS:
            return text
        return self._escaped.sub(r"<\1", self._tag.sub(self._sprints, _SPRINTS.sub(r"<\\", text)))

    @cached_property
    def prompt_stop(self) -> str:
        return self._stop(PROMPT_STOP)

    @cached_property
    def planner_stops(self) -> tuple[str, ...]:
        return tuple(map(self._stop, PLANNER_STOPS))

    @cached_property
    def executor_stops(self) -> tuple[str, ...]:
        return tuple(map(self._stop, EXECUTOR_STOPS))

    def tag_texts(self, stages: range, prompts: range) -> list[str]:
        """Return the format's tags for a tokenizer's vocabulary, with the beginnings of numbered ones."""
        if self.tags == TAGS:
            return list(tag_texts(stages, prompts))
        return [_BEGINNING.sub(self._own_beginning, self.spell(text)) for text in tag_texts(stages, prompts)]

    def open_plan(self, i: int) -> str:
        return self.spell(open_plan(i))

    def close_plan(self, i: int) -> str:
        return self.spell(close_plan(i))

    def close_prompt(self, i: int, j: int) -> str:
        return self.spell(close_prompt(i, j))

    def render_prompt(self, i: int, j: int, prompt: Prompt) -> str:
        return self.spell(render_prompt(i, j, prompt))

    def render_executions(self, i: int, executions: Sequence[Execution]) -> str:
        """Return what the planner reads of a stage's executors."""
        return self.spell(render_executions(i, [self.returned(each) for each in executions]))

    def transcript(self, trajectory: Trajectory) -> str:
        """Return the stages and the answer with executions as a whole, as rows have them. `parse` is the inverse."""
        return self.spell(render_stages(trajectory) + render_final_answer(trajectory.final_answer))

    def opening(self, question: str, style: PromptStyle, tools: str = "") -> str:
        """Return what the planner sees before its first token."""
        return self.spell(planner_opening(question, style, tools))

    def returned(self, execution: Execution) -> Execution:
        """Return the part of an execution that comes back to the planner."""
        if self.returns == "all" or "\n" not in execution.text:
            return execution
        return replace(execution, text=execution.text.rpartition("\n")[2])

    def open_execution(self, i: int, j: int, prompt: Prompt) -> str:
        """Return what stands between what an executor sees of the planner's text and the executor's first token."""
        before = close_plan(i) if self.sees == "text" else ""
        if self.sees == "prompt":
            before = render_prompt(i, j, replace(prompt, lead=""))
        return self.spell(before + open_execution(i, j))

    def read_plan(self, body: str, i: int, first: int = 1, closed_by: str = "") -> PlanText:
        """Return what a planner wrote in one call (see `read_plan` of the protocol)."""
        stop = dict(zip(self.planner_stops, PLANNER_STOPS, strict=True)).get(closed_by, closed_by)
        return read_plan(self.unspell(body), i, first, stop)

    def read_execution(self, raw: str) -> tuple[str, Repairs]:
        return read_execution(self.unspell(raw))

    def parse(self, text: str) -> Trajectory:
        """Return the trajectory in a text."""
        return parse(self.unspell(text))

    def _stop(self, stop: str) -> str:
        return _BEGINNING.sub(self._own_beginning, stop)

    def _own(self, match: re.Match[str]) -> str:
        return f"<{match[1]}{self._names[match[2]]}_{match[3]}>"

    def _own_beginning(self, match: re.Match[str]) -> str:
        return f"<{match[1]}{self._names[match[2]]}_"

    def _sprints(self, match: re.Match[str]) -> str:
        return f"<{match[1]}{self._sprint_names[match[2].lower()]}_{match[3]}>"

    @cached_property
    def _names(self) -> dict[str, str]:
        return dict(zip(TAGS, self.tags, strict=True))

    @cached_property
    def _sprint_names(self) -> dict[str, str]:
        return {own.lower(): name for name, own in self._names.items()}

    @cached_property
    def _alternatives(self) -> str:
        return "|".join(map(re.escape, self.tags))

    @cached_property
    def _tag(self) -> re.Pattern[str]:
        return re.compile(rf"<(/?)({self._alternatives})_(\d+(?:\.\d+)?)>", re.IGNORECASE)

    @cached_property
    def _like(self) -> re.Pattern[str]:
        return re.compile(rf"<(\\*)(?=/?(?:{self._alternatives})_\d)", re.IGNORECASE)

    @cached_property
    def _escaped(self) -> re.Pattern[str]:
        return re.compile(rf"<\\(\\*)(?=/?(?:{self._alternatives})_\d)", re.IGNORECASE)


_TAG = re.compile(r"<(/?)(Plan|prompt|Execution|execution)_(\d+(?:\.\d+)?)>")
_SPRINTS = re.compile(r"<(?=\s*(?:/\s*)?(?:Plan|prompt|Execution)(?:_|[ ]?[0-9]|\s*>))", re.IGNORECASE)
_TAG_BEGUN = re.compile(r"</?[A-Za-z]{0,16}_?[0-9.]{0,9}")
_BEGINNING = re.compile(r"<(/?)(Plan|prompt|Execution|execution)_$")

SPRINT = Format("sprint")
APR = Format("apr", ("spawn", "child", "joined", "result"), launch="barrier", sees="prompt", returns="last line")
PASTA = Format("pasta", ("promises", "promise", "sync", "async"), lengths=True)
THREADS = Format("threads", ("Parallel", "Outline", "Threads", "Thread"), launch="barrier", sees="plan")
FORMATS = {each.name: each for each in (SPRINT, APR, PASTA, THREADS)}


def format_named(name: str) -> Format:
    """Return the format of that name. Raises BadInput for an unknown one."""
    if name not in FORMATS:
        raise BadInput(f"unknown format {name!r}{suggestion(name, list(FORMATS))}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def in_sprints_tags(format: Format, watch: Callable[[T, str], None]) -> Callable[[T, str], None]:
    """Return a watcher of pieces in the format's tags, which hands them to `watch` in SPRINT's. The beginning of a tag
    at the end of a piece waits for the next piece of its writer; an empty piece, the end, lets it go."""
    held: dict[T, str] = {}

    def forward(writer: T, piece: str) -> None:
        text = held.pop(writer, "") + piece
        begun = text.rfind("<")
        if piece and begun >= 0 and _TAG_BEGUN.fullmatch(text, begun):
            text, held[writer] = text[:begun], text[begun:]
        if text:
            watch(writer, format.unspell(text))
        if not piece:
            watch(writer, "")

    return forward
