"""Values from what models write: `parse` for whole trajectories, `read_plan` and `read_execution` for single calls.

Nothing here raises on a text: what is malformed is repaired by the rules of `RepairKind` and counted by kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sprint_sgl.protocol.elements import WrittenExecution, WrittenStage
from sprint_sgl.protocol.lexer import Key, Tag, find_tags, strip_partial_tag, strip_tags, unescape_tags
from sprint_sgl.protocol.parser import TagParser
from sprint_sgl.protocol.repairs import RepairKind, Repairs, sort_repairs
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory


@dataclass(frozen=True)
class PlanText:
    """What one planner call wrote into a plan: prompts, the text after them, the answer if it gave one."""

    prompts: tuple[Prompt, ...] = ()
    tail: str = ""
    answer: str | None = None
    repairs: Repairs = ()


def parse(text: str) -> Trajectory:
    """The trajectory that a text holds, whole or cut off; for every str. `parse(render(t)) == t`.

    An instruction may precede the question. A text without any plan is a sequential one: `thought` holds it.
    """
    whole = strip_partial_tag(text)
    reader = TagParser()
    question, begin = _read_question(whole, reader)
    reader.read(whole[begin:])
    cut = text[len(whole) :]
    if reader.thought_closed and _is_sequential(reader):  # no tag is due after such a thought: its answer may end so
        reader.after.append(cut)
        cut = ""
    reader.finish(bool(cut))
    thought = _thought(reader)
    stages = () if thought else tuple(_stage(stage, reader) for stage in reader.stages)
    reader.count(RepairKind.EXTRA_EXECUTION, sum(len(stage.executions) for stage in reader.homeless))
    after = _clean("".join(reader.after))
    if reader.answer is None and not (thought and after):
        reader.count(RepairKind.MISSING_ANSWER)
    return Trajectory(
        question=_clean(question),
        stages=tuple(stage for stage in stages if stage),
        final_answer=after if reader.answer is None else _clean(reader.answer),
        thought=thought,
        repairs=sort_repairs(reader.repairs),
    )


def read_plan(body: str, i: int, first: int = 1, closed_by: str = "") -> PlanText:
    """What a planner wrote inside plan i in one call, its prompts numbered from `first`.

    body        may begin with `<Plan_i>`; the tag whose beginning ended the call is cut off
    closed_by   that stop string; "length" or "abort" where the call was cut off, "" where the model made an end.
                With "</prompt_" the last prompt is well-formed.
    """
    cut = closed_by in ("length", "abort")
    reader = TagParser(live=True, base=i)
    reader.begin_plan(i)
    inside = _strip_own_opening(strip_partial_tag(body) if cut else body, i, reader)
    reader.read(inside + _closing_tag(inside, i, first, closed_by))
    reader.finish_plan(cut, ended=closed_by == "")
    stage = reader.stages[0]
    prompts, tail = _prompts(stage, first, reader)
    answer = "".join(reader.after).strip() or None if reader.answer is None else reader.answer
    if first == 1 and stage.prompts and not any(tag.kind == "plan" and not tag.closing for tag in find_tags(body)):
        reader.count(RepairKind.UNOPENED)
    if first == 1 and not (stage.prompts or cut or answer is not None):
        reader.count(RepairKind.NO_PROMPT if tail else RepairKind.EMPTY_PLAN)
    kept = tuple(prompt for prompt in prompts if prompt)
    if answer and not strip_tags(answer):
        answer = ""  # a tag alone says nothing
    return PlanText(kept, tail, None if answer is None else _clean(answer), sort_repairs(reader.repairs))


def read_execution(raw: str) -> tuple[str, Repairs]:
    """An executor's text and its repairs. Tags in it stay as text: `render` neutralises them."""
    tags = find_tags(raw)
    begin = 0
    for tag in tags:
        if tag.closing or tag.kind not in ("block", "execution") or raw[begin : tag.start].strip():
            break
        begin = tag.end
    return _clean(raw[begin:]), sort_repairs(Counter({RepairKind.NESTED.value: len(tags)}))


