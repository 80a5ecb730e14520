"""Ask one question and look at the run: the answer, the stages and what they cost.

python examples/ask.py [URL]     # URL: a running SGLang server; without one, a runtime is started here
"""

import sys

from programs import sprint_program
from sprint_sgl import connect, launch, render

QUESTION = "Use 15, 3 and 62 to make 80"

with connect(sys.argv[1]) if sys.argv[1:] else launch():
    state = sprint_program.run(QUESTION, temperature=0)

trajectory = state.trajectory
print(render(trajectory))  # the transcript with its tags
print("answer:", state["answer"])
for i, stage in enumerate(trajectory.stages, 1):
    print(f"stage {i}: {len(stage.prompts)} prompts, {stage.plan_tokens} tokens of plan")
print(f"{trajectory.sequential_tokens} sequential of {trajectory.total_tokens} tokens, {trajectory.seconds:.1f} s")
