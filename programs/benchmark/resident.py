"""A runtime that stays up between the jobs of a sweep, changes its weights, and comes back when it has died."""

from __future__ import annotations

import atexit
import time
from contextlib import ExitStack

from sprint_sgl.console import notes
from sprint_sgl.endpoint import Endpoint
from sprint_sgl.errors import RuntimeUnavailable, SprintError
from sprint_sgl.runtime import connect, launch, resolve_model

REVIVALS = 3  # times that a runtime may die in one process
PATIENCE = 300.0  # seconds that we wait for a server that is not ours


class Resident:
    """`runtime` is a name in conf/runtime for a server of our own; with `url` it is somebody else's."""

    def __init__(self, runtime: str | None, url: str | None) -> None:
        self.runtime, self.url = runtime, url
        self._stack = ExitStack()
        self._endpoint: Endpoint | None = None
        self._revivals = 0

    def load(self, model: str) -> Endpoint:
        """The runtime with those weights, warm. Raises SprintError where it cannot be had."""
        path = resolve_model(model)
        if self._endpoint is None:
            self._start(path)
        elif self._endpoint.get_model_name() != path:
            self._swap(path)
        assert self._endpoint is not None
        self._endpoint.warm_up()
        return self._endpoint

    def _start(self, path: str) -> None:
        opened = connect(self.url) if self.url else launch(path, runtime=self.runtime)
        self._endpoint = self._stack.enter_context(opened)
        if self._endpoint.get_model_name() != path:
            self._endpoint.load_weights(path)

    def _swap(self, path: str) -> None:
        """Into the running server, or, where that cannot be (another tokenizer or shape) and it is ours, a new one."""
        assert self._endpoint is not None
        try:
            self._endpoint.load_weights(path)
        except SprintError:
            if self.url:
                raise
            self.close()
            self._start(path)

    def answers(self) -> bool:
        """Whether the runtime can still be spoken to."""
        try:
            return self._endpoint is not None and bool(self._endpoint.get_server_info())
        except SprintError:
            return False

    def revive(self) -> None:
        """Lets the next `load` begin anew, once the runtime can be had. Raises RuntimeUnavailable after some deaths."""
        self._revivals += 1
        if self._revivals > REVIVALS:
            raise RuntimeUnavailable(f"the runtime has died {self._revivals} times; what is finished is kept")
        doing = f"waiting for {self.url}, at most {PATIENCE:g} s" if self.url else "starting it again"
        notes.print(f"the runtime is gone: {doing}", style="yellow", highlight=False)
        self.close()
        deadline = time.monotonic() + PATIENCE
        while self.url:
            try:
                Endpoint(self.url).close()
                return
            except RuntimeUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def close(self) -> None:
        self._stack.close()
        self._endpoint = None


_RESIDENTS: dict[tuple[str | None, str | None], Resident] = {}


def resident(runtime: str | None, url: str | None) -> Resident:
    """This process's runtime of that kind; it ends with the process."""
    if (runtime, url) not in _RESIDENTS:
        _RESIDENTS[runtime, url] = Resident(runtime, url)
        atexit.register(_RESIDENTS[runtime, url].close)
    return _RESIDENTS[runtime, url]
