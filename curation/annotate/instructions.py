"""Prompts as instructions: an intention in the imperative ("Let me compute the area" -> "Compute the area.").

Also detects prompts that are not instructions. Clauses that cannot be rewritten, such as narration ("Wait, no."), are
left out of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MIN_WORDS = 4
MAX_CHARS = 200
PADDING = ", as the plan above says."  # after a task of three words or fewer

VERBS = frozenset((Path(__file__).parent / "verbs.txt").read_text().split())  # first words of instructions
_VAGUE = (
    r"(?:it|that|this|these|those|them|again|so|here|once|more|there|back|over|things?|everything|step|by|out|sure"
    r"|about|of|on|at|with|for|from|if|to|through|differently|carefully|the|that's|it's)"
)
_CUT_OFF = re.compile(
    r"\b(?:is|are|was|were|be|as|becomes?|equals?|gives?|of|the|an?|to|for|by|with|and|or|that|in|on|from|if|that's|it's)$"
)
# A second verb: the clause is a statement, and its first word is not an instruction.
_SECOND_VERB = re.compile(
    r"^(?:is|are|was|were|of|would|will|should)\b|(?<!that )(?<!which )\b(?:is to|gives?|equals?|yields?)\b", re.I
)
_FILLER = re.compile(
    r"(?:\W|\b(?:wait|hold on|okay|ok|hm+|ah|oh|well|so|but|and|or|yes|yeah|no|right|alright|anyway|also|just|maybe"
    r"|perhaps|now|then|next|first(?:ly)?|second(?:ly)?|third(?:ly)?|finally|lastly|actually|however|alternatively"
    r"|therefore|thus|hence|instead|similarly|indeed|again|quickly|carefully|simply|of course|in fact|to start"
    r"|try to|go ahead and|start by|begin by|proceed to|be sure to)\b)*",
    re.I,
)
# The end of a clause that belongs to the thought and not to the task.
_ASIDE = re.compile(
    r"(?:,? (?:right|correct|yes|no|okay)\W*$"
    r"|[,;] (?:but|so|and then|which|because|since|just|then|maybe|if|where|although|though|as)\b.*"
    r"| (?:because|since|so that|in case|just to|to be (?:sure|safe|certain)|to make sure|and see|to see)\b.*"
    r"|,? (?:that|which|as|if|when|where|what|how|whether|like|and|or|than|before|until|for which)?\s*"
    r"\b(?:I|I'[a-z]+|we|we'[a-z]+|you|you'[a-z]+|let me|let's|let us)\b.*"
    r"|\s*[:=?.!,;-]+\s*$)",
    re.S,
)
_SELF = re.compile(
    r"\b(?:(?-i:I)(?!\s*[=_^{()\])}+*/:.-])|I'[a-z]+|me|myself|us|ourselves|we|we'[a-z]+|you|let's|hm+|wait)\b", re.I
)
_ITS = re.compile(r"\b(?:my|our|your)\b", re.I)
_STATES = re.compile(
    r"\b(?:is|are|was|were|has|have|equals?|can|cannot|must|should|would|do(?:es)?|gives?|need)\b|=", re.I
)
_ASKS = re.compile(
    r"(?:what|how|why|which|where|when|who|is|are|was|does|do|did|can|could|would|should|will)\b[^?]*\?\W*$", re.I
)
_LOWER = re.compile(
    r"(?:The|This|That|These|Those|It|There|All|If|When|Both|Each|An?|In|For|Is|Are|What|How|Does|Do|Why|Which|Since"
    r"|Another|Every|Some|Any|One|Two|Three|Its?|After|At|On|By|With|From|Given)\b"
)
_NARRATES = re.compile(
    r"\W*(?:wait|hold on|okay|ok|hm+|ah|oh|well|so|but|and|or|yes|yeah|no|right|alright|anyway|also|just|maybe|perhaps"
    r"|now|then|actually|however|alternatively|therefore|thus|hence|I|we|let me|let's|let us|another|the|this|that|it"
    r"|there|these|those|my|our|is|are|does|what|how)\b",
    re.I,
)


def write_instruction(sentences: Iterable[str], frame: str, otherwise: str) -> str:
    """Return the first sentence that can be rewritten as an instruction, rewritten.

    frame       for a statement, such as "Check whether {}."; statements are not used if it is empty
    otherwise   the instruction if no sentence can be rewritten
    """
    candidates = list(sentences)
    tasks = [task for sentence in candidates if (task := to_imperative(sentence))]
    if tasks:
        return next((task for task in tasks if not task.endswith(PADDING)), tasks[0])
    framed = (_frame(sentence, frame) for sentence in candidates)
    return next(filter(None, framed), otherwise)


def to_imperative(clause: str) -> str:
    """Return a clause that begins with a task as an instruction; "" for another clause, or a task without an object."""
    text = _ITS.sub("the", _strip_asides(clause))
    first, _, rest = text.partition(" ")
    verb = _base_form(first.lower())
    if (
        not verb
        or not _is_whole(text)
        or _SECOND_VERB.search(rest)
        or re.fullmatch(rf"\W*(?:{_VAGUE}\W*)*", rest, re.I)
    ):
        return ""
    short = len(text.split()) < MIN_WORDS
    return f"{verb.capitalize()} {rest}{PADDING if short else '.'}"


def replace_if_unusable(prompt: str, otherwise: str) -> str:
    """Return the prompt, or `otherwise` if it is short, narrates, or is cut off."""
    return prompt if _is_whole(prompt) and not (is_short(prompt) or is_narration(prompt)) else otherwise


def is_short(prompt: str) -> bool:
    """Return whether the prompt has three words or fewer."""
    return len(prompt.split()) < MIN_WORDS


def is_narration(prompt: str) -> bool:
    """Return whether the prompt thinks aloud: it begins as thoughts do, or mentions its thinker."""
    return _NARRATES.match(prompt) is not None or _SELF.search(prompt) is not None


def _strip_asides(clause: str) -> str:
    text = " ".join(clause.split())
    text = text[_end_of_filler(text) :]
    while (shorter := _ASIDE.sub("", text).strip()) != text:
        text = shorter
    return text


def _end_of_filler(text: str) -> int:
    """Return where the clause itself begins, at the latest at a formula's first sign."""
    found = _FILLER.match(text)
    end = found.end() if found else 0
    while end and text[end - 1] in "\\$([{|-+":
        end -= 1
    return end


