"""Read what models write: `parse` for whole trajectories, `read_plan` and `read_execution` for single calls.

Nothing here raises on a text: malformed text is repaired by the rules of `RepairKind`, and each repair is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sprint_sgl.protocol.elements import WrittenExecution, WrittenStage
from sprint_sgl.protocol.lexer import Tag, TagKey, find_tags, strip_partial_tag, strip_tags, unescape_tags
from sprint_sgl.protocol.parser import TagParser
from sprint_sgl.protocol.rendering import BLOCK_STOP, EXECUTION_STOP, PLAN_STOP, PROMPT_STOP
from sprint_sgl.protocol.repairs import RepairKind, Repairs, sort_repairs
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory


@dataclass(frozen=True)
class PlanText:
    """What one planner call wrote: prompts, the text after them, and the final answer if there is one."""

    prompts: tuple[Prompt, ...] = ()
    tail: str = ""
    answer: str | None = None
    repairs: Repairs = ()


def parse(text: str) -> Trajectory:
    """Return the trajectory in a text, complete or cut off. `parse(render(t)) == t`.

    An instruction may precede the question. Text without any plan becomes the `thought` of a sequential trajectory.
    """
    whole = strip_partial_tag(text)
    parser = TagParser()
    question, begin = _read_question(whole, parser)
    parser.read(whole[begin:])
    cut = text[len(whole) :]
    if parser.thought_closed and _is_sequential(parser):  # no tag follows a sequential answer: keep its end
        parser.after_thought.append(cut)
        cut = ""
    parser.finish(bool(cut))
    thought = _thought(parser)
    stages = () if thought else tuple(_stage(stage, parser) for stage in parser.stages)
    parser.repairs[RepairKind.EXTRA_EXECUTION] += sum(len(stage.executions) for stage in parser.orphans)
    after = _clean("".join(parser.after_thought))
    if parser.answer is None and not (thought and after):
        parser.repairs[RepairKind.MISSING_ANSWER] += 1
    return Trajectory(
        question=_clean(question),
        stages=tuple(stage for stage in stages if stage),
        final_answer=after if parser.answer is None else _clean(parser.answer),
        thought=thought,
        repairs=sort_repairs(parser.repairs),
    )


def read_plan(body: str, i: int, first: int = 1, closed_by: str = "") -> PlanText:
    """Return what a planner wrote inside plan i in one call; its prompts count from `first`.

    body        the text of the call, without its stop string; may begin with `<Plan_i>`
    closed_by   the stop string, "length" or "abort" if the call was cut off, or "" if the model ended it
    """
    cut = closed_by in ("length", "abort")
    parser = TagParser(inside_plan=True, first_stage=i)
    parser.begin_plan(i)
    inside = _strip_own_opening(strip_partial_tag(body) if cut else body, i, parser)
    parser.read(inside + _closing_tag(inside, i, first, closed_by))
    parser.finish_plan(cut, ended=closed_by == "")
    stage = parser.stages[0]
    prompts, tail = _prompts(stage, first, parser)
    answer = "".join(parser.after_thought).strip() or None if parser.answer is None else parser.answer
    if first == 1 and stage.prompts and not any(tag.kind == "plan" and not tag.closing for tag in find_tags(body)):
        parser.repairs[RepairKind.UNOPENED] += 1
    if first == 1 and not (stage.prompts or cut or answer is not None):
        parser.repairs[RepairKind.NO_PROMPT if tail else RepairKind.EMPTY_PLAN] += 1
    kept = tuple(prompt for prompt in prompts if prompt)
    if answer and not strip_tags(answer):
        answer = ""  # a tag alone says nothing
    return PlanText(kept, tail, None if answer is None else _clean(answer), sort_repairs(parser.repairs))


def read_execution(raw: str) -> tuple[str, Repairs]:
    """Return an executor's text and its repairs. Tags inside stay as text, which `render` escapes."""
    tags = find_tags(raw)
    begin = 0
    for tag in tags:
        if tag.closing or tag.kind not in ("block", "execution") or raw[begin : tag.start].strip():
            break
        begin = tag.end
    return _clean(raw[begin:]), sort_repairs(Counter({RepairKind.NESTED: len(tags)}))


