"""A model's own trajectories become its next rows: one round of rejection sampling (beyond the paper).

    python -m curation.self_training records=work/self/sampled/records.jsonl seeds=work/self/seeds/traces.jsonl \
        tokenizer=models/countdown-mini-sprint out=work/self/rows

A trajectory is kept that is right, well-formed, wide, and has fewer sequential tokens than the seed, the written
trace of the same question. Questions without one keep their seed, so that the hard ones stay in the rows.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from curation.stages.base import Record, read_jsonl, write_jsonl
from curation.stages.pack import pack
from curation.stages.reformat import RowFormat, sprint_row
from curation.trace import Trace
from sprint_sgl import protocol
from sprint_sgl.config import entry_point
from sprint_sgl.console import screen
from sprint_sgl.errors import BadInput
from sprint_sgl.protocol.prompts import prompt_style
from sprint_sgl.storage.checkpoints import load_tokenizer
from sprint_sgl.storage.files import whole_file
from sprint_sgl.storage.output_folders import SELF_TRAINING, output_folder
from sprint_sgl.trajectory import Trajectory

KEPT = "kept"
CountTokens = Callable[[str], int]


@dataclass
class Config:
    """What is read, what is kept, how rows are written.

    records      answered questions, as `sprint-sgl bench` writes them; several samples of a question may be there
    seeds        traces of the same questions
    tokenizer    whose tokens are counted
    min_ratio    the paper's filter on #steps / #stages
    fill         whether questions without a kept trajectory keep their seed
    validation   questions kept for evaluation
    """

    records: str
    seeds: str
    tokenizer: str
    out: str
    prompt_style: str = "mini"
    row_format: RowFormat = RowFormat.tree
    min_ratio: float = 1.5
    fill: bool = True
    validation: int = 40
    seed: int = 1


def sequential_tokens(trajectory: Trajectory, count: CountTokens) -> int:
    """Of eager launch (section 4.1), counted in the text, since seeds were never decoded."""
    total = count(protocol.render_final_answer(trajectory.final_answer))
    for i, stage in enumerate(trajectory.stages, 1):
        plan, longest = protocol.open_plan(i), count(protocol.render_plan(i, stage.prompts, stage.tail))
        for j, (prompt, execution) in enumerate(zip(stage.prompts, stage.executions, strict=True), 1):
            plan += protocol.render_prompt(i, j, prompt)
            longest = max(longest, count(plan) + count(execution.text + protocol.close_execution(i, j)))
        total += longest
    return total


def verdict(
    trajectory: Trajectory, correct: bool, seed: Trajectory | None, count: CountTokens, min_ratio: float
) -> str:
    """KEPT, or why the trajectory is not."""
    if not correct:
        return "wrong"
    if trajectory.repairs or any(e.status != "ok" for stage in trajectory.stages for e in stage.executions):
        return "malformed"
    if trajectory.parallelization_ratio < min_ratio:
        return "narrow"
    if seed is None:
        return "no seed"
    shorter = sequential_tokens(trajectory, count) < sequential_tokens(seed, count)
    return KEPT if shorter else "not shorter than the seed"


def select(
    records: Iterator[Record], seeds: Mapping[str, Trajectory], count: CountTokens, min_ratio: float
) -> tuple[dict[str, Trajectory], Counter[str]]:
    """The shortest kept trajectory of each question, and how many records met each verdict."""
    shortest: dict[str, tuple[int, Trajectory]] = {}
    verdicts: Counter[str] = Counter()
    for record in records:
        trajectory = Trajectory.from_dict(record["trajectory"])
        question = trajectory.question
        found = verdict(trajectory, record["correct"], seeds.get(question), count, min_ratio)
        verdicts[found] += 1
        if found == KEPT:
            tokens = sequential_tokens(trajectory, count)
            if question not in shortest or tokens < shortest[question][0]:
                shortest[question] = tokens, trajectory
    return {question: trajectory for question, (_, trajectory) in shortest.items()}, verdicts


def make(config: Config) -> dict[str, int]:
    """Writes sprint.{train,valid}.jsonl and account.json; returns the account. Raises BadInput."""
    for path in (config.records, config.seeds):
        if not Path(path).is_file():
            raise BadInput(f"{path} is not there")
    out = output_folder(config.out, SELF_TRAINING)
    count, rng = token_counter(config.tokenizer), random.Random(config.seed)
    seeds = {row["question"]: pack(Trace.from_dict(row)).trajectory for row in read_jsonl(Path(config.seeds))}
    kept, verdicts = select(read_jsonl(Path(config.records)), seeds, count, config.min_ratio)
    wide = {question: seed for question, seed in seeds.items() if seed.parallelization_ratio >= config.min_ratio}
    chosen = list((wide | kept if config.fill else kept).values())
    if not kept or len(chosen) <= config.validation:
        said = ", ".join(f"{number} {name}" for name, number in verdicts.most_common())
        raise BadInput(
            f"{config.records}: {len(chosen)} trajectories, {len(kept)} of them kept ({said}), are too few beside "
            f"validation={config.validation}; sample more, or at a higher temperature"
        )

    rng.shuffle(chosen)
    style = prompt_style(config.prompt_style)
    account: dict[str, int] = dict(verdicts.most_common()) | {"questions": len(chosen), "questions with one": len(kept)}
    splits = {"valid": chosen[: config.validation], "train": chosen[config.validation :]}
    account |= {f"{split} rows": len(part) for split, part in splits.items()}
    with whole_file(out / "account.json") as file:  # first, since the folder is known by it
        json.dump(account, file, indent=2)
    for split, part in splits.items():
        rows = [sprint_row(each, style, config.row_format) for each in part]
        write_jsonl(out / f"sprint.{split}.jsonl", rng.sample(rows, len(rows)))
    return account


def token_counter(tokenizer: str) -> CountTokens:
    """Raises BadInput where there is no tokenizer."""
    loaded = load_tokenizer(tokenizer)
    return lambda text: len(loaded.encode(text, add_special_tokens=False))


@entry_point("self_training", Config)
def main(config: Config) -> None:
    table = Table("trajectories and rows", "count")
    for name, number in make(config).items():
        table.add_row(name, f"{number:,}")
    screen().print(table)


if __name__ == "__main__":
    main()
