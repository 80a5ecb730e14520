"""Calls through OpenAI's Batch API: half the price, within a day.

A run with `teacher.batch=true` defers the calls that the cache cannot answer; `submit` sends them, `collect` puts the
replies into the cache, where the next run finds them. A state file in the cache's folder lists the calls of each open
batch. A batch is written there before it is created, with a mark that the endpoint keeps as metadata: after a kill at
any moment the two are compared, so that nothing is paid for twice. A lock serialises processes that share the file.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock
from openai import AsyncOpenAI, NotFoundError
from openai.types import Batch as Job

from curation.teacher.calls import BAD_REQUEST, FAULTS, Reply, ReplyCache, TeacherRequest
from curation.teacher.failures import EndpointFailed, request_fault, translate_errors
from sprint_sgl.storage.files import whole_file

MOST_REQUESTS = 50_000  # the Batch API's limit for one batch
MOST_BYTES = 190_000_000  # its limit is 200 MB
MARK = "sprint_mark"
ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class Batch:
    """Calls that are submitted together.

    mark      identifies the batch in the endpoint's metadata
    prompts   estimated prompt tokens by the request's key
    id        the endpoint's id, None until the endpoint has confirmed the batch
    """

    mark: str
    model: str
    prompts: dict[str, int]
    id: str | None = None


@dataclass(frozen=True)
class Collected:
    """The outcome of `collect` in calls.

    done      replies that are now in the cache
    failed    calls that can be submitted again, whose `reasons` are counted
    pending   calls that still wait
    """

    done: int = 0
    failed: int = 0
    pending: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


async def submit(requests: Iterable[TeacherRequest], state: Path, client: AsyncOpenAI) -> int:
    """Submit the requests that are not in an open batch, and return their number.

    Raises EndpointFailed or CallFailed.
    """
    with _lock(state):
        batches = await _confirm(state, client)
        waiting, count = {key for batch in batches for key in batch.prompts}, 0
        for chunk in split_into_batches(request for request in requests if request.key not in waiting):
            batch = Batch(token_hex(16), chunk[0].model, {call.key: call.prompt_tokens for call in chunk})
            _store(state, [*batches, batch])
            batches.append(replace(batch, id=await _create(batch, [call.line for call in chunk], state, client)))
            _store(state, batches)
            count += len(chunk)
    return count


async def collect(
    state: Path, client: AsyncOpenAI, cache: ReplyCache, discount: float, every: float | None = None
) -> Collected:
    """Put the replies of ended batches into the cache. Failed and expired calls can then be submitted again.

    discount   share of the price that a batch saves
    every      seconds between two polls until no call waits; None polls once
    Raises EndpointFailed or CallFailed.
    """
    done, reasons = 0, Counter[str]()
    while True:
        with _lock(state):
            batches = await _confirm(state, client)
            for batch in batches:
                job = await _job(batch, state, client)
                if job.status in ENDED:
                    replies, refusals = await _results(batch, job, client, 1 - discount)
                    for key, reply in replies.items():
                        cache.put(key, reply)
                    done, reasons = done + len(replies), reasons + refusals
                    batches = [other for other in batches if other is not batch]
                    _store(state, batches)
        if every is None or not batches:
            return Collected(done, reasons.total(), sum(len(batch.prompts) for batch in batches), reasons)
        await asyncio.sleep(every)


def pending_keys(state: Path) -> set[str]:
    """Return the keys of the requests that wait in batches."""
    return {key for batch in _read(state) for key in batch.prompts}


@dataclass(frozen=True)
class BatchLine:
    """A request as a line of a batch's input file."""

    model: str
    key: str
    prompt_tokens: int
    line: str


def split_into_batches(
    requests: Iterable[TeacherRequest], most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES
) -> Iterator[list[BatchLine]]:
    """Yield the lines of each batch: one model, within the limits of size."""
    opened: dict[str, list[BatchLine]] = {}
    sizes = Counter[str]()
    for request in requests:
        call = BatchLine(request.model, request.key, request.prompt_tokens, _input_line(request))
        full = len(opened.get(call.model, ())) == most_requests or sizes[call.model] + len(call.line) > most_bytes
        if full and call.model in opened:
            yield opened.pop(call.model)
            sizes[call.model] = 0
        opened.setdefault(call.model, []).append(call)
        sizes[call.model] += len(call.line)
    yield from opened.values()


def _input_line(request: TeacherRequest) -> str:
    """Return the line in ASCII, so that its length is its number of bytes."""
    call = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": request.body}
    return json.dumps(call) + "\n"


# The state


def _lock(state: Path) -> FileLock:
    """Return the lock of the state file, for which other processes, such as shards with the same cache, wait."""
    state.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(state.with_suffix(".lock"))


def _read(state: Path) -> list[Batch]:
    return [Batch(**batch) for batch in json.loads(state.read_text())] if state.exists() else []


def _store(state: Path, batches: Iterable[Batch]) -> None:
    with whole_file(state) as file:
        json.dump([asdict(batch) for batch in batches], file)