def match_executions(prompts: Sequence[int | None], executions: Sequence[int | None]) -> list[int | None]:
    """For each execution the index of its prompt, or None; both are given by their written numbers.

    An execution belongs to the prompt of its number; if its number is missing, names no prompt or is repeated,
    to the prompt at its own place where that is free. But if such executions are numbered 1 to n for n prompts,
    they belong to them in order, and if there are more or fewer executions than prompts, a repeated number is not
    guessed at: the first execution keeps it, the others have no prompt.
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


def _read_question(text: str, reader: TagParser) -> tuple[str, int]:
    """The question as it is written, and where the thought begins.

    An instruction before it may name the tags too, so it is the last question before the thought or the first plan.
    """
    tags = find_tags(text)
    head = _question_tags(text, tags)
    closing = next((tag for tag in reversed(head) if tag.kind == "question" and tag.closing), None)
    before = [tag for tag in head if closing is None or tag.start < closing.start]
    opening = next((tag for tag in reversed(before) if tag.kind == "question" and not tag.closing), None)
    reader.count(RepairKind.VARIANT, sum(tag.variant for tag in (opening, closing) if tag))
    if closing:
        reader.count(RepairKind.UNOPENED, opening is None)
        reader.count(RepairKind.NESTED, sum(tag.start > opening.start for tag in before) if opening else 0)
        return text[opening.end if opening else 0 : closing.start], closing.end
    if opening:
        end = next((tag.start for tag in tags if tag.start >= opening.end), len(text))
        reader.count(RepairKind.UNCLOSED if end < len(text) else RepairKind.TRUNCATED)
        return text[opening.end : end], end
    return "", next((tag.start for tag in head if tag.kind == "think" and not tag.closing), 0)


def _question_tags(text: str, tags: Sequence[Tag]) -> Sequence[Tag]:
    """The tags up to the first `</Question>` that a `<think>` follows at once, else up to the first plan."""
    for index, (tag, after) in enumerate(pairwise(tags), 1):
        ends = tag.kind == "question" and tag.closing and after.kind == "think" and not after.closing
        if ends and not text[tag.end : after.start].strip():
            return tags[:index]
    return tags[: next((index for index, tag in enumerate(tags) if tag.i is not None), len(tags))]


def _strip_own_opening(body: str, i: int, reader: TagParser) -> str:
    """The body without the opening tag of its own plan."""
    tag = next(iter(find_tags(body)), None)
    if tag is None or tag.closing or tag.kind != "plan" or body[: tag.start].strip():
        return body
    reader.count(RepairKind.VARIANT, tag.variant)
    reader.count(RepairKind.WRONG_NUMBER, tag.i not in (None, i))
    return body[tag.end :]


def _closing_tag(body: str, i: int, first: int, closed_by: str) -> str:
    """The tag that ended the call; a stop string holds only its beginning."""
    if closed_by == "</prompt_":
        opened = [tag for tag in find_tags(body) if tag.kind == "prompt" and not tag.closing and tag.j is not None]
        return f"</prompt_{opened[-1].i}.{opened[-1].j}>" if opened else f"</prompt_{i}.{first}>"
    numbers = {"</Plan_": f"{i}>", "</Execution_": f"{i}>", "</execution_": f"{i}.{first}>"}
    return closed_by + numbers.get(closed_by, "") if closed_by.startswith("</") else ""


def _is_sequential(reader: TagParser) -> bool:
    return not any(stage.written or stage.prompts or stage.blocked for stage in reader.stages)


def _thought(reader: TagParser) -> str:
    """The text of a sequential trajectory, which has no plans; its text is not stray."""
    if not _is_sequential(reader):
        return ""
    reader.repairs.pop(RepairKind.STRAY_TEXT.value, None)
    return _clean("\n".join(stage.tail for stage in reader.stages))


def _stage(written: WrittenStage, reader: TagParser) -> Stage | None:
    """The stage as it should have been written, or None if there is nothing of it."""
    reader.count(RepairKind.WRONG_NUMBER, written.written and written.number not in (None, written.position))
    prompts, tail = _prompts(written, 1, reader)
    executions = _executions(written, reader)
    kept = [(prompt, execution) for prompt, execution in zip(prompts, executions, strict=True) if prompt]
    reader.count(RepairKind.MISSING_EXECUTION, sum(execution is None for _, execution in kept))
    if not (written.prompts or written.noted or written.excused) and written.written:
        reader.count(RepairKind.NO_PROMPT if tail else RepairKind.EMPTY_PLAN)
    if not (kept or tail or (written.noted and written.written)):
        return None
    failed = Execution("", status="failed")
    return Stage(tuple(prompt for prompt, _ in kept), tuple(execution or failed for _, execution in kept), tail)


def _prompts(stage: WrittenStage, first: int, reader: TagParser) -> tuple[list[Prompt | None], str]:
    """A prompt for each that is written, None for an empty one, and the tail. Counts what is wrong with them."""
    prompts: list[Prompt | None] = []
    carried = ""
    for j, written in enumerate(stage.prompts, first):
        reader.count(RepairKind.WRONG_NUMBER, _has_wrong_number(written.key, stage, (j,)))
        lead = _join_lines(carried, _clean(written.lead))
        text = _clean(written.text)
        prompts.append(Prompt(text, lead) if text else None)
        carried = "" if text else lead
    reader.count(RepairKind.EMPTY_PROMPT, prompts.count(None))
    return prompts, _join_lines(carried, _clean(stage.tail))


def _join_lines(*pieces: str) -> str:
    return "\n".join(piece for piece in pieces if piece)


def _has_wrong_number(key: Key, stage: WrittenStage, places: Sequence[int | None]) -> bool:
    _, i, j = key
    return i not in (None, *stage.numbers) or j not in (None, *places)


def _executions(stage: WrittenStage, reader: TagParser) -> list[Execution | None]:
    """The execution of each prompt that is written, in their order. Counts wrong numbers and superfluous ones."""
    numbers = [prompt.key[2] for prompt in stage.prompts]
    real = [execution for execution in stage.executions if not execution.spare]
    spare = [execution for execution in stage.executions if execution.spare]
    result: list[Execution | None] = [None] * len(numbers)
    last = -1
    for execution, at in zip(real, match_executions(numbers, [e.key[2] for e in real]), strict=True):
        if at is None:
            reader.count(RepairKind.EXTRA_EXECUTION)
            continue
        misplaced = _has_wrong_number(execution.key, stage, (numbers[at], at + 1)) or at < last
        reader.count(RepairKind.WRONG_NUMBER, misplaced)
        result[at], last = _execution(execution), at
    for execution, at in zip(spare, match_executions(numbers, [e.key[2] for e in spare]), strict=True):
        if at is not None and result[at] is None:
            result[at] = _execution(execution)
    return result


def _execution(written: WrittenExecution) -> Execution:
    return Execution(_clean(written.text), status="truncated" if written.cut else "ok")
