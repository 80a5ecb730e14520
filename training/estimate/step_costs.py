"""What one training step of a model takes, cached between commands: simulating a step takes ten seconds.

The cache lies in the user's cache folder (~/.cache/sprint-sgl on Linux; SPRINT_CACHE names another) and may be deleted
at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sprint_sgl.runtime.tokenizer import cached_file

if TYPE_CHECKING:
    from training.estimate.simulate import Simulation

Answer = TypeVar("Answer")

# The arguments of ms-swift that a simulation depends on; it gets no others.
SIMULATED_ARGS = (
    *("torch_dtype", "bf16", "deepspeed", "gradient_checkpointing", "use_liger_kernel"),
    *("tuner_type", "lora_rank", "target_modules"),
)
# A simulation's result also depends on these packages and files.
PACKAGES = ("torch", "transformers", "peft")
SOURCES = (Path(__file__), Path(__file__).with_name("simulate.py"))


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters, and the bytes they take.

    total, trained   all parameters, and the trained ones
    linear           frozen parameters in matrices that can be quantised to 4 bits
    """

    total: int
    trained: int
    linear: int
    total_bytes: int
    trained_bytes: int


class StepCosts:
    """Sizes, memory and work of a model under ms-swift's arguments: from the cache, else from a simulated step.

    The first value that is not cached raises BadInput if the model has no config.json.
    """

    def __init__(self, model: Path, args: Mapping[str, Any], folder: Path | None = None) -> None:
        self._model, self._args = str(model), {name: args[name] for name in SIMULATED_ARGS if name in args}
        self._folder = folder or cache_folder()

    @property
    def context(self) -> int:
        """The model's context in tokens."""
        return self._lookup("context", lambda found: found.context)

    @property
    def sizes(self) -> Sizes:
        """Numbers of parameters and their bytes."""
        return self._lookup("sizes", lambda found: found.sizes)

    def activations(self, rows: int, length: int) -> int:
        """Return the peak bytes of a step above weights and gradients, with `rows` rows of `length` tokens."""
        return self._lookup(("activations", rows, length), lambda found: found.activations(rows, length))

    def flops(self, length: int) -> int:
        """Return the floating-point operations of a row: forward, backward, and recomputation by checkpointing."""
        return self._lookup(("flops", length), lambda found: found.flops(length))

    @cached_property
    def _simulation(self) -> Simulation:
        from training.estimate.simulate import Simulation

        return Simulation(self._model, self._args)

    @cached_property
    def _cache(self) -> Any:
        """The cache, None if its folder cannot be written."""
        import diskcache

        with suppress(*_cache_failures()):
            return diskcache.Cache(str(self._folder), timeout=1)
        return None

    @cached_property
    def _key(self) -> str | None:
        """The cache key of this model and these arguments, None if the model's config is not on this machine."""
        if (config := cached_file(self._model, "config.json")) is None:
            return None
        parts = [config.read_bytes().decode(errors="replace"), json.dumps(self._args, sort_keys=True, default=str)]
        parts += [path.read_text() for path in SOURCES]
        parts += [f"{name} {_version(name)}" for name in PACKAGES]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _lookup(self, question: object, ask: Callable[[Simulation], Answer]) -> Answer:
        if self._key is None or self._cache is None:
            return ask(self._simulation)
        key = (self._key, str(question))
        found: Answer | None = None
        with suppress(*_cache_failures()):
            found = self._cache.get(key)
        if found is None:
            found = ask(self._simulation)
            with suppress(*_cache_failures()):
                self._cache.set(key, found)
        return found


def _cache_failures() -> tuple[type[Exception], ...]:
    """Return what diskcache raises if the cache is locked, damaged or not writable: the cache is then not used."""
    import pickle
    import sqlite3

    import diskcache

    return OSError, sqlite3.Error, diskcache.Timeout, pickle.UnpicklingError, EOFError, AttributeError, ImportError


def cache_folder() -> Path:
    """Return the folder of simulated steps: in SPRINT_CACHE, else in the user's cache."""
    from platformdirs import user_cache_path

    own = os.environ.get("SPRINT_CACHE")
    return (Path(own) if own else user_cache_path("sprint-sgl")) / "simulated-steps"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
