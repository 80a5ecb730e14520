"""Imports of large packages without the parts of them that are not used here.

SGLang's server imports 8,800 modules, of which a runtime on CPU cores needs half. Optional packages are hidden; modules
that it requires but never uses on a CPU are replaced by placeholders.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any


class _PlaceholderType(type):
    """Attributes of a placeholder class are placeholders, too: annotations and decorators read them at import time."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return placeholder(f"{cls.__module__}.{cls.__qualname__}", name)


class _Placeholder(metaclass=_PlaceholderType):
    """An object that decorators can create at import time; reading an attribute raises an ImportError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        kind = type(self)
        raise ImportError(
            f"{kind.__module__}.{kind.__qualname__} was left out of this process to start faster; "
            "a runtime with preloaded=false has it"
        )


def placeholder(module: str, name: str) -> type:
    """Return a class that can be named, subclassed, instantiated and asked for in isinstance, and does nothing."""
    return _PlaceholderType(name, (_Placeholder,), {"__module__": module})


class _PlaceholderModule(ModuleType):
    """A module in which every name is a placeholder."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = placeholder(self.__name__, name)
        setattr(self, name, value)
        return value


class _Placeholders(MetaPathFinder, Loader):
    """Finds a placeholder for each of the named modules and for every module below them.

    It is switched off rather than taken out of sys.meta_path, which other threads may be iterating over. If `thread` is
    given, only that thread gets placeholders.
    """

    def __init__(self, names: Sequence[str], thread: int | None = None) -> None:
        self._names, self._thread, self.on = tuple(names), thread, True
        self.made: dict[str, ModuleType] = {}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not self.on or self._thread not in (None, threading.get_ident()):
            return None
        if any(fullname == name or fullname.startswith(f"{name}.") for name in self._names):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.made.setdefault(spec.name, _PlaceholderModule(spec.name))

    def exec_module(self, module: ModuleType) -> None:
        pass


def leave_out(absent: Sequence[str] = (), placeholders: Sequence[str] = ()) -> None:
    """Hide the `absent` packages from this process, and give it placeholders for the other modules.

    Modules that have been imported before stay as they are.
    """
    for name in absent:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's own sign for "not there"
    if placeholders:
        sys.meta_path.insert(0, _Placeholders(placeholders))


@contextmanager
def leaving_out(placeholders: Sequence[str]) -> Iterator[None]:
    """Use placeholders for these modules inside the `with`, in this thread; later imports find the real modules."""
    finder = _Placeholders(placeholders, threading.get_ident())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.on = False
        for name, module in finder.made.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
            package, _, own = name.rpartition(".")
            parent = vars(sys.modules.get(package, module))
            if parent.get(own) is module:
                del parent[own]


class _NoCompiler(ModuleType):
    """A replacement for torch._dynamo whose decorators change nothing."""

    def __init__(self) -> None:
        super().__init__("torch._dynamo")
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(self.__name__, None, is_package=True)
        self.config = SimpleNamespace()
        self.trace_rules = SimpleNamespace(clear_lru_cache=lambda: None)  # torch.distributed calls it

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "is_")):
            raise AttributeError(name)
        return undecorated


def undecorated(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return the function itself or, called without one, a decorator that does: torch.compile is used in both ways."""
    return function if function is not None else lambda decorated: decorated


def compile_nothing() -> None:
    """Make torch.compile and torch's other compiler decorators do nothing in this process, without loading them."""
    import torch

    torch.compile = undecorated  # type: ignore[assignment]
    torch._dynamo = sys.modules.setdefault("torch._dynamo", _NoCompiler())
    leave_out(placeholders=["torch._dynamo"])  # of which these are the submodules