async def _confirm(state: Path, client: AsyncOpenAI) -> list[Batch]:
    """Return the batches that exist. A batch whose creation was interrupted is looked up at the endpoint."""
    batches = _read(state)
    if not any(batch.id is None for batch in batches):
        return batches
    ids = await _ids_by_mark({batch.mark for batch in batches if batch.id is None}, client, batches[0].model)
    batches = [replace(batch, id=batch.id or ids.get(batch.mark)) for batch in batches]
    batches = [batch for batch in batches if batch.id]
    _store(state, batches)
    return batches


# The endpoint


async def _ids_by_mark(marks: set[str], client: AsyncOpenAI, model: str) -> dict[str, str]:
    """Return the endpoint's ids of the batches with these marks; a mark that the endpoint does not know is left out."""
    ids: dict[str, str] = {}
    with translate_errors(client, model):
        async for job in client.batches.list(limit=100):
            if (mark := (job.metadata or {}).get(MARK)) in marks:
                ids[str(mark)] = job.id
            if len(ids) == len(marks):
                break
    return ids


async def _create(batch: Batch, lines: Iterable[str], state: Path, client: AsyncOpenAI) -> str:
    path = state.with_name(f"{batch.mark}.jsonl")
    try:
        with whole_file(path) as file:
            file.writelines(lines)
        with translate_errors(client, batch.model):
            upload = await client.files.create(file=path, purpose="batch")
            # A retry by the client after a lost answer would create and bill a second batch.
            job = await client.with_options(max_retries=0).batches.create(
                input_file_id=upload.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={MARK: batch.mark},
            )
    finally:
        path.unlink(missing_ok=True)
    return job.id


async def _job(batch: Batch, state: Path, client: AsyncOpenAI) -> Job:
    with translate_errors(client, batch.model):
        try:
            return await client.batches.retrieve(str(batch.id))
        except NotFoundError as error:
            raise EndpointFailed(
                f"{client.base_url} knows no batch {batch.id}: it belongs to another key, or is lost. Remove it from "
                f"{state} to submit its {len(batch.prompts)} calls again"
            ) from error


async def _results(batch: Batch, job: Job, client: AsyncOpenAI, share: float) -> tuple[dict[str, Reply], Counter[str]]:
    """Return the replies by key, and the reasons why the batch's other calls have none, counted.

    A bad request counts as a reply, so that it is not submitted again, only if other requests of the batch were
    answered: otherwise the settings may be at fault.
    """
    replies: dict[str, Reply] = {}
    reasons = dict.fromkeys(batch.prompts, _missing_reason(job))
    async for result in _result_rows(batch, job, client):
        key = str(result.get("custom_id"))
        if key in batch.prompts:
            outcome = _outcome(result, batch.prompts[key], share)
            if isinstance(outcome, Reply):
                replies[key] = outcome
            else:
                reasons[key] = outcome
    if all(reply.end in FAULTS for reply in replies.values()):
        for key in [key for key, reply in replies.items() if reply.end == BAD_REQUEST]:
            reasons[key] = f"{BAD_REQUEST}, {replies.pop(key).text[:80]}"
    return replies, Counter(reason for key, reason in reasons.items() if key not in replies)


def _missing_reason(job: Job) -> str:
    """Return why a call of an ended batch has no result."""
    errors = (job.errors.data if job.errors else None) or []
    missing = "no result" if job.status == "completed" else f"batch {job.status}"
    return next((error.code for error in errors if error.code), missing)


async def _result_rows(batch: Batch, job: Job, client: AsyncOpenAI) -> AsyncIterator[dict[str, Any]]:
    for file in filter(None, (job.output_file_id, job.error_file_id)):
        with translate_errors(client, batch.model):
            content = await client.files.content(file)
        for line in content.text.split("\n"):
            yield _parse_object(line)


def _parse_object(line: str) -> dict[str, Any]:
    """Parse a JSON object; return {} if the line is not one."""
    try:
        value = json.loads(line or "{}")
    except json.JSONDecodeError:
        return {}
    return _dict_or_empty(value)


def _outcome(result: dict[str, Any], prompt_tokens: int, share: float) -> Reply | str:
    """Return the reply in one row of a batch's results, or why it has none.

    The error of a request that is itself at fault is a reply, so that the request is not submitted again.
    """
    response = _dict_or_empty(result.get("response"))
    status, body = response.get("status_code"), response.get("body")
    if status == 200:
        reply = Reply.of(body, prompt_tokens, share)
        return reply if reply and not reply.empty else "empty reply"
    error = _dict_or_empty(body).get("error") or result.get("error") or body
    code, message = (_dict_or_empty(error).get(name) for name in ("code", "message"))
    if fault := request_fault(code, message) or (BAD_REQUEST if status in (400, 413, 422) else None):
        return Reply(str(message or error), fault, 0, 0)
    return str(code or f"HTTP {status}")


def _dict_or_empty(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
