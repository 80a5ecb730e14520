"""Answer several questions side by side and print each answer as soon as it and those before it are there.

python examples/batch.py [URL]     # URL: a running SGLang server; without one, a runtime is started here
"""

import sys

from programs import sprint_program
from sprint_sgl import connect, launch

QUESTIONS = [
    "Use 15, 3 and 62 to make 80",
    "Use 80, 42 and 46 to make 84",
    "Use 53, 33 and 60 to make 26",
    "Use 5, 20 and 4 to make 80",
]

with connect(sys.argv[1]) if sys.argv[1:] else launch():
    states = sprint_program.run_batch(QUESTIONS, num_threads=4, temperature=0, generator_style=True)
    for question, state in zip(QUESTIONS, states, strict=True):
        run = state.trajectory
        print(f"{question}: {state['answer']} ({run.sequential_tokens} sequential of {run.total_tokens} tokens)")
