"""A language model as judge of answers that the rules cannot read (paper, appendix A.4: gpt-4o-mini)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template

from openai import OpenAI, OpenAIError

from sprint_sgl.errors import BadInput, RequestFailed
from sprint_sgl.tasks.base import Question

PROMPT = Template(Path(__file__).with_name("judge.txt").read_text())
ANSWER_LIMIT = 20_000  # characters of an answer, from its end, that the judge sees
RIGHT_WORDS = ("right", "correct")
_VERDICT = re.compile(r"\b(?P<not>not\s+)?(?P<word>right|wrong|correct|incorrect)\b", re.IGNORECASE)


@dataclass
class OpenAIJudge:
    """A judge on an OpenAI-compatible endpoint.

    `key` names the environment variable with the API key, which is never stored. Raises BadInput if it is empty.
    """

    model: str
    base_url: str | None
    key: str
    time_limit: float
    retries: int

    def __post_init__(self) -> None:
        if not os.environ.get(self.key):
            raise BadInput(f"the judge has no key: set {self.key}, or name another variable as judge.key=NAME")

    @cached_property
    def _client(self) -> OpenAI:
        return OpenAI(
            api_key=os.environ[self.key], base_url=self.base_url, timeout=self.time_limit, max_retries=self.retries
        )

    def __call__(self, question: Question, answer: str) -> bool | None:
        """Return whether the answer is right, or None if the reply does not say. Raises RequestFailed."""
        prompt = PROMPT.substitute(question=question.text, gold=question.gold, answer=answer[-ANSWER_LIMIT:])
        try:
            reply = self._client.chat.completions.create(
                model=self.model, temperature=0, messages=[{"role": "user", "content": prompt}]
            )
        except (OpenAIError, ValueError) as error:  # ValueError: not JSON
            raise RequestFailed(f"the judge {self.model}: {error}") from error
        try:
            text = reply.choices[0].message.content or ""
        except (AttributeError, IndexError, TypeError) as error:
            raise RequestFailed(
                f"the judge {self.model} does not answer as an OpenAI endpoint does: {str(reply)[:200]!r}"
            ) from error
        if not isinstance(text, str):
            raise RequestFailed(f"the judge {self.model} does not answer with a text: {str(text)[:200]!r}")
        verdicts = list(_VERDICT.finditer(text))
        return (verdicts[-1]["word"].lower() in RIGHT_WORDS) != bool(verdicts[-1]["not"]) if verdicts else None
