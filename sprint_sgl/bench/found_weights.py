"""The weights that a bench found on a running server: noted before they are swapped, given back at its end."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sprint_sgl.console import say
from sprint_sgl.errors import SprintError
from sprint_sgl.runtime.launcher import connect
from sprint_sgl.storage.files import whole_file

FOUND_WEIGHTS = "server_weights.json"


class FoundWeights:
    """What the server at `url` served before. The note is a file, so that a bench that was killed can go on from it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.path, self.url = folder / FOUND_WEIGHTS, url

    def note(self, model: str) -> None:
        """Note the model, unless an earlier start, which was killed, has noted one for this server."""
        if self._noted() is None:
            with whole_file(self.path) as file:
                file.write(json.dumps({"url": self.url, "model": model}, indent=2) + "\n")

    def _noted(self) -> str | None:
        try:
            noted = json.loads(self.path.read_text())
            return str(noted["model"]) if noted["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def give_back(self) -> None:
        """Load the noted weights into the server and remove the note. A failure is a line that says what is left."""
        model = self._noted()
        if model is None:
            return
        try:
            with connect(self.url, os.environ.get("SPRINT_API_KEY")) as endpoint:
                if endpoint.get_model_name() != model:
                    endpoint.load_weights(model)
        except SprintError as error:
            say(f"{self.url} could not be given its weights back, {model}: {error}", style="yellow")
            return
        self.path.unlink()
        say(f"{self.url} serves {model} again", style="dim")
