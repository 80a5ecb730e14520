"""Tags that a program writes for a planner which was never trained on them: where its calls end, and their grammars."""

from __future__ import annotations

PROMPT_OPENING, PLAN_OPENING, ANSWER_OPENING = "<prompt", "<Plan", "<Final_answer"
GUIDED_STOPS = (
    *(PROMPT_OPENING, "</prompt", PLAN_OPENING, "</Plan", "<Execution", "</Execution"),
    *("<execution", "</execution", ANSWER_OPENING),
)
"""Any of these ends what lies between two tags: a tag that the model writes itself never enters the context."""
LEAD_REGEX = r"[^<]{0,600}(<prompt_|</Plan_)"
PROMPT_REGEX = r"[^<\n]{3,400}</prompt_"
CHOICE_REGEX = r"(<Plan_|<Final_answer>)"
