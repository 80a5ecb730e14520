"""The annotator without an LLM: steps and their parents by discourse markers (sections 3.2.1 and 3.2.2).

DeepSeek-R1 says what it is about to do: "Wait, let me check", "Alternatively", "Case 2:". A table of such openings
cuts a trace into moves. The kind of a move decides the phases of its lines and its parents. The rules see words, not
meaning: `python -m benchmarks.agreement` measures how far they agree with an LLM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from curation.annotate.components import Component, drop_redundant_parents
from curation.annotate.instructions import replace_if_unusable, write_instruction
from curation.annotate.results import add_result_parents

MAX_PLAN = 4  # lines of a plan
MAX_SETUP_PLAN = 8  # lines of the first plan, which restates the question
MAX_REMARK = 120  # characters


class Move(Enum):
    """What a step does. A line with several markers makes the first of these moves."""

    SETUP = "sets the problem up"
    CASE = "works out one case"
    ALTERNATIVE = "tries another way"
    CHECK = "checks what precedes"
    CONCLUDE = "brings the results together"
    NEXT = "takes the next step"
    RETHINK = "reconsiders what precedes"


# Executed lines after which this move ends a step. With fewer lines the move is a part of that step.
MIN_EXECUTED = {Move.NEXT: 0, Move.RETHINK: 4}

# Words before the marker itself: bullets, fillers, connectives.
_LEAD = (
    r"(?:\W|\b(?:okay|ok|hmm+|well|oh|so|but|and|yes|right|alright|anyway|also|just|maybe|perhaps|now|then|wait)\b)*"
)
_I_WILL = (
    r"(?:let me|let's|let us|(?:i|we)(?:'ll| will| can| could| should| must| might| want to| need to| have to)"
    r"|(?:i|we)'d (?:like|better) to)"
    r"(?: (?:also|just|now|first|quickly|carefully|simply|actually|briefly|try to|go ahead and))*"
)
_VERIFY = r"(?:double[- ]?check|re-?check|cross-?check|check|verify|confirm|validate|make sure|re-?examine|test)"
_WAYS = r"(?:way|method|approach|route|strategy|technique|idea|angle|perspective)"
_THUS = r"(?:(?:therefore|thus|hence|i think|i believe)\W+)?"

_NUMBERED = r"(?:\d+|[ivx]+|[a-d]|one|two|three|four)\b"
# Markers that open a step at the start of any line.
AT_LINE: Mapping[Move, tuple[str, ...]] = {
    Move.CASE: (rf"(?:sub-?)?(?:case|scenario|possibility|part) {_NUMBERED}",),
    Move.ALTERNATIVE: (
        rf"(?:approach|method|way|option|strategy) {_NUMBERED}",
        rf"(?:is there )?(?:another|an alternative|a different|a second|an easier) {_WAYS}\b",
        rf".{{0,80}}\b(?:another|alternative|different) {_WAYS} to (?:confirm|verify|check|be)",
        rf"{_I_WILL} (?:try|use|think of|consider|find) (?:another|an alternative|a different)",
    ),
    Move.CHECK: (rf"{_I_WILL} {_VERIFY}\b(?!\W*$)",),
    Move.CONCLUDE: (r"(?:final answer|in conclusion|in summary|to conclude|to sum up|to summarize)\b",),
}
# Markers that open a step at the start of a paragraph only.
AT_PARAGRAPH: Mapping[Move, tuple[str, ...]] = {
    Move.CASE: (r"(?:the )?(?:first|second|third|fourth|last|next|other|remaining) case\b",),
    Move.ALTERNATIVE: (
        rf"alternatively\W+(?:(?:maybe|perhaps)\W+)?(?:{_I_WILL}|there|us(?:e|ing)|try|consider|think|by|another|one)\b",
    ),
    Move.CHECK: (
        rf"(?:to )?(?:{_VERIFY}|be (?:\w+ )?(?:sure|safe|certain|thorough))\b",
        r"(?:checking|verifying|before (?:finalizing|concluding|i conclude|moving on))\b",
        r"is (?:that|this|it) (?:right|correct|true|possible)\b|is there any (?:chance|other)\b",
        r"(?:does|do) (?:that|this|it|these) (?:make sense|work|match|hold)\b",
    ),
    Move.CONCLUDE: (
        rf"{_THUS}(?:the|my|our) (?:final )?answer\b",
        rf"{_THUS}(?:all|both|either)\b.{{0,30}}\b{_WAYS}s?\b",
        rf"{_THUS}(?:putting|comparing|combining) (?:it|this|that|these|both|all|everything)\b",
        rf"{_THUS}(?:i'm|i am) (?:\w+ )?(?:confident|sure|certain)\b",
    ),
    Move.NEXT: (
        r"(?:next|first|firstly|second|secondly|third|thirdly|finally|lastly),\W*[a-z]{2}",
        r"(?:step \d|the (?:next|first|second|third|last) (?:step|thing|part|task))\b",
        r"(?:starting|continuing|proceeding|moving on|going back|turning|looking at|now)\b",
        r"(?:simplifying|expanding|solving for|factoring|rearranging)\b",
        rf"{_THUS}to (?:find|solve|get|compute|calculate|determine|do|simplify|factor)\b",
        rf"{_THUS}{_I_WILL} (?!denote|call|recall|think|see\b|note|say)\w+",
    ),
    Move.RETHINK: (r"(?:wait|hold on|actually|however)\b",),
}


def _compile(table: Mapping[Move, tuple[str, ...]]) -> dict[Move, re.Pattern[str]]:
    return {move: re.compile(f"{_LEAD}(?:{'|'.join(marks)})", re.I) for move, marks in table.items()}


_AT_LINE, _AT_PARAGRAPH = _compile(AT_LINE), _compile(AT_PARAGRAPH)
_MARKS = [(move, table[move]) for move in Move for table in (_AT_LINE, _AT_PARAGRAPH) if move in table]
_WILL = re.compile(rf"\b{_I_WILL} (?P<task>.+)", re.I)
_AIMS = re.compile(r"\b(?:(?:is|was) to|to(?= (?:find|solve|compute|calculate|determine|verify))) (?P<task>.+)", re.I)
_ONWARD = re.compile(rf"{_LEAD}(?:now|next|second|secondly|moving on)\b", re.I)
_ASKS = re.compile(r"[:?]\W*$")
_CASE = re.compile(rf"{_LEAD}(?P<case>(?:sub-?)?(?:case|scenario|possibility) [^.\n]{{1,80}})(?:[.\n]|$)", re.I)
_FINE = (
    r"(?:seems?|looks?|makes sense|checks? out|correct|right|confirms?|match(?:es)?|works?|agrees?|adds up|consistent)"
)
_REMARK = re.compile(
    rf"{_LEAD}(?:(?:that|this|it|which|everything)(?:'s| is| all)? ?(?:also |indeed |all )*{_FINE}\b"
    rf"|(?:both|the two|all) {_WAYS}s (?:agree|match|give|work)|(?:yep|yeah|correct|perfect|great|good)\b"
    r"|same (?:answer|result)\b|yes\W+(?:that|this|it)\b)",
    re.I,
)
_OVERTURNED = re.compile(
    r"\b(?:that|this|it)(?:'s| is| was| must be) (?:wrong|incorrect|not (?:right|correct))\b"
    r"|(?:^|[.!]\s+|\b(?:so|oh|ah|wait|no),? )i (?:made an? (?:mistake|error)|was wrong|forgot|missed|miscalculated)\b"
    r"|\bcontradict(?:s|ion)\b",
    re.I,
)


# Prompts for a plan that states something.
_FRAMES = {
    Move.CASE: "Work out this case: {}.",
    Move.ALTERNATIVE: "Work out this other way: {}.",
    Move.CHECK: "Check whether {}.",
    Move.RETHINK: "Check whether {}.",
    Move.NEXT: "Work out what follows from this: {}.",
}
# Prompts for a plan that names no task.
_INSTRUCTIONS = {
    Move.SETUP: "Set the problem up and work out what follows from it.",
    Move.CASE: "Work out the case that the plan above names.",
    Move.ALTERNATIVE: "Solve the problem in the other way that the plan above names.",
    Move.CHECK: "Check the results so far step by step.",
    Move.CONCLUDE: "Bring the results so far together and state the answer.",
    Move.NEXT: "Carry out the next step of the plan above.",
    Move.RETHINK: "Reconsider the steps so far and correct what is wrong in them.",
}
STOCK = frozenset(_INSTRUCTIONS.values())  # prompts that name no task


def annotate(question: str, lines: Sequence[str]) -> tuple[tuple[Component, ...], list[tuple[int, ...]]]:
    """Return the components of a trace, which cover every line, and the parents of each without redundant ones.

    Parents follow from the kinds of moves and from the results that a step uses (curation/annotate/results.py).
    """
    plain = [line.replace("\u2019", "'") for line in lines]
    opened = _find_moves(plain)
    ends = [*(start for start, _ in opened), len(plain)][1:]
    moves = [move for _, move in opened]
    components = tuple(_component(move, start, end, plain) for (start, move), end in zip(opened, ends, strict=True))
    texts = ["".join(plain[start:end]) for (start, _), end in zip(opened, ends, strict=True)]
    parents = drop_redundant_parents(_parents(moves, texts))
    steps = [component.step(plain, numbers) for component, numbers in zip(components, parents, strict=True)]
    return components, drop_redundant_parents(add_result_parents(steps, question))


# Moves and their phases


def _find_moves(lines: Sequence[str]) -> list[tuple[int, Move]]:
    """Return the first line of each move. A marker within a plan opens no step, but may name the kind of its move."""
    opened: list[tuple[int, Move]] = []
    for number in range(len(lines)):
        move = _opening_move(lines, number)
        if not opened:
            opened.append((number, Move.SETUP))
        elif move and not _is_remark(lines[number]):
            start, current = opened[-1]
            executed = number - _plan_end(lines, start, len(lines), current)
            if executed < 0 and current in MIN_EXECUTED and move in (Move.ALTERNATIVE, Move.CHECK):
                opened[-1] = (start, move)
            elif not _continues(move, current, executed):
                opened.append((number, move))
    return opened


def _continues(move: Move, current: Move, executed: int) -> bool:
    """Return whether a marker belongs to the current step; `executed` is its executed lines, below 0 in its plan."""
    if move in MIN_EXECUTED:
        return executed < MIN_EXECUTED[move]
    return executed < 0 and move is current and move is not Move.CASE


def _opening_move(lines: Sequence[str], number: int) -> Move | None:
    marks = _MARKS if _starts_paragraph(lines, number) else _AT_LINE.items()
    return next((move for move, mark in marks if mark.match(lines[number])), None)


def _starts_paragraph(lines: Sequence[str], number: int) -> bool:
    """Return whether the line is not a sentence that follows another sentence on its line."""
    before = lines[number - 1] if number else ""
    return "\n" in before[len(before.rstrip()) :] or before == before.rstrip()


def _plan_end(lines: Sequence[str], start: int, end: int, move: Move) -> int:
    """Return the line after the plan, whose lines say what is to be done or, in the setup, restate the question."""
    last = min(end, start + (MAX_SETUP_PLAN if move is Move.SETUP else MAX_PLAN))
    extends_plan = _restates if move is Move.SETUP else _plans_on
    return next((number for number in range(start + 1, last) if not extends_plan(lines, number)), max(last, start + 1))


def _restates(lines: Sequence[str], number: int) -> bool:
    line = lines[number]
    return "=" not in line and not (_ONWARD.match(line) and _starts_paragraph(lines, number))


def _plans_on(lines: Sequence[str], number: int) -> bool:
    """Return whether a line after a line of the plan plans too. A new paragraph needs an intention in both lines."""
    before = lines[number - 1]
    return _intends(lines[number]) and "=" not in before and (_intends(before) or not _starts_paragraph(lines, number))


def _intends(line: str) -> bool:
    return "=" not in line and any(mark.search(line) for mark in (_WILL, _AIMS, _ASKS))


def _is_remark(line: str) -> bool:
    return len(line) <= MAX_REMARK and _REMARK.match(line) is not None


def _component(move: Move, start: int, end: int, lines: Sequence[str]) -> Component:
    execution, comment = _plan_end(lines, start, end, move), end
    while comment > execution and _is_remark(lines[comment - 1]):
        comment -= 1
    prompt = _prompt(move, "".join(lines[start:execution])) if execution < comment else ""
    phases = _span(start, execution), _span(execution, comment), _span(comment, end)
    return Component(phases[0], prompt, phases[1], phases[2], move.value)


def _span(start: int, end: int) -> tuple[tuple[int, int], ...]:
    return ((start + 1, end),) if start < end else ()


def _prompt(move: Move, plan: str) -> str:
    """Return an instruction from what the plan intends or asks, or from the kind of the move."""
    sentences = [s for s in re.split(r"(?<=[.!?:])\s+|\n+", plan) if re.search(r"\w", s)]
    if move is Move.CASE and (case := _CASE.match(plan)) and (name := case["case"].rstrip(" .,:;\n")):
        return replace_if_unusable(f"Work out {name[0].lower()}{name[1:]} in full.", _INSTRUCTIONS[move])
    tasks = [found["task"] for mark in (_WILL, _AIMS) for s in sentences if (found := mark.search(s))]
    return write_instruction([*tasks, *sentences], _FRAMES.get(move, ""), _INSTRUCTIONS[move])


# Dependencies


@dataclass(frozen=True)
class Branches:
    """The state of a trace: the last step of the current branch, of the other branches, and the parent of the cases."""

    tip: int = 1
    ends: tuple[int, ...] = ()
    fork: int | None = None


def _parents(moves: Sequence[Move], texts: Sequence[str]) -> list[set[int]]:
    at = Branches()
    parents: list[set[int]] = []
    for number, (move, text) in enumerate(zip(moves, texts, strict=True), 1):
        numbers, at = _attach(at, number, move, overturns=_OVERTURNED.search(text) is not None)
        parents.append(numbers)
    return parents


def _attach(at: Branches, number: int, move: Move, overturns: bool) -> tuple[set[int], Branches]:
    """Return the parents of a move, and the state after it. A check that overturns a result extends the branch."""
    match move:
        case Move.SETUP:
            return set(), at
        case Move.CHECK:
            return {at.tip}, replace(at, tip=number) if overturns else at
        case Move.ALTERNATIVE:
            return {1}, Branches(number, (*at.ends, at.tip))
        case Move.CASE:
            left = at.ends if at.fork is None else (*at.ends, at.tip)
            fork = at.tip if at.fork is None else at.fork
            return {fork}, Branches(number, left, fork)
        case Move.CONCLUDE:
            return {*at.ends, at.tip}, Branches(number)
        case Move.NEXT | Move.RETHINK:
            return {at.tip}, replace(at, tip=number)
