"""The annotator without an LLM: steps and their parents by the marks of discourse (sections 3.2.1 and 3.2.2).

R1 says what it is about to do: "Wait, let me check", "Alternatively", "Case 2:". A table of such openings cuts a
trace into moves; the kind of a move says which phases its lines are and on what it can depend. Rules see words and
no meaning: what agreement with an LLM's annotation this reaches, `python -m benchmarks.agreement` measures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from curation.annotate.components import Component, without_redundant
from curation.annotate.instructions import checked, instruction
from curation.annotate.results import attached

MAX_PLAN = 4  # lines; a plan names the task, the rest of a step carries it out
MAX_SETUP_PLAN = 8  # lines; a trace begins by restating its question
MAX_REMARK = 120  # characters


class Move(Enum):
    """What a step does; where a line carries several marks, the first of these."""

    SETUP = "sets the problem up"
    CASE = "works out one case"
    ALTERNATIVE = "tries another way"
    CHECK = "checks what precedes"
    CONCLUDE = "brings the results together"
    NEXT = "takes the next step"
    RETHINK = "reconsiders what precedes"


# Lines that a step has carried out before this move ends it: sooner it is a part of that step.
MIN_DONE = {Move.NEXT: 0, Move.RETHINK: 4}

# Words before the mark itself: bullets, fillers, connectives.
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

# What opens a step at the start of a line, even within a paragraph.
AT_LINE: Mapping[Move, tuple[str, ...]] = {
    Move.CASE: (r"(?:sub-?)?(?:case|scenario|possibility) (?:\d+|[ivx]+|[a-d]|one|two|three|four)\b",),
    Move.ALTERNATIVE: (
        rf"(?:is there )?(?:another|an alternative|a different|a second|an easier) {_WAYS}\b",
        rf".{{0,80}}\b(?:another|alternative|different) {_WAYS} to (?:confirm|verify|check|be)",
        rf"{_I_WILL} (?:try|use|think of|consider|find) (?:another|an alternative|a different)",
    ),
    Move.CHECK: (rf"{_I_WILL} {_VERIFY}\b(?!\W*$)",),
    Move.CONCLUDE: (r"(?:final answer|in conclusion|in summary|to conclude|to sum up|to summarize)\b",),
}
# What opens one at the start of a paragraph only.
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


def _compiled(table: Mapping[Move, tuple[str, ...]]) -> dict[Move, re.Pattern[str]]:
    return {move: re.compile(f"{_LEAD}(?:{'|'.join(marks)})", re.I) for move, marks in table.items()}


_AT_LINE, _AT_PARAGRAPH = _compiled(AT_LINE), _compiled(AT_PARAGRAPH)
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


# For a plan that states something, and for one that says nothing of what to do.
_FRAMES = {
    Move.CASE: "Work out this case: {}.",
    Move.ALTERNATIVE: "Work out this other way: {}.",
    Move.CHECK: "Check whether {}.",
    Move.RETHINK: "Check whether {}.",
    Move.NEXT: "Work out what follows from this: {}.",
}
_INSTRUCTIONS = {
    Move.SETUP: "Set the problem up and work out what follows from it.",
    Move.CASE: "Work out the case that the plan above names.",
    Move.ALTERNATIVE: "Solve the problem in the other way that the plan above names.",
    Move.CHECK: "Check the results so far step by step.",
    Move.CONCLUDE: "Bring the results so far together and state the answer.",
    Move.NEXT: "Carry out the next step of the plan above.",
    Move.RETHINK: "Reconsider the steps so far and correct what is wrong in them.",
}
STOCK = frozenset(_INSTRUCTIONS.values())  # prompts that say nothing of their task


def annotate(question: str, lines: Sequence[str]) -> tuple[tuple[Component, ...], list[tuple[int, ...]]]:
    """The components of a trace and the parents of each, redundant ones left out; every line is in one.

    Parents are named by the kinds of moves, and by the results that a step uses (curation/annotate/results.py).
    """
    plain = [line.replace("\u2019", "'") for line in lines]
    opened = _opened(plain)
    ends = [*(start for start, _ in opened), len(plain)][1:]
    moves = [move for _, move in opened]
    components = tuple(_component(move, start, end, plain) for (start, move), end in zip(opened, ends, strict=True))
    texts = ["".join(plain[start:end]) for (start, _), end in zip(opened, ends, strict=True)]
    parents = without_redundant(_parents(moves, texts))
    steps = [component.step(plain, named) for component, named in zip(components, parents, strict=True)]
    return components, without_redundant(attached(steps, question))


# Moves and their phases


def _opened(lines: Sequence[str]) -> list[tuple[int, Move]]:
    """Where each move starts. A mark within a plan opens no step, it can only say what the plan is for."""
    opened: list[tuple[int, Move]] = []
    for number in range(len(lines)):
        move = _opening(lines, number)
        if not opened:
            opened.append((number, Move.SETUP))
        elif move and not _is_remark(lines[number]):
            start, current = opened[-1]
            done = number - _plan_end(lines, start, len(lines), current)
            if done < 0 and current in MIN_DONE and move in (Move.ALTERNATIVE, Move.CHECK):
                opened[-1] = (start, move)
            elif not _continues(move, current, done):
                opened.append((number, move))
    return opened


def _continues(move: Move, current: Move, done: int) -> bool:
    """Whether a mark belongs to the step under way, of which so many lines are carried out; below 0: its plan."""
    if move in MIN_DONE:
        return done < MIN_DONE[move]
    return done < 0 and move is current and move is not Move.CASE


def _opening(lines: Sequence[str], number: int) -> Move | None:
    marks = _MARKS if _starts_paragraph(lines, number) else _AT_LINE.items()
    return next((move for move, mark in marks if mark.match(lines[number])), None)


def _starts_paragraph(lines: Sequence[str], number: int) -> bool:
    """False only for a sentence that follows another on its line."""
    before = lines[number - 1] if number else ""
    return "\n" in before[len(before.rstrip()) :] or before == before.rstrip()


def _plan_end(lines: Sequence[str], start: int, end: int, move: Move) -> int:
    """One past the opening lines which say what is to be done; at the setup, which restate the question."""
    last = min(end, start + (MAX_SETUP_PLAN if move is Move.SETUP else MAX_PLAN))
    goes_on = _restates if move is Move.SETUP else _plans_on
    return next((number for number in range(start + 1, last) if not goes_on(lines, number)), max(last, start + 1))


def _restates(lines: Sequence[str], number: int) -> bool:
    line = lines[number]
    return "=" not in line and not (_ONWARD.match(line) and _starts_paragraph(lines, number))


def _plans_on(lines: Sequence[str], number: int) -> bool:
    """Whether a line after one of a plan plans too; in the next paragraph, only after one that intends something."""
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
    """An instruction by what the plan means to do or asks, else by the kind of the move."""
    sentences = [s for s in re.split(r"(?<=[.!?:])\s+|\n+", plan) if re.search(r"\w", s)]
    if move is Move.CASE and (case := _CASE.match(plan)) and (named := case["case"].rstrip(" .,:;\n")):
        return checked(f"Work out {named[0].lower()}{named[1:]} in full.", _INSTRUCTIONS[move])
    meant = [found["task"] for mark in (_WILL, _AIMS) for s in sentences if (found := mark.search(s))]
    return instruction([*meant, *sentences], _FRAMES.get(move, ""), _INSTRUCTIONS[move])


# Dependencies


@dataclass(frozen=True)
class Branches:
    """Where the trace stands: the step it goes on from, the ends of the branches it left, the step its cases share."""

    tip: int = 1
    ends: tuple[int, ...] = ()
    fork: int | None = None


def _parents(moves: Sequence[Move], texts: Sequence[str]) -> list[set[int]]:
    at = Branches()
    parents: list[set[int]] = []
    for number, (move, text) in enumerate(zip(moves, texts, strict=True), 1):
        named, at = _attach(at, number, move, overturns=_OVERTURNED.search(text) is not None)
        parents.append(named)
    return parents


def _attach(at: Branches, number: int, move: Move, overturns: bool) -> tuple[set[int], Branches]:
    """The parents of a move, and where the trace stands after it."""
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
