"""Merges the shards of a run into the files that one run would have written.

    python -m curation.merge source.path=traces.jsonl out=work/curation shards=4

The settings given here apply to the rows alone. Shards that were made with different settings are refused.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation.pipeline import ORDER, CurationConfig, check_config, finish, source_digest, write_accounts
from curation.records import TraceRecord, parse_record
from curation.stages.base import StageCounts, StageResult, read_all_results
from curation.stages.load import TraceSource
from curation.teacher.calls import Account
from sprint_sgl.config import changed_keys, entry_point
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import file_digest, whole_file
from sprint_sgl.storage.output_folders import CURATION, locked_folder


def merge(config: CurationConfig) -> None:
    """Merge every stage's files in the order of the source. Raises BadInput if a shard is not done."""
    folders = shard_folders(config)
    out, names = Path(config.out), ORDER[:-1]
    by_folder = {folder: read_all_results(folder, names) for folder in folders}
    results = {name: same_settings({folder: by_folder[folder][name] for folder in folders}) for name in names}
    check_source(config.source, {folder: by_folder[folder][names[0]].source for folder in folders})
    source = ""
    for name in names:
        for path in (f"{name}.jsonl", f"rejected/{name}.jsonl"):
            with whole_file(out / path) as merged:
                merged.writelines(merge_lines([folder / path for folder in folders]))
        merge_results(results[name], source).write(out / "funnel" / f"{name}.json")
        source = file_digest(out / f"{name}.jsonl")
    write_accounts(out, Account())
    finish(replace(config, shards=1))


def shard_folders(config: CurationConfig) -> list[Path]:
    """Return the folders of all shards. Raises BadInput if one is not there."""
    folders = [replace(config, shard=shard).folder for shard in range(config.shards)]
    if missing := next((folder for folder in folders if not folder.is_dir()), None):
        raise BadInput(f"{missing} is not there: run that shard, or give the shards= of the run")
    return folders


def same_settings(results: Mapping[Path, StageResult]) -> list[StageResult]:
    """Return one stage's results of all shards. Raises BadInput if their settings differ."""
    (first, expected), *others = results.items()
    for folder, result in others:
        if keys := changed_keys(without_shard(expected.settings), without_shard(result.settings)):
            raise BadInput(
                f"{folder} and {first} were made with different {keys[0]} of {result.counts.stage}: run one again"
            )
    return list(results.values())


def check_source(source: TraceSource, digests: Mapping[Path, str]) -> None:
    """Raise BadInput for a shard that was made from another source, or from this one before it changed.

    If the source's file is not on this machine, the shards are compared with the first one.
    """
    is_gone = source.file and not source.file.is_file()
    wanted = next(iter(digests.values())) if is_gone else source_digest(source)
    if other := next((folder for folder, digest in digests.items() if digest != wanted), None):
        raise BadInput(
            f"{other} was not made from source.path={source.path} as it is now: give its source, or run it again"
        )


def without_shard(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "shard"}


def merge_lines(paths: Sequence[Path]) -> Iterator[str]:
    """Return the lines of all files, each of which is in the order of the source, in that order."""
    return (line for _, line in heapq.merge(*map(indexed_lines, paths), key=lambda pair: pair[0]))


def indexed_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its trace's place in the source. Raises BadInput for a line that is not a record."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            yield parse_record(line, TraceRecord, f"{path}:{number}").index, line


def merge_results(results: Sequence[StageResult], source: str) -> StageResult:
    counts = add_counts([result.counts for result in results])
    temporary = any(result.temporary for result in results)
    return StageResult(counts, source, without_shard(results[0].settings), temporary)


def add_counts(shards: Sequence[StageCounts]) -> StageCounts:
    """Return the counts of all shards together. Seconds are the slowest shard's, since shards run side by side."""
    reasons = sum((Counter(shard.rejected) for shard in shards), Counter[str]())
    return StageCounts(
        shards[0].stage,
        sum(shard.read for shard in shards),
        sum(shard.kept for shard in shards),
        dict(reasons.most_common()),
        max(shard.seconds for shard in shards),
        tuple(cost for shard in shards for cost in shard.calls),
    )


@entry_point("curate", CurationConfig)
def main(config: CurationConfig) -> None:
    check_config(config)
    with locked_folder(config.out, CURATION):
        merge(config)


if __name__ == "__main__":
    main()
