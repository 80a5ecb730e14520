"""Puts the shards of a run together, into the files that one run would have written.

    python -m curation.merge source.path=traces.jsonl out=work/curation shards=4

Only the rows are made with the settings given here; shards that were made with different ones are refused.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curation.pipeline import ORDER, Config, check, finish, write_accounts
from curation.stages.base import Done, Funnel, Record, chain, read_jsonl, to_line
from curation.teacher.calls import Account
from sprint_sgl.config import changed_keys, entry_point
from sprint_sgl.errors import BadInput
from sprint_sgl.storage.files import file_digest, whole_file
from sprint_sgl.storage.output_folders import CURATION, locked_folder


def merge(config: Config) -> None:
    """Merges every stage's files by the traces' places in the source. Raises BadInput where a shard is not done."""
    folders = [replace(config, shard=shard).folder for shard in range(config.shards)]
    out, stages = Path(config.out), ORDER[:-1]
    chains = {folder: chain(folder, stages) for folder in folders}
    done = {name: same_settings({folder: found[name] for folder, found in chains.items()}) for name in stages}
    source = ""
    for name in stages:
        for path in (f"{name}.jsonl", f"rejected/{name}.jsonl"):
            with whole_file(out / path) as merged:
                merged.writelines(to_line(record) for record in in_order([folder / path for folder in folders]))
        settings, passing = done[name][0].settings, any(each.passing for each in done[name])
        total = summed([each.funnel for each in done[name]])
        Done(total, source, without_shard(settings), passing).write(out / "funnel" / f"{name}.json")
        source = file_digest(out / f"{name}.jsonl")
    write_accounts(out, Account())
    finish(replace(config, shards=1))


def same_settings(done: Mapping[Path, Done]) -> list[Done]:
    """A stage of all shards. Raises BadInput where they were made with different settings."""
    (first, wanted), *others = done.items()
    for folder, found in others:
        if keys := changed_keys(without_shard(wanted.settings), without_shard(found.settings)):
            raise BadInput(
                f"{folder} and {first} were made with different {keys[0]} of {found.funnel.stage}: run one again"
            )
    return list(done.values())


def without_shard(settings: Record) -> Record:
    return {key: value for key, value in settings.items() if key != "shard"}


def in_order(paths: Sequence[Path]) -> Iterator[Record]:
    return heapq.merge(*(read_jsonl(path) for path in paths), key=lambda record: record["index"])


def summed(accounts: Sequence[Funnel]) -> Funnel:
    """The account of all shards together; their seconds went by side by side."""
    reasons = sum((Counter(account.rejected) for account in accounts), Counter[str]())
    return Funnel(
        accounts[0].stage,
        sum(account.read for account in accounts),
        sum(account.kept for account in accounts),
        dict(reasons.most_common()),
        max(account.seconds for account in accounts),
        [line for account in accounts for line in account.calls],
    )


@entry_point("curate", Config)
def main(config: Config) -> None:
    check(config)
    with locked_folder(config.out, CURATION):
        merge(config)


if __name__ == "__main__":
    main()
