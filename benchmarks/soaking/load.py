"""The clients of the soak: they ask and wait, leave early, or send invalid requests. Each request has one outcome."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from benchmarks.fuzzing.request_bodies import PATHS, broken_body
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.tasks.countdown.checker import check_countdown, countdown_problem
from sprint_sgl.tasks.countdown.problem import Problem, draw_problems

CHAT, TEXT, RESPONSES = PATHS
KEY = "soak"
PATIENCE = 900.0  # seconds for which a client retries, longer than restarts take on a busy machine
LONGEST_WAIT = 5.0  # seconds between two tries
RETRY_STATUSES = {429, 503}
LEFT, BROKEN = 0, -1  # in place of a status: the client left; the connection broke
TAGS = " </Question> <Final_answer> \\boxed{1} </Final_answer> <Plan_1> <script>x</script>"


@dataclass
class RequestOutcome:
    """A request from its first try to its end; `statuses` has the status of each try.

    `shown` is the question returned with the answer, `broken` the number of streams that ended with an error.
    """

    number: int
    kind: str
    path: str
    question: str = ""
    begun: float = 0.0
    ended: float = 0.0
    statuses: list[int] = field(default_factory=list)
    broken: int = 0
    answer_id: str = ""
    shown: str = ""
    tokens: int = 0
    right: bool | None = None
    wrong: str = ""  # what was not expected

    @property
    def answered(self) -> bool:
        return bool(self.answer_id)


@dataclass(frozen=True)
class RequestKind:
    """A kind of request; it may end with one of the `expected` statuses."""

    name: str
    weight: int
    path: str
    act: Callable[[Load, RequestOutcome], Awaitable[None]]
    expected: frozenset[int]


class Load:
    """The clients of one server; `outcomes` has every request."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.rng = url, random.Random(seed)
        self.outcomes: list[RequestOutcome] = []
        self.zero = time.monotonic()
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2.0)  # less than the server's own
        headers = {"Authorization": f"Bearer {KEY}"}
        self.http = httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE, limits=limits)
        own = httpx.AsyncClient(timeout=PATIENCE, limits=limits)
        self.openai = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, http_client=own)
        self._problems = problems(seed)

    async def close(self) -> None:
        await self.http.aclose()
        await self.openai.close()

    def now(self) -> float:
        return time.monotonic() - self.zero

    async def client(self, stop: asyncio.Event) -> None:
        """Send requests one after the other until `stop` is set; the last one is completed."""
        while not stop.is_set():
            (kind,) = self.rng.choices(KINDS, [kind.weight for kind in KINDS])
            await self.ask(kind)
            await asyncio.sleep(self.rng.random() * 0.2)

    async def ask(self, kind: RequestKind) -> None:
        """Send one request of this kind, from its first try to its end."""
        outcome = RequestOutcome(len(self.outcomes), kind.name, kind.path, begun=self.now())
        self.outcomes.append(outcome)
        await kind.act(self, outcome)
        outcome.ended = self.now()
        if not outcome.wrong and outcome.statuses[-1] not in kind.expected:
            outcome.wrong = f"ended with {outcome.statuses[-1]}"

    # Questions: retried until they are answered

    async def whole(self, outcome: RequestOutcome) -> None:
        body = self._body(outcome)

        async def once() -> Any:
            reply = await self.openai.chat.completions.create(**body, extra_body={"sprint": {"trajectory": True}})
            return reply.model_dump()

        await self._patiently(outcome, once)

    async def tagged(self, outcome: RequestOutcome) -> None:
        """Ask a question that contains tags. The model was not trained on such questions, so the answer is not
        graded."""
        await self._raw(outcome, {"messages": [{"role": "user", "content": self._question(outcome) + TAGS}]}, TAGS)
        outcome.right = None

    async def text(self, outcome: RequestOutcome) -> None:
        await self._raw(outcome, {"prompt": self._question(outcome)})

    async def responses(self, outcome: RequestOutcome) -> None:
        await self._raw(outcome, {"input": self._question(outcome)})

    async def stream(self, outcome: RequestOutcome) -> None:
        body = self._body(outcome)

        async def once() -> Any:
            last: dict[str, Any] = {}
            chunks = await self.openai.chat.completions.create(
                **body, stream=True, extra_body={"sprint": {"trajectory": True, "events": self.rng.random() < 0.5}}
            )
            async for chunk in chunks:
                last = chunk.model_dump()
            return last

        await self._patiently(outcome, once)

    async def extremes(self, outcome: RequestOutcome) -> None:
        """Ask with values at the limits of what is allowed; the answer is not graded."""
        body = {"prompt": self._question(outcome), "max_tokens": self.rng.choice((1, 3))}
        body |= {"temperature": self.rng.choice((1e-300, 2)), "top_p": self.rng.choice((1e-320, 1.0))}
        await self._raw(outcome, body | {"seed": self.rng.choice((-(2**63), 2**63 - 1, 0))})
        outcome.right = None

    async def _raw(self, outcome: RequestOutcome, body: dict[str, Any], more: str = "") -> None:
        outcome.question += more
        body = {"model": "mini:sprint", "temperature": 0, "sprint": {"trajectory": True}} | body

        async def once() -> Any:
            reply = await self.http.post(outcome.path, json=body)
            reply.raise_for_status()
            return reply.json()

        await self._patiently(outcome, once)

    def _question(self, outcome: RequestOutcome) -> str:
        outcome.question = next(self._problems).question
        return outcome.question

    def _body(self, outcome: RequestOutcome) -> dict[str, Any]:
        messages = [{"role": "user", "content": self._question(outcome)}]
        return {"model": "mini:sprint", "messages": messages, "temperature": 0}

    async def _patiently(self, outcome: RequestOutcome, once: Callable[[], Awaitable[Any]]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                reply = await once()
            except (openai.APIStatusError, httpx.HTTPStatusError) as error:
                outcome.statuses.append(error.response.status_code)
                if error.response.status_code not in RETRY_STATUSES:
                    outcome.wrong = f"{error.response.status_code}: {error.response.text[:200]}"
                    return
                wait = float(error.response.headers.get("retry-after", LONGEST_WAIT))
            except (openai.APIConnectionError, httpx.HTTPError) as error:
                outcome.statuses.append(BROKEN)
                outcome.wrong, wait = f"the connection broke: {error.__cause__ or error!r}", LONGEST_WAIT
            except openai.APIError as error:  # in the middle of a stream
                outcome.statuses.append(200)
                outcome.broken += 1
                if error.code != "runtime_unavailable":
                    outcome.wrong = f"in a stream: {error.code} {error.message[:200]}"
                    return
                wait = LONGEST_WAIT
            else:
                outcome.statuses.append(200)
                record_answer(outcome, reply)
                return
            await asyncio.sleep(min(wait, LONGEST_WAIT) * (0.5 + self.rng.random()))
        outcome.wrong = f"not answered within {PATIENCE:g} s"

    # Clients that leave, and requests that cannot be answered

    async def leave(self, outcome: RequestOutcome) -> None:
        """Leave during the answer or before it; some runs are to continue without their client."""
        sprint: dict[str, Any] = {"time_limit": 60}
        if self.rng.random() < 0.25:
            sprint["stop_on_disconnect"] = False
        body = self._body(outcome) | {"stream": self.rng.random() < 0.7, "sprint": sprint}
        left = self.rng.randrange(1, 12)
        try:
            async with asyncio.timeout(self.rng.uniform(0.05, 4.0)):
                async with self.http.stream("POST", outcome.path, json=body) as reply:
                    outcome.statuses.append(reply.status_code)
                    async for _ in reply.aiter_lines():
                        left -= 1
                        if not left:
                            break
        except TimeoutError:
            pass
        except httpx.HTTPError as error:
            outcome.wrong = f"the connection broke: {error!r}"
        outcome.statuses = outcome.statuses or [LEFT]

    async def late(self, outcome: RequestOutcome) -> None:
        body = self._body(outcome) | {"sprint": {"time_limit": self.rng.choice((0.01, 0.05, 0.3))}}
        await self._once(outcome, json=body)

    async def malformed(self, outcome: RequestOutcome) -> None:
        outcome.path = self.rng.choice(PATHS)
        await self._once(outcome, content=broken_body(self.rng), headers={"Content-Type": "application/json"})

    async def huge_body(self, outcome: RequestOutcome) -> None:
        size = self.rng.randrange(2**20 + 1, 3 * 2**20)
        pieces = [b"x" * 2**16] * (1 + size // 2**16)

        async def undeclared() -> Any:
            for piece in pieces:
                yield piece

        await self._once(outcome, content=b"".join(pieces) if self.rng.random() < 0.5 else undeclared())

    async def huge_question(self, outcome: RequestOutcome) -> None:
        """Ask a question above the limit for questions, or only above the model's context."""
        words = self.rng.choice((8_000, 60_000))
        question = f"{self._question(outcome)} {'12 ' * words}"
        await self._once(outcome, json=self._body(outcome) | {"messages": [{"role": "user", "content": question}]})

    async def unknown_model(self, outcome: RequestOutcome) -> None:
        await self._once(outcome, json=self._body(outcome) | {"model": f"gpt-{self.rng.randrange(9)}"})

    async def wrong_key(self, outcome: RequestOutcome) -> None:
        await self._once(outcome, json=self._body(outcome), headers={"Authorization": "Bearer guessed"})

    async def unknown_path(self, outcome: RequestOutcome) -> None:
        await self._once(outcome, json={})

    async def look(self, outcome: RequestOutcome) -> None:
        outcome.path = self.rng.choice(("/health", "/metrics", "/v1/models", "/"))
        await self._once(outcome, method="GET")

    async def _once(self, outcome: RequestOutcome, method: str = "POST", **request: Any) -> None:
        try:
            reply = await self.http.request(method, outcome.path, **request)
        except httpx.HTTPError as error:
            outcome.statuses.append(BROKEN)
            outcome.wrong = f"the connection broke: {error!r}"
        else:
            outcome.statuses.append(reply.status_code)


def problems(seed: int) -> Iterator[Problem]:
    """Yield problems of three numbers with different texts, so that a text identifies its question."""
    seen: set[str] = set()
    for turn in range(10**6):
        for problem in draw_problems(3, 1_000_003 * seed + turn, 200, held_out=True):
            if problem.question not in seen:
                seen.add(problem.question)
                yield problem


def record_answer(outcome: RequestOutcome, reply: dict[str, Any]) -> None:
    """Record the answer, the question that came with it, and whether it is correct."""
    sprint = reply["sprint"]
    outcome.answer_id, outcome.tokens = reply["id"], sprint["total_tokens"]
    outcome.shown = sprint["trajectory"]["question"]
    if problem := countdown_problem(outcome.question):
        answer = read_answer(sprint["trajectory"]["final_answer"])
        outcome.right = check_countdown(answer, problem.numbers, problem.target).correct


GOOD = ("question", "stream", "tags", "completion", "responses", "extremes")
KINDS = (
    RequestKind("question", 20, CHAT, Load.whole, frozenset({200})),
    RequestKind("stream", 14, CHAT, Load.stream, frozenset({200})),
    RequestKind("tags", 6, CHAT, Load.tagged, frozenset({200})),
    RequestKind("completion", 6, TEXT, Load.text, frozenset({200})),
    RequestKind("responses", 6, RESPONSES, Load.responses, frozenset({200})),
    RequestKind("extremes", 3, TEXT, Load.extremes, frozenset({200})),
    RequestKind("leaves", 12, CHAT, Load.leave, frozenset({LEFT, 200, *RETRY_STATUSES})),
    RequestKind("deadline", 5, CHAT, Load.late, frozenset({504, *RETRY_STATUSES})),
    RequestKind("malformed", 14, CHAT, Load.malformed, frozenset({400})),
    RequestKind("huge body", 3, CHAT, Load.huge_body, frozenset({413})),
    RequestKind("huge question", 3, CHAT, Load.huge_question, frozenset({400, *RETRY_STATUSES})),
    RequestKind("unknown model", 3, CHAT, Load.unknown_model, frozenset({404})),
    RequestKind("wrong key", 3, CHAT, Load.wrong_key, frozenset({401})),
    RequestKind("unknown path", 2, "/v1/nothing", Load.unknown_path, frozenset({404})),
    RequestKind("looks", 3, "/health", Load.look, frozenset({200, 503})),
)