def _base_form(verb: str) -> str:
    """Return the base form of a verb in base or -ing form; "" for another word."""
    if verb in VERBS:
        return verb
    stem = verb.removesuffix("ing")
    forms = (stem, f"{stem}e", stem[:-1], f"{stem[:-1]}y")
    return next((form for form in forms if stem != verb and form in VERBS), "")


def _frame(sentence: str, frame: str) -> str:
    """Return an instruction for a question or a statement; "" for another sentence."""
    asks = _ASKS.match(sentence[_end_of_filler(sentence) :])
    text = _ITS.sub("the", _strip_asides(sentence))
    if len(text.split()) < MIN_WORDS or not _is_whole(text) or text.lower().startswith("if "):
        return ""
    text = text[0].lower() + text[1:] if _LOWER.match(text) else text
    if asks:
        return f"Answer this question: {text}?"
    return frame.format(text) if frame and _STATES.search(text) else ""


def _is_whole(text: str) -> bool:
    """Return whether the text has at most MAX_CHARS, is not cut off, and does not mention the thinker."""
    if len(text) > MAX_CHARS or _SELF.search(text) or _CUT_OFF.search(text):
        return False
    pairs = (("(", ")"), ("[", "]"), ("{", "}"))
    return text.count("$") % 2 == 0 and all(text.count(opening) == text.count(end) for opening, end in pairs)
