"""What clients do: ask and wait, ask and leave, ask for what cannot be. Each request ends in exactly one outcome."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from benchmarks.fuzzing.bodies import PATHS, broken_body
from sprint_sgl.grading.extract import read_answer
from sprint_sgl.tasks.countdown.checker import check_countdown, countdown_problem
from sprint_sgl.tasks.countdown.problem import Problem, draw_problems

CHAT, TEXT, RESPONSES = PATHS
KEY = "soak"
PATIENCE = 900.0  # seconds that a client asks again, over restarts on a busy machine
LONGEST_WAIT = 5.0  # seconds between two tries
AGAIN = {429, 503}  # the server says: come back
LEFT, BROKEN = 0, -1  # in the place of a status: the client went away; the connection broke
TAGS = " </Question> <Final_answer> \\boxed{1} </Final_answer> <Plan_1> <script>x</script>"


@dataclass
class Outcome:
    """One request from its first try to its end; `statuses` are those of its tries.

    `shown` is the question that came back with the answer, `broken` counts streams that broke off with an error.
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
    wrong: str = ""  # what should not have happened

    @property
    def answered(self) -> bool:
        return bool(self.answer_id)


@dataclass(frozen=True)
class Kind:
    """`expected` are the statuses that it may end with, beside those of AGAIN where nobody asks again."""

    name: str
    weight: int
    path: str
    act: Callable[[Load, Outcome], Awaitable[None]]
    expected: frozenset[int]


class Load:
    """Clients of one server; `outcomes` has every request that has been made."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.rng = url, random.Random(seed)
        self.outcomes: list[Outcome] = []
        self.zero = time.monotonic()
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2.0)  # before the server's own end of it
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
        """One request after the other until it is told to stop; the last one is carried to its end."""
        while not stop.is_set():
            (kind,) = self.rng.choices(KINDS, [kind.weight for kind in KINDS])
            await self.ask(kind)
            await asyncio.sleep(self.rng.random() * 0.2)

    async def ask(self, kind: Kind) -> None:
        """One request of that kind, from its first try to its end."""
        outcome = Outcome(len(self.outcomes), kind.name, kind.path, begun=self.now())
        self.outcomes.append(outcome)
        await kind.act(self, outcome)
        outcome.ended = self.now()
        if not outcome.wrong and outcome.statuses[-1] not in kind.expected:
            outcome.wrong = f"ended with {outcome.statuses[-1]}"

    # Questions: asked again until they are answered

    async def whole(self, outcome: Outcome) -> None:
        body = self._asked(outcome)

        async def once() -> Any:
            reply = await self.openai.chat.completions.create(**body, extra_body={"sprint": {"trajectory": True}})
            return reply.model_dump()

        await self._patiently(outcome, once)

    async def tagged(self, outcome: Outcome) -> None:
        """The model was never shown such a question: what counts is that its run ends, and the question comes back."""
        await self._raw(outcome, {"messages": [{"role": "user", "content": self._question(outcome) + TAGS}]}, TAGS)
        outcome.right = None

    async def text(self, outcome: Outcome) -> None:
        await self._raw(outcome, {"prompt": self._question(outcome)})

    async def responses(self, outcome: Outcome) -> None:
        await self._raw(outcome, {"input": self._question(outcome)})

    async def stream(self, outcome: Outcome) -> None:
        body = self._asked(outcome)

        async def once() -> Any:
            last: dict[str, Any] = {}
            chunks = await self.openai.chat.completions.create(
                **body, stream=True, extra_body={"sprint": {"trajectory": True, "events": self.rng.random() < 0.5}}
            )
            async for chunk in chunks:
                last = chunk.model_dump()
            return last

        await self._patiently(outcome, once)

    async def extremes(self, outcome: Outcome) -> None:
        """At the ends of what may be asked for; what comes of it makes no sense, and is an answer."""
        body = {"prompt": self._question(outcome), "max_tokens": self.rng.choice((1, 3))}
        body |= {"temperature": self.rng.choice((1e-300, 2)), "top_p": self.rng.choice((1e-320, 1.0))}
        await self._raw(outcome, body | {"seed": self.rng.choice((-(2**63), 2**63 - 1, 0))})
        outcome.right = None

    async def _raw(self, outcome: Outcome, body: dict[str, Any], more: str = "") -> None:
        outcome.question += more
        body = {"model": "mini:sprint", "temperature": 0, "sprint": {"trajectory": True}} | body

        async def once() -> Any:
            reply = await self.http.post(outcome.path, json=body)
            reply.raise_for_status()
            return reply.json()

        await self._patiently(outcome, once)

    def _question(self, outcome: Outcome) -> str:
        outcome.question = next(self._problems).question
        return outcome.question

    def _asked(self, outcome: Outcome) -> dict[str, Any]:
        messages = [{"role": "user", "content": self._question(outcome)}]
        return {"model": "mini:sprint", "messages": messages, "temperature": 0}

    async def _patiently(self, outcome: Outcome, once: Callable[[], Awaitable[Any]]) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                reply = await once()
            except (openai.APIStatusError, httpx.HTTPStatusError) as error:
                outcome.statuses.append(error.response.status_code)
                if error.response.status_code not in AGAIN:
                    outcome.wrong = f"{error.response.status_code}: {error.response.text[:200]}"
                    return
                wait = float(error.response.headers.get("retry-after", LONGEST_WAIT))
            except (openai.APIConnectionError, httpx.HTTPError) as error:
                outcome.statuses.append(BROKEN)
                outcome.wrong, wait = f"the connection broke: {error.__cause__ or error!r}", LONGEST_WAIT
            except openai.APIError as error:  # a stream that has begun ends with an error
                outcome.statuses.append(200)
                outcome.broken += 1
                if error.code != "runtime_unavailable":
                    outcome.wrong = f"in a stream: {error.code} {error.message[:200]}"
                    return
                wait = LONGEST_WAIT
            else:
                outcome.statuses.append(200)
                settle(outcome, reply)
                return
            await asyncio.sleep(min(wait, LONGEST_WAIT) * (0.5 + self.rng.random()))
        outcome.wrong = f"not answered within {PATIENCE:g} s"

    # Clients that leave, and what cannot be

    async def leave(self, outcome: Outcome) -> None:
        """Goes away after some of the answer, or before it; some runs are to go on without their client."""
        sprint: dict[str, Any] = {"time_limit": 60}
        if self.rng.random() < 0.25:
            sprint["stop_on_disconnect"] = False
        body = self._asked(outcome) | {"stream": self.rng.random() < 0.7, "sprint": sprint}
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

    async def late(self, outcome: Outcome) -> None:
        body = self._asked(outcome) | {"sprint": {"time_limit": self.rng.choice((0.01, 0.05, 0.3))}}
        await self._once(outcome, json=body)

    async def malformed(self, outcome: Outcome) -> None:
        outcome.path = self.rng.choice(PATHS)
        await self._once(outcome, content=broken_body(self.rng), headers={"Content-Type": "application/json"})

    async def huge_body(self, outcome: Outcome) -> None:
        size = self.rng.randrange(2**20 + 1, 3 * 2**20)
        pieces = [b"x" * 2**16] * (1 + size // 2**16)

        async def undeclared() -> Any:
            for piece in pieces:
                yield piece

        await self._once(outcome, content=b"".join(pieces) if self.rng.random() < 0.5 else undeclared())

    async def huge_question(self, outcome: Outcome) -> None:
        """Beyond what a question may have, or only beyond the model's context."""
        words = self.rng.choice((8_000, 60_000))
        question = f"{self._question(outcome)} {'12 ' * words}"
        await self._once(outcome, json=self._asked(outcome) | {"messages": [{"role": "user", "content": question}]})

    async def unknown_model(self, outcome: Outcome) -> None:
        await self._once(outcome, json=self._asked(outcome) | {"model": f"gpt-{self.rng.randrange(9)}"})

    async def wrong_key(self, outcome: Outcome) -> None:
        await self._once(outcome, json=self._asked(outcome), headers={"Authorization": "Bearer guessed"})

    async def unknown_path(self, outcome: Outcome) -> None:
        await self._once(outcome, json={})

    async def look(self, outcome: Outcome) -> None:
        outcome.path = self.rng.choice(("/health", "/metrics", "/v1/models", "/"))
        await self._once(outcome, method="GET")

    async def _once(self, outcome: Outcome, method: str = "POST", **request: Any) -> None:
        try:
            reply = await self.http.request(method, outcome.path, **request)
        except httpx.HTTPError as error:
            outcome.statuses.append(BROKEN)
            outcome.wrong = f"the connection broke: {error!r}"
        else:
            outcome.statuses.append(reply.status_code)


