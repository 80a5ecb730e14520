"""The repair rules: how text that a model wrote can be malformed, and how `parse` reads it all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

Repairs = tuple[tuple[str, int], ...]


class RepairKind(StrEnum):
    """The rules. Each repaired tag or text counts once; `Trajectory.repairs` holds the counts by kind."""

    WRONG_NUMBER = "wrong_number"
    """A number is not the next one, or a closing tag has another number than its opening tag.
    Stages and prompts are renumbered by position; `match_executions` assigns executions to prompts."""
    UNCLOSED = "unclosed"
    """A tag that cannot stand inside the open element ends that element. (An empty answer is no answer.)"""
    UNOPENED = "unopened"
    """A closing tag without its opening tag is dropped; but text that `</execution_i.j>` or `</Final_answer>`
    closes is that execution or answer. A prompt outside a plan belongs to the plan before it if their numbers
    agree, otherwise to a new plan. An execution outside a block, and the bare text of a block whose stage has
    one prompt, are read as if their tags were there."""
    NESTED = "nested"
    """A tag inside an element whose closing tag is still to come is text. A repeated opening tag is read once.
    An execution inside a plan is dropped; `parse` uses it if its prompt has no other execution."""
    EMPTY_PROMPT = "empty_prompt"
    """A prompt without text is dropped with its execution; its lead joins the next prompt's lead or the tail."""
    EMPTY_PLAN = "empty_plan"
    """A plan without text and prompts is no stage, unless an answer or `No prompt to execute.` follows it."""
    NO_PROMPT = "no_prompt"
    """A plan with text but without prompts, and without an answer or `No prompt to execute.` after it,
    is a stage without executions."""
    MISSING_EXECUTION = "missing_execution"
    """A prompt without an execution gets `Execution("", status="failed")`."""
    EXTRA_EXECUTION = "extra_execution"
    """An execution without a prompt is dropped."""
    STRAY_TEXT = "stray_text"
    """Text outside all tags continues the plan before it, or begins the next plan if executions precede it.
    Text between the executions of a block is dropped."""
    TEXT_AFTER_ANSWER = "text_after_answer"
    """Everything after the first closed answer is dropped; counted once."""
    MISSING_ANSWER = "missing_answer"
    """There is no final answer: the text after `</think>` is the answer, or the answer is empty."""
    TRUNCATED = "truncated"
    """The text ends inside an element; what there is of the element is kept."""
    VARIANT = "variant"
    """A tag in other case or spacing, or without its number, is accepted."""
    FAILED_EXECUTION = "failed_execution"
    """An executor failed, and the run went on with a marked execution."""
    FORCED_ANSWER = "forced_answer"
    """The run reached its last stage, where the program writes `<Final_answer>` for the planner."""
    CONTEXT_FULL = "context_full"
    """The run filled the model's context before an answer; the answer is empty."""
    NO_POINTS = "no_points"
    """A skeleton is not a numbered list; its text is taken for the solution."""
    UNREAD_SCORE = "unread_score"
    """A score is not a number from 1 to 10; it counts as the lowest score."""


def merge_repairs(*repairs: Repairs) -> Repairs:
    """Return the sums of the counts, sorted by kind."""
    total: Counter[str] = Counter()
    for group in repairs:
        total.update(dict(group))
    return sort_repairs(total)


def sort_repairs(counts: Mapping[str, int] | Mapping[RepairKind, int]) -> Repairs:
    return tuple(sorted((str(kind), count) for kind, count in counts.items() if count))
