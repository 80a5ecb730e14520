"""Regular expressions for text that is still being written, for the terminal and the live page.

The patterns keep to the syntax that Python and JavaScript share. For whole text, use `find_tags` and `parse`.
"""

from __future__ import annotations

import re

from sprint_sgl.protocol.lexer import ESCAPED, FINAL_ANSWER
from sprint_sgl.protocol.rendering import FINAL_ANSWER_OPEN, PLAN_OPENING, PROMPT_STOP, THOUGHT_CLOSE

TAG_PATTERN = rf"</?(?:Plan_\d+|{FINAL_ANSWER}|think|Execution_\d+|execution_[\d.]+)>\n?"
"""Any tag but those of prompts and the question."""
PROMPT_PATTERN = r"<prompt_(\d+)\.(\d+)>([\s\S]*?)(?:</prompt_\1\.\2>|$)"
"""A prompt, closed or not: its two numbers and its text."""
PAGE_PATTERNS = {
    "tag": TAG_PATTERN,
    "prompt": PROMPT_PATTERN,
    "escaped": ESCAPED,
    "planOpening": PLAN_OPENING,
    "promptClosing": PROMPT_STOP,
    "answerOpening": FINAL_ANSWER_OPEN.strip(),
    "thoughtClose": THOUGHT_CLOSE,
}
"""What the live page knows of the protocol, as values of its JSON."""
_OPEN_EXECUTION = re.compile(r"<execution_(\d+)\.(\d+)>\s*$")


def open_execution_numbers(context: str) -> tuple[int, int] | None:
    """Return the numbers of the execution that a context opens at its end, or None for a planner's context."""
    found = _OPEN_EXECUTION.search(context)
    return (int(found[1]), int(found[2])) if found else None
