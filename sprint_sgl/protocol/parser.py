"""Parse the tags of a text that a model wrote into stages and an answer. Never raises on a text.

A stack holds the open elements. A tag that cannot stand in the innermost element is kept there as text if that
element's own closing tag is still to come; otherwise the tag ends the element.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sprint_sgl.protocol.elements import WrittenExecution, WrittenPrompt, WrittenStage
from sprint_sgl.protocol.lexer import Tag, TagKey, TagKind, find_tags
from sprint_sgl.protocol.repairs import RepairKind

NO_PROMPT = "No prompt to execute."
PARENTS: dict[TagKind, TagKind] = {"prompt": "plan", "execution": "block"}


@dataclass
class Element:
    """An open element on the parser's stack.

    explicit        a tag opened the element
    has_own_close   the next tag of its kind is the closing tag with its numbers
    from_plan       it stands inside a plan, where executions do not belong
    filled          it holds more than whitespace
    quoted          opening tags kept as text in it, whose closing tags are text too
    """

    key: TagKey
    stage: WrittenStage
    explicit: bool = True
    has_own_close: bool = False
    from_plan: bool = False
    pieces: list[str] = field(default_factory=list)
    filled: bool = False
    quoted: Counter[TagKey] = field(default_factory=Counter)
    kind: TagKind = field(init=False)

    def __post_init__(self) -> None:
        self.kind, *_ = self.key

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def blank(self) -> bool:
        return not self.filled and not (self.kind == "plan" and self.stage.prompts)

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.filled = self.filled or bool(text.strip())

    def take(self) -> str:
        """Remove the text so far from the element and return it."""
        text = self.text
        self.pieces, self.filled = [], False
        return text


@dataclass
class TagParser:
    """Parses one text: call `read`, then `finish` or `finish_plan`.

    inside_plan   the text is what a planner wrote inside the plan of stage `first_stage`; the caller closes the plan
    orphans       execution blocks before any plan, each as a stage without prompts
    after_thought text after `</think>`
    own_closes    where the opening tags start whose own closing tag is the next tag of their kind
    """

    inside_plan: bool = False
    first_stage: int = 1
    stages: list[WrittenStage] = field(default_factory=list)
    orphans: list[WrittenStage] = field(default_factory=list)
    repairs: Counter[RepairKind] = field(default_factory=Counter)
    answer: str | None = None
    after_thought: list[str] = field(default_factory=list)
    stack: list[Element] = field(default_factory=list)
    own_closes: frozenset[int] = frozenset()
    thought_closed: bool = False

    def read(self, text: str) -> None:
        """Parse the whole text; elements that the text leaves open stay on the stack."""
        tags = find_tags(text)
        self.own_closes = find_own_closes(tags)
        position = 0
        for tag in tags:
            self._add_text(text[position : tag.start])
            position = tag.end
            if self.answer is not None:
                self._count_late(not tag.closing and tag.kind != "think")
                continue
            self.repairs[RepairKind.VARIANT] += tag.variant
            (self._close if tag.closing else self._open)(tag)
        self._add_text(text[position:])

    def finish(self, cut: bool) -> None:
        """End all open elements; `cut`: the text ends inside a tag."""
        inside = [element for element in self.stack if element.explicit]
        if (cut or inside) and self.answer is None:
            self.repairs[RepairKind.TRUNCATED] = 1
            for stage in self.stages[-1:]:
                stage.may_lack_prompts = True
        while self.stack:
            top = self.stack[-1]
            self._pop(closed=True)
            if top.kind == "execution":
                top.stage.executions[-1].cut = True

    def finish_plan(self, cut: bool, ended: bool) -> None:
        """End all open elements of one planner call; the plan itself may go on unless the model ended it (`ended`)."""
        self.repairs[RepairKind.TRUNCATED] += cut
        while self.stack:
            top = self.stack[-1]
            self._pop(closed=cut or (top.kind == "plan" and not ended))

    def begin_plan(self, number: int | None, explicit: bool = True, has_own_close: bool = False) -> None:
        stage = WrittenStage(number, self.first_stage + len(self.stages), explicit)
        self.stages.append(stage)
        self._push(("plan", number, None), stage, explicit=explicit, has_own_close=has_own_close or self.inside_plan)

    # Text

    def _add_text(self, piece: str) -> None:
        if self.answer is not None:
            self._count_late(bool(piece.strip()))
        elif self.stack:
            self.stack[-1].add(piece)
        elif self.thought_closed:
            self.after_thought.append(piece)
        elif piece.strip():
            self._add_stray_text(piece)

    def _add_stray_text(self, piece: str) -> None:
        self.repairs[RepairKind.STRAY_TEXT] += 1
        if self.stages and not self.stages[-1].prompts and piece.strip() == NO_PROMPT:
            self.stages[-1].says_no_prompt = self.stages[-1].has_block = True
        else:
            self._imply_plan(None)
            self.stack[-1].add(piece)

    def _count_late(self, anything: bool) -> None:
        if anything:
            self.repairs[RepairKind.TEXT_AFTER_ANSWER] = 1

    def _quote(self, tag: Tag) -> None:
        """Keep a tag as text of the innermost element."""
        top = self.stack[-1]
        if not top.from_plan:
            self.repairs[RepairKind.NESTED] += 1
            top.add(tag.text)
        if not tag.closing:
            top.quoted[tag.key] += 1

    # Opening tags

    def _open(self, tag: Tag) -> None:
        if tag.kind in ("question", "think"):
            return self._open_frame(tag)
        top = self.stack[-1] if self.stack else None
        if top and (self._open_implied_plan(top, tag) or self._skip_repeated_opening(top, tag)):
            return None
        while self.stack and PARENTS.get(tag.kind) != self.stack[-1].kind:
            if self._is_text_inside(self.stack[-1], tag):
                return self._keep_nested(tag)
            self._pop()
        return self._count_late(True) if self.answer is not None else self._begin_element(tag)

    def _open_frame(self, tag: Tag) -> None:
        """Skip `<think>` before the first stage; anywhere else, `<think>` and `<Question>` are a repair."""
        if self.stack:
            self._quote(tag)
        elif tag.kind == "question" or self.stages:
            self.repairs[RepairKind.NESTED] += 1

    def _open_implied_plan(self, top: Element, tag: Tag) -> bool:
        """Make an implied plan whose text has begun explicit if the tag opens it; return whether it does."""
        fits = tag.kind == "plan" and not top.explicit and top.kind == "plan"
        if not fits or top.stage.number is not None or top.stage.prompts:
            return False
        top.stage.number, top.stage.explicit = tag.i, True
        top.key, top.explicit, top.has_own_close = tag.key, True, tag.start in self.own_closes
        return True

    def _skip_repeated_opening(self, top: Element, tag: Tag) -> bool:
        """Count an opening tag that repeats the one of a still empty element; return whether it is one."""
        if tag.key != top.key or not top.blank:
            return False
        self.repairs[RepairKind.NESTED] += 1
        top.has_own_close = top.has_own_close or tag.start in self.own_closes
        return True

    def _is_text_inside(self, top: Element, tag: Tag) -> bool:
        """Return whether a tag that cannot stand in the innermost element is text there rather than its end."""
        if top.kind == "answer":
            return tag.kind not in ("plan", "answer")
        if tag.kind != "answer" and tag.i is not None and tag.i < min(top.stage.numbers):
            return True
        if top.kind == "block":
            return tag.kind == "prompt" or (tag.kind == "block" and tag.i in (None, top.key[1]))
        sibling = tag.kind == top.kind and tag.i in (None, *top.stage.numbers)
        answered = tag.kind == "answer" and top.kind == "plan"
        return top.has_own_close and not (top.from_plan or answered or (sibling and top.kind != "plan"))

    def _keep_nested(self, tag: Tag) -> None:
        top = self.stack[-1]
        own = tag.kind in ("block", "execution") and tag.i in (None, *top.stage.numbers)
        if top.kind != "plan" or not own:
            return self._quote(tag)
        self.repairs[RepairKind.NESTED] += 1
        return self._push(tag.key, top.stage, from_plan=True)

    def _begin_element(self, tag: Tag) -> None:
        has_own_close = tag.start in self.own_closes
        top = self.stack[-1] if self.stack else None
        if tag.kind == "plan":
            self.begin_plan(tag.i, has_own_close=has_own_close)
        elif tag.kind == "prompt":
            self._begin_prompt(tag, has_own_close)
        elif tag.kind == "block":
            self._begin_block(tag)
        elif tag.kind == "execution":
            if top is None:
                self.repairs[RepairKind.UNOPENED] += 1
                self._begin_block(tag, explicit=False)
            parent = self.stack[-1]
            self._push(tag.key, parent.stage, has_own_close=has_own_close, from_plan=parent.from_plan)
        else:
            stage = self.stages[-1] if self.stages else WrittenStage(None, 0)
            stage.may_lack_prompts = stage.may_lack_prompts or not stage.has_block
            self._push(tag.key, stage, has_own_close=has_own_close)

    def _begin_prompt(self, tag: Tag, has_own_close: bool) -> None:
        if not self.stack:
            self.repairs[RepairKind.UNOPENED] += 1
            self._imply_plan(tag.i)
        plan = self.stack[-1]
        plan.stage.prompts.append(WrittenPrompt(tag.key, "", plan.take()))
        self._push(tag.key, plan.stage, has_own_close=has_own_close)

    def _begin_block(self, tag: Tag, explicit: bool = True) -> None:
        stage = self._stage_of_block(tag.i)
        self.repairs[RepairKind.WRONG_NUMBER] += explicit and tag.i not in (None, *stage.numbers)
        stage.has_block = True
        self._push(("block", tag.i, None), stage, explicit=explicit)

    def _stage_of_block(self, number: int | None) -> WrittenStage:
        """Return the stage of an execution block: an earlier one without a block and with this number, or the last."""
        if not self.stages:
            self.orphans.append(WrittenStage(number, 1, explicit=False))
            return self.orphans[-1]
        last = self.stages[-1]
        if number in last.numbers:
            return last
        return next((stage for stage in self.stages if not stage.has_block and number in stage.numbers), last)

    def _imply_plan(self, number: int | None) -> None:
        """Reopen the last plan if it has no execution block and the number fits; otherwise begin a new plan."""
        last = self.stages[-1] if self.stages else None
        if last is None or last.has_block or (number is not None and number not in last.numbers):
            return self.begin_plan(number, explicit=False)
        self._push(("plan", last.number, None), last, explicit=False)
        self.stack[-1].add(last.tail)
        last.tail = ""
        return None

    def _push(
        self,
        key: TagKey,
        stage: WrittenStage,
        explicit: bool = True,
        has_own_close: bool = False,
        from_plan: bool = False,
    ) -> None:
        self.stack.append(Element(key, stage, explicit, has_own_close, from_plan))

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
        elif not top or not self._close_unopened(top, tag):
            self.repairs[RepairKind.UNOPENED] += 1
        return None

    def _close_element(self, tag: Tag) -> None:
        while self.stack[-1].kind != tag.kind:
            self._pop()
        _, i, j = self.stack[-1].key
        numbered = tag.i is not None and i is not None and self.stack[-1].explicit and not self.stack[-1].from_plan
        self.repairs[RepairKind.WRONG_NUMBER] += numbered and (tag.i, tag.j) != (i, j)
        self._pop(closed=True)

    def _close_unopened(self, top: Element, tag: Tag) -> bool:
        """Take the text before a closing tag for an execution or an answer that no tag opened; return whether it is."""
        if not top.filled:
            return False
        if tag.kind == "execution" and top.kind == "block":
            top.stage.executions.append(WrittenExecution(tag.key, top.take(), top.from_plan))
        elif tag.kind == "answer" and top.kind == "plan":
            top.stage.may_lack_prompts = True
            self.answer = top.take()
            self._pop(closed=True)
        else:
            return False
        self.repairs[RepairKind.UNOPENED] += 1
        return True

    def _close_thought(self, tag: Tag) -> None:
        top = self.stack[-1] if self.stack else None
        if top and top.has_own_close and not top.from_plan and not (self.inside_plan and top.kind == "plan"):
            return self._quote(tag)
        for stage in self.stages[-1:]:
            stage.may_lack_prompts = stage.may_lack_prompts or not stage.has_block
        while self.stack:
            self._pop()
        self.thought_closed = True
        return None

    # Ends

    def _pop(self, closed: bool = False) -> None:
        """End the innermost element, and count an explicit element that nothing closed."""
        top = self.stack.pop()
        ours = self.inside_plan and top.kind == "plan" and top.blank
        self.repairs[RepairKind.UNCLOSED] += top.explicit and not (closed or top.from_plan or ours)
        if top.kind == "prompt":
            top.stage.prompts[-1].text = top.text
        elif top.kind == "plan":
            top.stage.tail = top.text
        elif top.kind == "execution":
            top.stage.executions.append(WrittenExecution(top.key, top.text, top.from_plan))
        elif top.kind == "answer":
            self.answer = top.text if closed or not top.blank else None
        elif not top.from_plan:
            self._end_block(top)

    def _end_block(self, block: Element) -> None:
        """Interpret the text of a block outside its executions."""
        stage = block.stage
        if not block.text.strip():
            return
        if block.text.strip() == NO_PROMPT:
            stage.says_no_prompt = True
        elif len(stage.prompts) == 1 and all(execution.from_plan for execution in stage.executions):
            self.repairs[RepairKind.UNOPENED] += 1
            stage.executions.append(WrittenExecution(("execution", None, None), block.text, from_plan=False))
        else:
            self.repairs[RepairKind.STRAY_TEXT] += 1


def find_own_closes(tags: Sequence[Tag]) -> frozenset[int]:
    """Return where the opening tags start whose own closing tag is the next tag of their kind."""
    following: dict[TagKind, Tag] = {}
    found = set()
    for tag in reversed(tags):
        after = following.get(tag.kind)
        if not tag.closing and after and after.closing and after.key == tag.key:
            found.add(tag.start)
        following[tag.kind] = tag
    return frozenset(found)
