"""Records and folders of benchmark runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sprint_sgl.bench.records import Record
from sprint_sgl.trajectory import Call, Execution, Prompt, Stage, Trajectory


def stage(width: int, tokens: int) -> Stage:
    call = Call(completion_tokens=tokens)
    return Stage(
        tuple(Prompt(f"p{j}") for j in range(width)), tuple(Execution("<b>e</b>", call=call) for _ in range(width))
    )


def record(
    id: int,
    method: str,
    correct: bool = True,
    tokens: int = 10,
    widths: tuple[int, ...] = (),
    prefix: str = "",
    **more: Any,
) -> Record:
    stages = tuple(stage(width, tokens) for width in widths)
    calls = () if stages else (Call(completion_tokens=tokens),)
    launch = "eager" if stages else "sequential"
    trajectory = Trajectory(f"q{id}", stages, "done", answer_calls=calls, seconds=tokens / 10, launch=launch)
    fields = {
        "gold": "1",
        "answer": "1",
        "reason": "" if correct else "is 7, not 9; leaves 3 unused",
        "read": True,
    } | more
    name, group, question = f"{prefix}{id}", f"level {id % 2}", f"q{id}"
    return Record(method, name, 0, group, question, correct=correct, trajectory=trajectory, **fields)


def run_of_two_methods(folder: Path) -> Path:
    """Ten questions: SPRINT answers one wrong, the sequential method two."""
    ours = [record(k, "sprint", k != 3, 10 + k, (3, 1)) for k in range(10)]
    theirs = [record(k, "sequential", k not in (3, 4), 40 + 4 * k) for k in range(10)]
    return write_run(folder, ours + theirs)


def runs_of_a_sweep(folder: Path) -> list[Path]:
    """Four questions at each of three limits of stages and two temperatures."""
    return [
        write_run(
            folder / f"{stages}-{temperature}",
            [record(k, "sprint", k % 3 > 0, stages, widths=(2,)) for k in range(4)],
            program={"name": "sprint", "max_stages": stages},
            temperature=temperature,
        )
        for stages in (4, 8, 12)
        for temperature in (0.0, 1.0)
    ]


def write_run(folder: Path, records: list[Record], task: str = "countdown", **settings: Any) -> Path:
    folder.mkdir(parents=True)
    made_by = {"task": task, "settings": {"out": str(folder), "temperature": None} | settings}
    (folder / "run.json").write_text(json.dumps(made_by))
    (folder / "records.jsonl").write_text("".join(each.to_json() + "\n" for each in records))
    return folder
