"""The model card of a run: README.md in its folder, with figures, data, arguments and the commands that serve it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sprint_sgl.storage.files import whole_file
from training.record import on_rollouts, read_log

# The arguments that a reader asks for first; run.json and the command have all of them.
ARGUMENTS = (
    "tuner_type",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_ratio",
    "weight_decay",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_length",
    "deepspeed",
    "seed",
)
NOT_ON_ROLLOUTS = {"num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length"}
TAGS = ["sprint", "parallel-reasoning", "ms-swift"]


def write_card(run: Path) -> Path | None:
    """Write README.md from run.json, command.sh and the log. Return None if nothing has been logged yet."""
    lines = read_log(run)
    if not lines:
        return None
    record = json.loads((run / "run.json").read_text())
    with whole_file(run / "README.md") as file:
        file.write(render_card(run, record, lines, (run / "command.sh").read_text()))
    return run / "README.md"


def render_card(run: Path, record: Mapping[str, Any], lines: list[dict[str, Any]], command: str) -> str:
    """Return the card as Markdown."""
    from huggingface_hub import ModelCardData

    settings = record["settings"]
    model = settings["model"]
    on_hub = not Path(model).expanduser().exists()
    data = ModelCardData(base_model=model if on_hub else None, library_name="transformers", tags=TAGS)
    arguments = settings["recipe"]["args"]
    taught, unit = ("trained on its own rollouts", "questions") if on_rollouts(lines) else ("fine-tuned", "rows")
    parts = [
        f"---\n{data.to_yaml()}\n---\n\n# {run.name}\n",
        f"{model}, {taught} by sprint-sgl through ms-swift for SPRINT (arXiv 2506.05745).\n",
        "## Figures\n",
        *(f"- {name}: {value}" for name, value in training_figures(lines, devices_of(record))),
        "\n## Data\n",
        *(f"- {path}: {file['rows']:,} {unit}, SHA-256 {file['sha256']}" for path, file in record["data"].items()),
        "\n## Training\n",
        *(f"- {key}: {value}" for key, value in recipe_values(run, arguments)),
        f"- machines: {settings['machines']['nodes']} x {settings['machines']['processes']} processes",
        f"- versions: {', '.join(f'{name} {version}' for name, version in record['versions'].items())}",
        f"- commit: {record['commit']}",
        "\n```bash\n" + "\n# which runs\n".join(filter(None, (asked_command(record), command.strip()))) + "\n```\n",
        f"## Use\n\n```bash\n{serving_commands(run, arguments)}\n```",
    ]
    return "\n".join(parts) + "\n"


def seconds_trained(counted: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds of all steps, from log lines that have the tokens so far and tokens/s since the last line.

    Steps that a resumed run has trained twice count once.
    """
    tokens = [0, *(int(line["tokens"]) for line in counted)]
    return sum(
        max(now - before, 0) / float(line["tokens_per_second"])
        for before, now, line in zip(tokens, tokens[1:], counted, strict=False)
        if line["tokens_per_second"]
    )


def duration(seconds: float, devices: int) -> str:
    """Return hours and minutes, and on several devices the hours of all: "2 h 05 min, 16.7 device-hours"."""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    text = f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
    return text if devices == 1 else f"{text}, {seconds * devices / 3600:.1f} device-hours"


def asked_command(record: Mapping[str, Any]) -> str | None:
    """Return the sprint-sgl command of the first start; None where it is not known."""
    command: str | None = record.get("starts", [{}])[0].get("asked")
    return command


def devices_of(record: Mapping[str, Any]) -> int:
    machines = record["settings"]["machines"]
    return int(machines["nodes"] * machines["processes"])


def recipe_values(run: Path, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the arguments that matter most; of a training on rollouts, those of the rounds and the reward too."""
    path = run / "rl.json"
    rollouts = json.loads(path.read_text()) if path.is_file() else {}
    for key in ARGUMENTS:
        if key in arguments and not (rollouts and key in NOT_ON_ROLLOUTS):
            yield key, arguments[key]
    for group, values in (("rl", rollouts.get("rounds", {})), ("reward", rollouts.get("reward", {}))):
        yield from ((f"{group}.{key}", value) for key, value in values.items())


def serving_commands(run: Path, arguments: Mapping[str, Any]) -> str:
    """Return the commands that serve the run; adapters are first merged into their model."""
    if arguments.get("tuner_type") == "full":
        return f"sprint-sgl launch --model {run}"
    return f"python -m training.export checkpoint={run} out={run}/merged\nsprint-sgl launch --model {run}/merged"


def training_figures(lines: list[dict[str, Any]], devices: int = 1) -> Iterator[tuple[str, str]]:
    """Yield name and value of the run's progress, losses, speed and time."""
    trained = [line for line in lines if "loss" in line]
    evaluated = [line for line in lines if "eval_loss" in line]
    yield "step", str(lines[-1].get("global_step/max_steps", lines[-1]["step"]))
    if trained:
        yield "training loss", f"{float(trained[-1]['loss']):.4f}"
    if counted := [line for line in trained if "tokens" in line]:
        yield "tokens, padding counted", f"{counted[-1]['tokens']:,}"
        speed = statistics.median(line["tokens_per_second"] for line in counted)
        yield "tokens/s, padding counted", f"{speed:,.0f} (median)"
        yield "time without evaluations", duration(seconds_trained(counted), devices)
    if on_rollouts(lines):
        for name, unit in (("correct", ".1%"), ("sequential tokens", ",.0f")):
            first, *_, last = [line[f"evaluation/{name}"] for line in lines if f"evaluation/{name}" in line] * 2
            yield f"{name}, evaluated before and after", f"{first:{unit}} to {last:{unit}}"
    if evaluated:
        best = min(evaluated, key=lambda line: float(line["eval_loss"]))
        yield "evaluation loss", f"{float(best['eval_loss']):.4f} at step {best['step']}, the lowest"
        if "eval_token_acc" in best:
            yield "token accuracy", f"{float(best['eval_token_acc']):.4f}"
