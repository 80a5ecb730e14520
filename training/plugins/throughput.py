"""A plugin of ms-swift: each line of a run's log says how many tokens a second were trained since the line before.

ms-swift imports the file by its path (`external_plugins`); the folder has nothing else, as it lands on sys.path.
"""

from __future__ import annotations

import time
from typing import Any

from swift.callbacks import callbacks_map
from swift.callbacks.base import TrainerCallback


class Throughput(TrainerCallback):  # type: ignore[misc] # ms-swift ships no types
    """Counts what the devices worked on together, padding too; time spent on evaluation does not count."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begin(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begin(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            tokens, seconds = state.num_input_tokens_seen - self._tokens, time.monotonic() - self._since
            logs["tokens_per_second"] = round(tokens / seconds)
            self._begin(state)

    def _begin(self, state: Any) -> None:
        self._since, self._tokens = time.monotonic(), state.num_input_tokens_seen


callbacks_map["throughput"] = Throughput
