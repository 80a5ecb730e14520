"""The repair rules: what is malformed in a text that a model wrote, and what is made of it."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

Repairs = tuple[tuple[str, int], ...]


class RepairKind(StrEnum):
    """One rule a kind. Each tag or text that is repaired counts once; `Trajectory.repairs` has the counts."""

    WRONG_NUMBER = "wrong_number"
    """A number that is not the next one, or a closing tag with another number than its opening tag.
    Stages and prompts are renumbered by position; executions find their prompts by `match_executions`."""
    UNCLOSED = "unclosed"
    """An element in which a tag follows that cannot stand inside it: it ends there. (An empty answer is none.)"""
    UNOPENED = "unopened"
    """A closing tag without its opening tag is dropped, except that a text which `</execution_i.j>` or
    `</Final_answer>` closes is that execution or answer. A prompt outside a plan belongs to the plan before it
    if their numbers agree, else to a new one; an execution outside its block, or the bare text of a block
    whose stage has one prompt, is read as if the tags stood there."""
    NESTED = "nested"
    """A tag inside an element that is still to be closed stays as text. An opening tag twice is read once.
    An execution that the planner writes into its plan is dropped; `parse` uses it if its prompt has no other."""
    EMPTY_PROMPT = "empty_prompt"
    """A prompt without text is dropped along with its execution; its lead goes to the next prompt or the tail."""
    EMPTY_PLAN = "empty_plan"
    """A plan without text and prompt, and without an answer or `No prompt to execute.` after it: no stage."""
    NO_PROMPT = "no_prompt"
    """A plan with text but without prompt, and without those after it: a stage without executions."""
    MISSING_EXECUTION = "missing_execution"
    """A prompt without execution gets `Execution("", status="failed")`."""
    EXTRA_EXECUTION = "extra_execution"
    """An execution without prompt is dropped."""
    STRAY_TEXT = "stray_text"
    """A text outside all tags ends the plan before it, or after executions begins the next plan; in a block
    of executions it is dropped."""
    TEXT_AFTER_ANSWER = "text_after_answer"
    """Whatever follows the first closed answer is dropped; counted once."""
    MISSING_ANSWER = "missing_answer"
    """No final answer: it is what follows `</think>`, else it is empty."""
    TRUNCATED = "truncated"
    """The text ends inside an element, which is kept as far as it goes."""
    VARIANT = "variant"
    """A tag in another case or spacing, or without its number, is accepted."""
    FAILED_EXECUTION = "failed_execution"
    """An executor of a run failed, and the run's policy is to mark it."""
    FORCED_ANSWER = "forced_answer"
    """A run came to its last stage, where the answer's tag is written for the planner."""
    CONTEXT_FULL = "context_full"
    """A run has filled the model's context before it came to an answer, which is empty then."""
    NO_POINTS = "no_points"
    """A skeleton is no numbered list: what was written in its place is the solution."""
    UNREAD_SCORE = "unread_score"
    """A score is no number from 1 to 10: it counts as the lowest."""


def merge_repairs(*repairs: Repairs) -> Repairs:
    """The sums by kind, sorted by kind."""
    total: Counter[str] = Counter()
    for group in repairs:
        total.update(dict(group))
    return sort_repairs(total)


def sort_repairs(counts: Counter[str]) -> Repairs:
    return tuple(sorted((kind, count) for kind, count in counts.items() if count))
