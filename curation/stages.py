"""What every stage shares: JSON lines in, JSON lines out, and an account of what was dropped.

A stage's files appear whole, by a rename: after a kill at any moment a file is there or it is not. A stage that
has finished on the same input with the same settings is not run again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

Record = dict[str, Any]


@dataclass(frozen=True)
class Rejection:
    """A trace that leaves the pipeline: where, why in a word that is counted, and the particulars.

    `passing` says that another attempt may succeed (an endpoint that failed): its stage is run again.
    """

    id: str
    stage: str
    reason: str
    detail: str = ""
    passing: bool = False


@dataclass(frozen=True)
class Funnel:
    """One stage's account: read = kept + rejected."""

    stage: str
    read: int
    kept: int
    rejected: dict[str, int]
    seconds: float = 0.0
    reused: bool = False


Work = Callable[[Record], Awaitable[Record | Rejection]]
