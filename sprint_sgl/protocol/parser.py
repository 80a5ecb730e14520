"""Walks over the tags of a text as models write it, and collects stages and the answer. Never raises on a text.

A stack holds the open elements. A tag that cannot stand in the innermost one either is quoted there (if that
element's own closing tag is still to come) or ends it. `sprint_sgl.protocol.reading` makes values of what is collected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sprint_sgl.protocol.elements import Element, WrittenExecution, WrittenPrompt, WrittenStage
from sprint_sgl.protocol.lexer import Key, Kind, Tag, find_tags
from sprint_sgl.protocol.repairs import RepairKind

NO_PROMPT = "No prompt to execute."
PARENTS: dict[Kind, Kind] = {"prompt": "plan", "execution": "block"}


@dataclass
class TagParser:
    """Reads one text. `live`: it is what a planner writes inside the plan of stage `base`, which we close."""

    live: bool = False
    base: int = 1
    stages: list[WrittenStage] = field(default_factory=list)
    homeless: list[WrittenStage] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)
    answer: str | None = None
    after: list[str] = field(default_factory=list)
    stack: list[Element] = field(default_factory=list)
    sealed: frozenset[int] = frozenset()
    thought_closed: bool = False

    def count(self, kind: RepairKind, times: int = 1) -> None:
        self.repairs[kind.value] += times

    def read(self, text: str) -> None:
        """Takes the whole text in; `finish` or `finish_plan` comes next."""
        tags = find_tags(text)
        self.sealed = find_own_closes(tags)
        position = 0
        for tag in tags:
            self._text(text[position : tag.start])
            position = tag.end
            if self.answer is not None:
                self._late(not tag.closing and tag.kind != "think")
                continue
            self.count(RepairKind.VARIANT, tag.variant)
            (self._close if tag.closing else self._open)(tag)
        self._text(text[position:])

    def finish(self, cut: bool) -> None:
        """The end of the text: what is open ends here."""
        inside = [element for element in self.stack if element.written]
        if (cut or inside) and self.answer is None:
            self.repairs[RepairKind.TRUNCATED.value] = 1
            for stage in self.stages[-1:]:
                stage.excused = True
        while self.stack:
            top = self.stack[-1]
            self._pop(closed=True)
            if top.kind == "execution":
                top.stage.executions[-1].cut = True

    def finish_plan(self, cut: bool, ended: bool) -> None:
        """The end of one planner call, not always of its plan; `ended` if the model itself made an end."""
        self.count(RepairKind.TRUNCATED, cut)
        while self.stack:
            top = self.stack[-1]
            self._pop(closed=cut or (top.kind == "plan" and not ended))

    def begin_plan(self, number: int | None, written: bool = True, sealed: bool = False) -> None:
        stage = WrittenStage(number, self.base + len(self.stages), written)
        self.stages.append(stage)
        self._push(("plan", number, None), stage, written=written, sealed=sealed or self.live)

    # Text

    def _text(self, piece: str) -> None:
        if self.answer is not None:
            self._late(bool(piece.strip()))
        elif self.stack:
            self.stack[-1].add(piece)
        elif self.thought_closed:
            self.after.append(piece)
        elif piece.strip():
            self._stray(piece)

    def _stray(self, piece: str) -> None:
        self.count(RepairKind.STRAY_TEXT)
        if self.stages and not self.stages[-1].prompts and piece.strip() == NO_PROMPT:
            self.stages[-1].noted = self.stages[-1].blocked = True
        else:
            self._imply_plan(None)
            self.stack[-1].add(piece)

    def _late(self, anything: bool) -> None:
        if anything:
            self.repairs[RepairKind.TEXT_AFTER_ANSWER.value] = 1

    def _quote(self, tag: Tag) -> None:
        """A tag that is no structure where it stands: it stays there as text."""
        top = self.stack[-1]
        if not top.spare:
            self.count(RepairKind.NESTED)
            top.add(tag.text)
        if not tag.closing:
            top.quoted[tag.key] += 1

    # Opening tags

    def _open(self, tag: Tag) -> None:
        if tag.kind in ("question", "think"):
            return self._open_frame(tag)
        if self.stack and (self._adopts(self.stack[-1], tag) or self._repeats(self.stack[-1], tag)):
            return None
        while self.stack and PARENTS.get(tag.kind) != self.stack[-1].kind:
            if self._belongs_inside(self.stack[-1], tag):
                return self._nest(tag)
            self._pop()
        return self._late(True) if self.answer is not None else self._begin(tag)

    def _open_frame(self, tag: Tag) -> None:
        """The thought opens where nothing has begun; else these two have no business here."""
        if self.stack:
            self._quote(tag)
        elif tag.kind == "question" or self.stages:
            self.count(RepairKind.NESTED)

    def _adopts(self, top: Element, tag: Tag) -> bool:
        """Whether the tag opens the plan whose text has already begun."""
        fits = tag.kind == "plan" and not top.written and top.kind == "plan"
        if not fits or top.stage.number is not None or top.stage.prompts:
            return False
        top.stage.number, top.stage.written = tag.i, True
        top.key, top.written, top.sealed = tag.key, True, tag.start in self.sealed
        return True

    def _repeats(self, top: Element, tag: Tag) -> bool:
        """Whether the tag opens a second time what has just been opened."""
        if tag.key != top.key or not top.blank:
            return False
        self.count(RepairKind.NESTED)
        top.sealed = top.sealed or tag.start in self.sealed
        return True

    def _belongs_inside(self, top: Element, tag: Tag) -> bool:
        """Whether a tag that has no place in the innermost element is quoted there rather than ends it."""
        if top.kind == "answer":
            return tag.kind not in ("plan", "answer")
        if tag.kind != "answer" and tag.i is not None and tag.i < min(top.stage.numbers):
            return True
        if top.kind == "block":
            return tag.kind == "prompt" or (tag.kind == "block" and tag.i in (None, top.key[1]))
        sibling = tag.kind == top.kind and tag.i in (None, *top.stage.numbers)
        answered = tag.kind == "answer" and top.kind == "plan"
        return top.sealed and not (top.spare or answered or (sibling and top.kind != "plan"))

    def _nest(self, tag: Tag) -> None:
        top = self.stack[-1]
        own = tag.kind in ("block", "execution") and tag.i in (None, *top.stage.numbers)
        if top.kind != "plan" or not own:
            return self._quote(tag)
        self.count(RepairKind.NESTED)
        return self._push(tag.key, top.stage, spare=True)

    def _begin(self, tag: Tag) -> None:
        sealed = tag.start in self.sealed
        top = self.stack[-1] if self.stack else None
        if tag.kind == "plan":
            self.begin_plan(tag.i, sealed=sealed)
        elif tag.kind == "prompt":
            self._begin_prompt(tag, sealed)
        elif tag.kind == "block":
            self._begin_block(tag)
        elif tag.kind == "execution":
            if top is None:
                self.count(RepairKind.UNOPENED)
                self._begin_block(tag, written=False)
            parent = self.stack[-1]
            self._push(tag.key, parent.stage, sealed=sealed, spare=parent.spare)
        else:
            stage = self.stages[-1] if self.stages else WrittenStage(None, 0)
            stage.excused = stage.excused or not stage.blocked
            self._push(tag.key, stage, sealed=sealed)

    def _begin_prompt(self, tag: Tag, sealed: bool) -> None:
        if not self.stack:
            self.count(RepairKind.UNOPENED)
            self._imply_plan(tag.i)
        plan = self.stack[-1]
        plan.stage.prompts.append(WrittenPrompt(tag.key, "", plan.take()))
        self._push(tag.key, plan.stage, sealed=sealed)

    def _begin_block(self, tag: Tag, written: bool = True) -> None:
        stage = self._owner(tag.i)
        self.count(RepairKind.WRONG_NUMBER, written and tag.i not in (None, *stage.numbers))
        stage.blocked = True
        self._push(("block", tag.i, None), stage, written=written)

    def _owner(self, number: int | None) -> WrittenStage:
        """The stage that an execution block belongs to: the last one, or an earlier one that waits for this number."""
        if not self.stages:
            self.homeless.append(WrittenStage(number, 1, written=False))
            return self.homeless[-1]
        last = self.stages[-1]
        if number in last.numbers:
            return last
        return next((stage for stage in self.stages if not stage.blocked and number in stage.numbers), last)

    def _imply_plan(self, number: int | None) -> None:
        """Reopens the last plan if its executions have not begun and the number fits; else begins a new one."""
        last = self.stages[-1] if self.stages else None
        if last is None or last.blocked or (number is not None and number not in last.numbers):
            return self.begin_plan(number, written=False)
        self._push(("plan", last.number, None), last, written=False)
        self.stack[-1].add(last.tail)
        last.tail = ""
        return None

    def _push(
        self, key: Key, stage: WrittenStage, written: bool = True, sealed: bool = False, spare: bool = False
    ) -> None:
        self.stack.append(Element(key, stage, written, sealed, spare))

    # Closing tags

    def _close(self, tag: Tag) -> None:
        if tag.kind == "think":
            return self._close_thought(tag)
        top = self.stack[-1] if self.stack else None
        if top and top.quoted[tag.key]:
            top.quoted[tag.key] -= 1
            top.add(tag.text)
        elif any(element.kind == tag.kind for element in self.stack):
            self._close_element(tag)
        elif top and top.kind == "execution":
            self._quote(tag)
        elif not top or not self._closes_text(top, tag):
            self.count(RepairKind.UNOPENED)
        return None

    def _close_element(self, tag: Tag) -> None:
        while self.stack[-1].kind != tag.kind:
            self._pop()
        _, i, j = self.stack[-1].key
        known = tag.i is not None and i is not None and self.stack[-1].written and not self.stack[-1].spare
        self.count(RepairKind.WRONG_NUMBER, known and (tag.i, tag.j) != (i, j))
        self._pop(closed=True)

    def _closes_text(self, top: Element, tag: Tag) -> bool:
        """A text that is closed as an execution or an answer is one, though nothing opened it."""
        if not top.filled:
            return False
        if tag.kind == "execution" and top.kind == "block":
            top.stage.executions.append(WrittenExecution(tag.key, top.take(), top.spare))
        elif tag.kind == "answer" and top.kind == "plan":
            top.stage.excused = True
            self.answer = top.take()
            self._pop(closed=True)
        else:
            return False
        self.count(RepairKind.UNOPENED)
        return True

    def _close_thought(self, tag: Tag) -> None:
        top = self.stack[-1] if self.stack else None
        if top and top.sealed and not top.spare and not (self.live and top.kind == "plan"):
            return self._quote(tag)
        for stage in self.stages[-1:]:
            stage.excused = stage.excused or not stage.blocked
        while self.stack:
            self._pop()
        self.thought_closed = True
        return None

    # Ends

    def _pop(self, closed: bool = False) -> None:
        """Ends the innermost element; an element that its own tag opened counts, if nothing closed it."""
        top = self.stack.pop()
        own = self.live and top.kind == "plan" and top.blank
        self.count(RepairKind.UNCLOSED, top.written and not (closed or top.spare or own))
        if top.kind == "prompt":
            top.stage.prompts[-1].text = top.text
        elif top.kind == "plan":
            top.stage.tail = top.text
        elif top.kind == "execution":
            top.stage.executions.append(WrittenExecution(top.key, top.text, top.spare))
        elif top.kind == "answer":
            self.answer = top.text if closed or not top.blank else None
        elif not top.spare:
            self._end_block(top)

    def _end_block(self, block: Element) -> None:
        """The text in a block beside its executions."""
        stage = block.stage
        if not block.text.strip():
            return
        if block.text.strip() == NO_PROMPT:
            stage.noted = True
        elif len(stage.prompts) == 1 and all(execution.spare for execution in stage.executions):
            self.count(RepairKind.UNOPENED)
            stage.executions.append(WrittenExecution(("execution", None, None), block.text, spare=False))
        else:
            self.count(RepairKind.STRAY_TEXT)


def find_own_closes(tags: Sequence[Tag]) -> frozenset[int]:
    """Where the opening tags start whose own closing tag is the next tag of their kind."""
    following: dict[Kind, Tag] = {}
    sealed = set()
    for tag in reversed(tags):
        after = following.get(tag.kind)
        if not tag.closing and after and after.closing and after.key == tag.key:
            sealed.add(tag.start)
        following[tag.kind] = tag
    return frozenset(sealed)