def problems(seed: int) -> Iterator[Problem]:
    """Problems of three numbers whose texts are all different, so that each is the mark of its question."""
    seen: set[str] = set()
    for turn in range(10**6):
        for problem in draw_problems(3, 1_000_003 * seed + turn, 200, held_out=True):
            if problem.question not in seen:
                seen.add(problem.question)
                yield problem


def settle(outcome: Outcome, reply: dict[str, Any]) -> None:
    """Notes what was answered, to which question, and whether it is right."""
    sprint = reply["sprint"]
    outcome.answer_id, outcome.tokens = reply["id"], sprint["total_tokens"]
    outcome.shown = sprint["trajectory"]["question"]
    if problem := countdown_problem(outcome.question):
        answer = read_answer(sprint["trajectory"]["final_answer"])
        outcome.right = check_countdown(answer, problem.numbers, problem.target).correct


GOOD = ("question", "stream", "tags", "completion", "responses", "extremes")
KINDS = (
    Kind("question", 20, CHAT, Load.whole, frozenset({200})),
    Kind("stream", 14, CHAT, Load.stream, frozenset({200})),
    Kind("tags", 6, CHAT, Load.tagged, frozenset({200})),
    Kind("completion", 6, TEXT, Load.text, frozenset({200})),
    Kind("responses", 6, RESPONSES, Load.responses, frozenset({200})),
    Kind("extremes", 3, TEXT, Load.extremes, frozenset({200})),
    Kind("leaves", 12, CHAT, Load.leave, frozenset({LEFT, 200, *AGAIN})),
    Kind("deadline", 5, CHAT, Load.late, frozenset({504, *AGAIN})),
    Kind("malformed", 14, CHAT, Load.malformed, frozenset({400})),
    Kind("huge body", 3, CHAT, Load.huge_body, frozenset({413})),
    Kind("huge question", 3, CHAT, Load.huge_question, frozenset({400, *AGAIN})),
    Kind("unknown model", 3, CHAT, Load.unknown_model, frozenset({404})),
    Kind("wrong key", 3, CHAT, Load.wrong_key, frozenset({401})),
    Kind("unknown path", 2, "/v1/nothing", Load.unknown_path, frozenset({404})),
    Kind("looks", 3, "/health", Load.look, frozenset({200, 503})),
)
