"""The paper's settings of inference (appendix A.1), each in this place alone."""

TEMPERATURE = 0.6
MAX_NEW_TOKENS = 8_000  # of a call of the planner or an executor
MAX_SEQUENTIAL_TOKENS = 36_000  # of a whole thought in one call
MAX_STAGES = 12  # the last of them is the forced final answer