def match_executions(prompts: Sequence[int | None], executions: Sequence[int | None]) -> list[int | None]:
    """Return the index of each execution's prompt, or None. Arguments are the numbers as written, or None.

    - An execution belongs to the prompt with its number.
    - If its number is missing, unknown or repeated, it belongs to the prompt at its own position, if that is free.
    - n executions numbered 1 to n belong to n prompts in order, if the prompts have other numbers.
    - If there are more or fewer executions than prompts, the first execution keeps a repeated number, and the
      others have no prompt.
    """
    as_many = len(executions) == len(prompts)
    if list(executions) == list(range(1, len(prompts) + 1)) and not set(executions) <= set(prompts):
        return list(range(len(prompts)))
    uses = Counter(prompts) + Counter(executions)
    named = {number: index for index, number in reversed(list(enumerate(prompts))) if number is not None}
    found: list[int | None] = []
    taken: set[int] = set()
    for number in executions:
        at = named.get(number) if number is not None and (uses[number] == 2 or not as_many) else None
        found.append(None if at in taken else at)
        taken |= {at} if at is not None else set()
    for place, number in enumerate(executions[: len(prompts)]):
        if found[place] is None and place not in taken and (as_many or number not in named):
            found[place] = place
    return found


def _clean(text: str) -> str:
    return unescape_tags(text.strip())


def _read_question(text: str, parser: TagParser) -> tuple[str, int]:
    """Return the question as written, and where the thought begins.

    An instruction may mention the tags too, so the question is the last one before the thought or the first plan.
    """
    tags = find_tags(text)
    head = _question_tags(text, tags)
    closing = next((tag for tag in reversed(head) if tag.kind == "question" and tag.closing), None)
    before = [tag for tag in head if closing is None or tag.start < closing.start]
    opening = next((tag for tag in reversed(before) if tag.kind == "question" and not tag.closing), None)
    parser.repairs[RepairKind.VARIANT] += sum(tag.variant for tag in (opening, closing) if tag)
    if closing:
        parser.repairs[RepairKind.UNOPENED] += opening is None
        parser.repairs[RepairKind.NESTED] += sum(tag.start > opening.start for tag in before) if opening else 0
        return text[opening.end if opening else 0 : closing.start], closing.end
    if opening:
        end = next((tag.start for tag in tags if tag.start >= opening.end), len(text))
        parser.repairs[RepairKind.UNCLOSED if end < len(text) else RepairKind.TRUNCATED] += 1
        return text[opening.end : end], end
    return "", next((tag.start for tag in head if tag.kind == "think" and not tag.closing), 0)


def _question_tags(text: str, tags: Sequence[Tag]) -> Sequence[Tag]:
    """Return the tags up to the first `</Question>` directly before a `<think>`, else up to the first plan."""
    for index, (tag, after) in enumerate(pairwise(tags), 1):
        ends = tag.kind == "question" and tag.closing and after.kind == "think" and not after.closing
        if ends and not text[tag.end : after.start].strip():
            return tags[:index]
    return tags[: next((index for index, tag in enumerate(tags) if tag.i is not None), len(tags))]


def _strip_own_opening(body: str, i: int, parser: TagParser) -> str:
    """Return the body without the opening tag of its own plan."""
    tag = next(iter(find_tags(body)), None)
    if tag is None or tag.closing or tag.kind != "plan" or body[: tag.start].strip():
        return body
    parser.repairs[RepairKind.VARIANT] += tag.variant
    parser.repairs[RepairKind.WRONG_NUMBER] += tag.i not in (None, i)
    return body[tag.end :]


def _closing_tag(body: str, i: int, first: int, closed_by: str) -> str:
    """Return the whole tag that ended the call; the stop string is only its beginning."""
    if closed_by == PROMPT_STOP:
        opened = [tag for tag in find_tags(body) if tag.kind == "prompt" and not tag.closing and tag.j is not None]
        return f"</prompt_{opened[-1].i}.{opened[-1].j}>" if opened else f"</prompt_{i}.{first}>"
    numbers = {PLAN_STOP: f"{i}>", BLOCK_STOP: f"{i}>", EXECUTION_STOP: f"{i}.{first}>"}
    return closed_by + numbers.get(closed_by, "") if closed_by.startswith("</") else ""


