"""Requests that are left to a batch, on disk: there may be as many as a data set has traces."""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from curation.teacher.calls import TeacherRequest


class DeferredRequests:
    """A queue in a temporary file of the folder: each request once, in order of arrival."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._keys: set[str] = set()

    def add(self, request: TeacherRequest) -> None:
        if not self._keys:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile("w+", dir=self._folder)  # noqa: SIM115 - lives as long as this object
            weakref.finalize(self, self._file.close)
        self._file.seek(0, 2)
        self._keys.add(request.key)
        self._file.write(json.dumps({"url": request.url, "body": request.body}) + "\n")

    def __contains__(self, request: TeacherRequest) -> bool:
        return request.key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[TeacherRequest]:
        if self._keys:
            self._file.seek(0)
            for line in self._file:
                yield TeacherRequest(**json.loads(line))
