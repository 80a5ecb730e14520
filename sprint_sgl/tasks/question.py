"""Validation of questions."""

from __future__ import annotations

from sprint_sgl.errors import BadInput

MAX_CHARACTERS = 100_000
EARLIER, ASKED = "What was said before:", "Now answer this:"  # of a conversation that is one question


def last_question(question: str) -> str:
    """Return what is asked at last in a question that contains a conversation; any other question as it is."""
    return question.rpartition(ASKED)[2].strip() if question.startswith(EARLIER) and ASKED in question else question


def checked_question(question: object) -> str:
    """Return the stripped question. Raises BadInput unless it is a text of 1 to MAX_CHARACTERS characters."""
    if not isinstance(question, str):
        raise BadInput(f"the question must be a text, got {question!r}")
    if not question.strip():
        raise BadInput(f"the question is empty: got {question!r}")
    if len(question) > MAX_CHARACTERS:
        raise BadInput(f"the question has {len(question):,} characters; the limit is {MAX_CHARACTERS:,}")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"the question is not text in UTF-8: character {error.start + 1} is half a pair of surrogates"
        ) from None
    return question.strip()