def _is_sequential(parser: TagParser) -> bool:
    return not any(stage.explicit or stage.prompts or stage.has_block for stage in parser.stages)


def _thought(parser: TagParser) -> str:
    """Return the thought of a sequential trajectory, whose text is not stray, or an empty text."""
    if not _is_sequential(parser):
        return ""
    parser.repairs.pop(RepairKind.STRAY_TEXT, None)
    return _clean("\n".join(stage.tail for stage in parser.stages))


def _stage(written: WrittenStage, parser: TagParser) -> Stage | None:
    """Return the repaired stage, or None if it is empty."""
    parser.repairs[RepairKind.WRONG_NUMBER] += written.explicit and written.number not in (None, written.position)
    prompts, tail = _prompts(written, 1, parser)
    executions = _executions(written, parser)
    kept = [(prompt, execution) for prompt, execution in zip(prompts, executions, strict=True) if prompt]
    parser.repairs[RepairKind.MISSING_EXECUTION] += sum(execution is None for _, execution in kept)
    if not (written.prompts or written.says_no_prompt or written.may_lack_prompts) and written.explicit:
        parser.repairs[RepairKind.NO_PROMPT if tail else RepairKind.EMPTY_PLAN] += 1
    if not (kept or tail or (written.says_no_prompt and written.explicit)):
        return None
    failed = Execution("", status="failed")
    return Stage(tuple(prompt for prompt, _ in kept), tuple(execution or failed for _, execution in kept), tail)


def _prompts(stage: WrittenStage, first: int, parser: TagParser) -> tuple[list[Prompt | None], str]:
    """Return the prompts, None for an empty one, and the tail. Count their repairs."""
    prompts: list[Prompt | None] = []
    carried = ""
    for j, written in enumerate(stage.prompts, first):
        parser.repairs[RepairKind.WRONG_NUMBER] += _has_wrong_number(written.key, stage, (j,))
        lead = _join_lines(carried, _clean(written.lead))
        text = _clean(written.text)
        prompts.append(Prompt(text, lead) if text else None)
        carried = "" if text else lead
    parser.repairs[RepairKind.EMPTY_PROMPT] += prompts.count(None)
    return prompts, _join_lines(carried, _clean(stage.tail))


def _join_lines(*pieces: str) -> str:
    return "\n".join(piece for piece in pieces if piece)


def _has_wrong_number(key: TagKey, stage: WrittenStage, places: Sequence[int | None]) -> bool:
    _, i, j = key
    return i not in (None, *stage.numbers) or j not in (None, *places)


def _executions(stage: WrittenStage, parser: TagParser) -> list[Execution | None]:
    """Return each prompt's execution, None if missing. Count wrong numbers and executions without a prompt."""
    numbers = [prompt.key[2] for prompt in stage.prompts]
    real = [execution for execution in stage.executions if not execution.from_plan]
    from_plan = [execution for execution in stage.executions if execution.from_plan]
    result: list[Execution | None] = [None] * len(numbers)
    last = -1
    for execution, at in zip(real, match_executions(numbers, [e.key[2] for e in real]), strict=True):
        if at is None:
            parser.repairs[RepairKind.EXTRA_EXECUTION] += 1
            continue
        misplaced = _has_wrong_number(execution.key, stage, (numbers[at], at + 1)) or at < last
        parser.repairs[RepairKind.WRONG_NUMBER] += misplaced
        result[at], last = _execution(execution), at
    for execution, at in zip(from_plan, match_executions(numbers, [e.key[2] for e in from_plan]), strict=True):
        if at is not None and result[at] is None:
            result[at] = _execution(execution)
    return result


def _execution(written: WrittenExecution) -> Execution:
    return Execution(_clean(written.text), status="truncated" if written.cut else "ok")
