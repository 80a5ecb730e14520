"""The HTTP server on a scripted runtime."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sprint_sgl.errors import RuntimeUnavailable
from sprint_sgl.lang.registry import Method, misfit, named_method
from sprint_sgl.serving.admission import Admission
from sprint_sgl.serving.app import Api
from sprint_sgl.serving.metrics import Metrics
from sprint_sgl.serving.server import GracefulServer
from sprint_sgl.serving.service import Service
from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.scripted import ScriptedBackend, replay

QUESTION = "What is 2 + 3 + 4?"


PLAYED = Trajectory(
    QUESTION,
    (
        Stage(
            (Prompt("Add 2 and 3", "Split it."), Prompt("Name 4")),
            (Execution("2+3=5"), Execution("It is 4, says <\\Plan_1>.")),
            "Then add.",
        ),
        Stage((Prompt("Add 5 and 4"),), (Execution("5+4=9"),)),
    ),
    final_answer="The sum is \\boxed{9}. Done.",
)


SEQUENTIAL = "2+3=5, 5+4=9.</think>The sum is \\boxed{9}."


class Interruptible(ScriptedBackend):
    """A scripted runtime whose requests all end when their run's session is closed."""

    closed: threading.Event
    hangs: bool
    max_new_tokens: int | None  # as the model's folder would say

    def close(self) -> None:
        self.closed.set()

    def get_server_info(self) -> dict:
        return {}

    def seed_warning(self) -> str:
        return "the scripted runtime ignores seeds"

    def _wait(self, seconds: float, request_id: str | None) -> bool:
        return threading.Event().wait(seconds) if self.hangs else self.closed.wait(seconds)


@dataclass
class FakeRuntime:
    """A backend of the server whose model writes `played`; each call takes `pause` seconds."""

    pause: float = 0.0
    down: bool = False
    said: str = "the runtime is being started"
    hangs: bool = False
    room: int = 10**9
    sessions: list[Interruptible] = field(default_factory=list)
    notes: Mapping[str, str] = field(default_factory=dict)
    played: Trajectory = PLAYED
    max_new_tokens: int | None = None
    trained_on: str | None = None

    def model_notes(self, method: Method) -> dict[str, str]:
        unfit = misfit(method, self)
        return {**self.notes, **({"unfit": unfit} if unfit else {})}

    def get_model_name(self) -> str:
        return "mini"

    def session(self, time_limit: float) -> Interruptible:
        if self.down:
            raise RuntimeUnavailable(self.said)
        play = replay(self.played)
        script = lambda context: play(context) if "parallel" in context or "Plan_" in context else SEQUENTIAL  # noqa: E731
        session = Interruptible(script, pause=lambda context: self.pause, room=self.room)
        session.closed, session.hangs = threading.Event(), self.hangs
        session.max_new_tokens = self.max_new_tokens
        self.sessions.append(session)
        return session


@contextmanager
def serving(backend: FakeRuntime, places: int = 4, queue: int = 4, **settings: object) -> Iterator[str]:
    """Yield the address of a server that offers three programs on the backend."""
    names = ("sprint", "sequential", "self_consistency")
    offered = {f"mini:{name}": (named_method(name), backend) for name in names}
    with serving_programs(offered, Admission(places, queue), **settings) as url:
        yield url


@contextmanager
def serving_programs(offered: Mapping[str, tuple[Method, Any]], admission: Admission, **settings: Any) -> Iterator[str]:
    """Yield the address of a server that offers these programs, each on its backend; it runs in a thread."""
    service = Service(offered, admission)
    app = Api(service, Metrics(admission), **{"time_limit": 600.0, **settings}).app()
    server = GracefulServer(app, service, "127.0.0.1", 0, shutdown_limit=1.0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
