"""One round of rejection sampling: a model's own trajectories become its next training rows (beyond the paper).

    python -m curation.self_training records=work/self/sampled/records.jsonl seeds=work/self/seeds/steps.jsonl \
        tokenizer=models/countdown-mini-sprint out=work/self/rows

A trajectory is kept if it is right, well-formed, parallel enough, and has fewer sequential tokens than the seed, which
is the written trace of the same question. Questions without a kept trajectory keep their seed, so that hard questions
stay in the rows.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from curation.jsonl import write_jsonl
from curation.records import read_records
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
class SelfTrainingConfig:
    """The input, what is kept, and the form of the rows.

    records      records of `sprint-sgl bench`, with one or more samples per question
    seeds        traces of the same questions
    tokenizer    for counting tokens
    min_ratio    the paper's filter on #steps / #stages
    fill         whether questions without a kept trajectory keep their seed
    validation   number of questions held out for evaluation
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


@dataclass(frozen=True)
class BenchSample:
    """The fields of a benchmark's record that are read here."""

    trajectory: Trajectory
    correct: bool


def sequential_tokens(trajectory: Trajectory, count: CountTokens) -> int:
    """Return the sequential tokens under eager launch (section 4.1), counted in the text: seeds were not decoded."""
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
    """Return KEPT, or why the trajectory is not kept."""
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


def select_shortest(
    samples: Iterable[BenchSample], seeds: Mapping[str, Trajectory], count: CountTokens, min_ratio: float
) -> tuple[dict[str, Trajectory], Counter[str]]:
    """Return the shortest kept trajectory of each question, and the number of samples with each verdict."""
    shortest: dict[str, tuple[int, Trajectory]] = {}
    verdicts: Counter[str] = Counter()
    for sample in samples:
        trajectory = sample.trajectory
        question = trajectory.question
        reached = verdict(trajectory, sample.correct, seeds.get(question), count, min_ratio)
        verdicts[reached] += 1
        if reached == KEPT:
            tokens = sequential_tokens(trajectory, count)
            if question not in shortest or tokens < shortest[question][0]:
                shortest[question] = tokens, trajectory
    return {question: trajectory for question, (_, trajectory) in shortest.items()}, verdicts


def make_rows(config: SelfTrainingConfig) -> dict[str, int]:
    """Write sprint.{train,valid}.jsonl and account.json; return the account. Raises BadInput."""
    for path in (config.records, config.seeds):
        if not Path(path).is_file():
            raise BadInput(f"{path} is not there")
    out = output_folder(config.out, SELF_TRAINING)
    count, rng = token_counter(config.tokenizer), random.Random(config.seed)
    seeds = {trace.question: pack(trace).trajectory for trace in read_records(Path(config.seeds), Trace)}
    samples = read_records(Path(config.records), BenchSample)
    kept, verdicts = select_shortest(samples, seeds, count, config.min_ratio)
    wide = {question: seed for question, seed in seeds.items() if seed.parallelization_ratio >= config.min_ratio}
    chosen = list((wide | kept if config.fill else kept).values())
    if not kept or len(chosen) <= config.validation:
        counts = ", ".join(f"{number} {name}" for name, number in verdicts.most_common())
        raise BadInput(
            f"{config.records}: {len(chosen)} trajectories, {len(kept)} of them kept ({counts}), are too few for "
            f"validation={config.validation}: sample more, or at a higher temperature"
        )

    rng.shuffle(chosen)
    style = prompt_style(config.prompt_style)
    account: dict[str, int] = dict(verdicts.most_common()) | {"questions": len(chosen), "questions with one": len(kept)}
    splits = {"valid": chosen[: config.validation], "train": chosen[config.validation :]}
    account |= {f"{split} rows": len(part) for split, part in splits.items()}
    with whole_file(out / "account.json") as file:  # first: it identifies the folder
        json.dump(account, file, indent=2)
    for split, part in splits.items():
        rows = [sprint_row(trajectory, style, config.row_format) for trajectory in part]
        write_jsonl(out / f"sprint.{split}.jsonl", rng.sample(rows, len(rows)))
    return account


def token_counter(tokenizer: str) -> CountTokens:
    """Return a function that counts a text's tokens. Raises BadInput if there is no such tokenizer."""
    loaded = load_tokenizer(tokenizer)
    return lambda text: len(loaded.encode(text, add_special_tokens=False))


@entry_point("self_training", SelfTrainingConfig)
def main(config: SelfTrainingConfig) -> None:
    table = Table("trajectories and rows", "count")
    for name, number in make_rows(config).items():
        table.add_row(name, f"{number:,}")
    screen().print(table)


if __name__ == "__main__":
    main()
