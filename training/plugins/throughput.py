"""A plugin of ms-swift: adds tokens and tokens per second to each line of a run's log that has a loss.

ms-swift imports this file by its path (`external_plugins`) and puts the folder on sys.path, so the folder holds plugins
only.
"""

from __future__ import annotations

import time
from typing import Any

from swift.callbacks import callbacks_map
from swift.callbacks.base import TrainerCallback


class Throughput(TrainerCallback):  # type: ignore[misc] # ms-swift ships no types
    """Count the tokens of all devices, padding included, without the time spent on evaluation."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # TensorBoard's and W&B's callbacks run before plugins, and need the complete log line.
        callbacks = self.trainer.callback_handler.callbacks
        callbacks.remove(self)
        callbacks.insert(0, self)
        self._begin(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begin(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            logs["tokens"] = self._seen(state)
            logs["tokens_per_second"] = round((logs["tokens"] - self._tokens) / (time.monotonic() - self._since))
            self._begin(state)

    def _begin(self, state: Any) -> None:
        self._since, self._tokens = time.monotonic(), self._seen(state)

    def _seen(self, state: Any) -> int:
        """Return the tokens seen. transformers counts a row once for each device that has a part of it."""
        return int(state.num_input_tokens_seen) // int(self.trainer.template.sequence_parallel_size)


callbacks_map["throughput"] = Throughput
