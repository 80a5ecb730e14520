"""Puts the shards of a run together, into the files that one run would have written.

    python -m curation.merge source.path=traces.jsonl out=work/curation shards=4

Takes the settings of the shards' own runs; only the rows and the reports depend on them here.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from curation.curate import ORDER, Config, check, finish, write_accounts
from curation.stages import Funnel, Record, funnels, read_jsonl, to_line
from sprint_sgl.errors import BadInput
from sprint_sgl.files import alone, whole_file
from sprint_sgl.settings import entry_point


def merge(config: Config) -> None:
    """Merges every stage's files by the traces' places in the source. Raises BadInput where a shard is not done."""
    folders = [replace(config, shard=shard).folder for shard in range(config.shards)]
    out = Path(config.out)
    for name in ORDER[:-1]:
        for path in (f"{name}.jsonl", f"rejected/{name}.jsonl"):
            with whole_file(out / path) as merged:
                merged.writelines(to_line(record) for record in in_order([folder / path for folder in folders]))
        total = summed([account_of(folder, name) for folder in folders])
        with whole_file(out / "funnel" / f"{name}.json") as file:
            json.dump(asdict(total) | {"digest": ""}, file, indent=2)
    write_accounts(out)
    finish(replace(config, shards=1))


def in_order(paths: Sequence[Path]) -> Iterator[Record]:
    if missing := [path for path in paths if not path.is_file()]:
        raise BadInput(f"{missing[0]} is not there: run that shard to its end first")
    return heapq.merge(*(read_jsonl(path) for path in paths), key=lambda record: record["index"])


def account_of(folder: Path, stage: str) -> Funnel:
    found = funnels(folder, [stage])
    if not found:
        raise BadInput(f"{folder} has not finished {stage}: run that shard to its end first")
    return found[0]


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
    with alone(Path(config.out)):
        merge(config)


if __name__ == "__main__":
    main()
