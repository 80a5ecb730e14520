"""A model's own trajectories become its next rows: one round of rejection sampling (beyond the paper).

    python -m curation.self_training records=work/self/sampled/records.jsonl seeds=work/self/seeds/traces.jsonl \
        tokenizer=models/countdown-mini-sprint out=work/self/rows

A trajectory is kept that is right, well-formed, wide, and shorter on its critical path than the seed, the written
trace of the same question. Questions without one keep their seed, so that the hard ones stay in the rows.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from rich.table import Table

from curation.pack import Packed, pack
from curation.reformat import Row, RowFormat, sprint_rows
from curation.stages import Record, read_jsonl, to_line, whole_file
from curation.trace import Trace
from sprint_sgl import tags
from sprint_sgl.console import one_line_errors, screen
from sprint_sgl.errors import BadInput
from sprint_sgl.prompts import PromptStyle, prompt_style
from sprint_sgl.settings import settings
from sprint_sgl.trajectory import Trajectory

CONF = str(Path(__file__).parents[1] / "conf")
KEPT = "kept"
CountTokens = Callable[[str], int]


@dataclass
class Config:
    """What is read, what is kept, how rows are written.

    records      answered questions, as `sprint-sgl bench` writes them; several samples of a question may be there
    seeds        traces of the same questions
    tokenizer    whose tokens the critical paths are compared in
    min_ratio    the paper's filter on #steps / #stages
    fill         whether questions without a kept trajectory keep their seed
    validation   questions kept for evaluation
    """

    records: str
    seeds: str
    tokenizer: str
    out: str
    prompt_style: str = "mini"
    row_format: RowFormat = RowFormat.mixed
    executors: int = 2
    min_ratio: float = 1.5
    fill: bool = True
    validation: int = 40
    seed: int = 1


def critical_path(trajectory: Trajectory, count: CountTokens) -> int:
    """Tokens on the longest path under eager launch (section 4.1), counted in the text: seeds were never decoded."""
    total = count(tags.render_final_answer(trajectory.final_answer))
    for i, stage in enumerate(trajectory.stages, 1):
        ends, plan = [], ""
        for j, (prompt, execution) in enumerate(zip(stage.prompts, stage.executions, strict=True), 1):
            plan += tags.render_prompt(i, j, prompt)
            ends.append(count(plan) + count(execution.text + tags.close_execution(i, j)))
        total += max([count(tags.render_plan(i, stage.prompts, stage.tail)), *ends])
    return total


def verdict(record: Record, seed: Trajectory | None, count: CountTokens, min_ratio: float) -> str:
    """KEPT, or why the record's trajectory is not."""
    trajectory = Trajectory.from_dict(record["trajectory"])
    if not record["correct"]:
        return "wrong"
    if trajectory.repairs or any(e.status != "ok" for stage in trajectory.stages for e in stage.executions):
        return "malformed"
    if trajectory.parallelization_ratio < min_ratio:
        return "narrow"
    if seed is None:
        return "no seed"
    return KEPT if critical_path(trajectory, count) < critical_path(seed, count) else "not shorter than the seed"


def select(
    records: Iterator[Record], seeds: Mapping[str, Trajectory], count: CountTokens, min_ratio: float
) -> tuple[dict[str, Trajectory], Counter[str]]:
    """The shortest kept trajectory of each question, and how many records met each verdict."""
    kept: dict[str, Trajectory] = {}
    verdicts: Counter[str] = Counter()
    for record in records:
        trajectory = Trajectory.from_dict(record["trajectory"])
        found = verdict(record, seeds.get(trajectory.question), count, min_ratio)
        verdicts[found] += 1
        before = kept.get(trajectory.question)
        if found == KEPT and (before is None or critical_path(trajectory, count) < critical_path(before, count)):
            kept[trajectory.question] = trajectory
    return kept, verdicts


def rows_of(trajectory: Trajectory, config: Config, style: PromptStyle, rng: random.Random) -> list[Row]:
    packed = Packed(trajectory, sum(stage.steps for stage in trajectory.stages))
    return sprint_rows(packed, style, config.row_format, config.executors, rng)


def make(config: Config) -> dict[str, int]:
    """Writes sprint.{train,valid}.jsonl and account.json; returns the account. Raises BadInput."""
    for path in (config.records, config.seeds):
        if not Path(path).is_file():
            raise BadInput(f"{path} is not there")
    count, out, rng = token_counter(config.tokenizer), Path(config.out), random.Random(config.seed)
    packed = (pack(Trace.from_dict(row)) for row in read_jsonl(Path(config.seeds)))
    seeds = {each.trajectory.question: each.trajectory for each in packed if each.ratio >= config.min_ratio}
    kept, verdicts = select(read_jsonl(Path(config.records)), seeds, count, config.min_ratio)
    if not kept:
        raise BadInput(f"{config.records}: no trajectory is kept ({dict(verdicts)}); sample more, or at a temperature")

    style = prompt_style(config.prompt_style)
    chosen = list((seeds | kept if config.fill else kept).values())
    rng.shuffle(chosen)
    account: dict[str, int] = dict(verdicts.most_common()) | {"questions": len(chosen), "questions with one": len(kept)}
    for split, part in (("valid", chosen[: config.validation]), ("train", chosen[config.validation :])):
        rows = [row for trajectory in part for row in rows_of(trajectory, config, style, rng)]
        account[f"{split} rows"] = len(rows)
        with whole_file(out / f"sprint.{split}.jsonl") as file:
            file.writelines(to_line(row) for row in rng.sample(rows, len(rows)))
    with whole_file(out / "account.json") as file:
        json.dump(account, file, indent=2)
    return account


def token_counter(tokenizer: str) -> CountTokens:
    """Raises BadInput where there is no tokenizer."""
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise BadInput(f"tokenizer={tokenizer!r} is no folder with a tokenizer, and not on the hub: {error}") from error
    return lambda text: len(loaded.encode(text))


ConfigStore.instance().store("self_training_schema", Config)


@hydra.main(version_base="1.3", config_path=CONF, config_name="self_training")
def main(raw: Config) -> None:
    with one_line_errors():
        table = Table("trajectories and rows", "count")
        for name, number in make(settings(raw, Config)).items():
            table.add_row(name, f"{number:,}")
        screen().print(table)


if __name__ == "__main__":
    main()
