"""From nothing to the first streamed token: how long a person waits for `sprint-sgl solve`, and for what.

    python -m benchmarks.cold_start runs=5

Every run starts a server of its own. The imports are timed in processes of their own: the server's go on before
it listens, the command's before the server is started.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.table import Table

from programs.sprint import sprint_program
from sprint_sgl.console import screen
from sprint_sgl.endpoint import Endpoint
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime import DEFAULT_MODEL, RuntimeConfig, connect, running
from sprint_sgl.settings import entry_point

COMMAND_IMPORTS = "import sprint_sgl.cli"
SERVER_IMPORTS = "import sglang.launch_server, sglang.srt.entrypoints.http_server"


@dataclass
class Config:
    runs: int = 5
    model: str = DEFAULT_MODEL
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    question: str = "Use 3, 7, 12 and 25 to make 66"


@dataclass(frozen=True)
class Start:
    """Seconds of one cold start; `ready` runs from the start of the server's process until it answers."""

    command: float
    server_imports: float
    ready: float
    warm_up: float
    first_token: float

    @property
    def total(self) -> float:
        return self.command + self.ready + self.warm_up + self.first_token

    @property
    def parts(self) -> dict[str, float]:
        return {
            "the command: Python and its imports": self.command,
            "the server: Python and sglang's imports": self.server_imports,
            "the server: its processes, the model, until it answers": self.ready - self.server_imports,
            "the first request, which warms it up": self.warm_up,
            "the first token of the plan": self.first_token,
            "all": self.total,
        }


def seconds(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def importing(statement: str) -> float:
    """Seconds of a fresh interpreter that imports something."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True))


def first_token(endpoint: Endpoint, question: str) -> float:
    """Seconds until the first piece of the plan is here; the run goes on to its end."""
    start = time.monotonic()
    pieces: list[float] = []
    run = sprint_program.run(
        question, backend=endpoint, stream=True, watch=lambda branch, text: pieces.append(time.monotonic())
    )
    _ = run.trajectory
    return pieces[0] - start


def cold_start(config: Config) -> Start:
    """One start from nothing. Raises LaunchFailed."""
    command, imports = importing(COMMAND_IMPORTS), importing(SERVER_IMPORTS)
    start = time.monotonic()
    with running(config.model, runtime=config.runtime) as server:
        ready = time.monotonic() - start
        with connect(server.url) as endpoint:
            return Start(command, imports, ready, seconds(endpoint.warm_up), first_token(endpoint, config.question))


def table(starts: list[Start]) -> Table:
    shown = Table(title=f"Cold start, median of {len(starts)}", title_justify="left")
    shown.add_column("what")
    for name in ("seconds", "least", "most"):
        shown.add_column(name, justify="right")
    for part in starts[0].parts:
        values = [start.parts[part] for start in starts]
        shown.add_row(part, *(f"{value:.1f}" for value in (statistics.median(values), min(values), max(values))))
    return shown


@entry_point("cold_start", Config)
def main(config: Config) -> None:
    if config.runs < 1:
        raise BadInput(f"runs must be at least 1, got {config.runs}")
    screen().print(table([cold_start(config) for _ in range(config.runs)]))


if __name__ == "__main__":
    main()
