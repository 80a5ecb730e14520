"""How the grader agrees with pairs that other graders' own tests judge.

python benchmarks/bench_grader.py ../shared/data/grader_pairs_dev.jsonl
"""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from sprint_sgl.answers import same_answer
from sprint_sgl.console import screen


def main(path: Path) -> None:
    pairs = [json.loads(line) for line in path.read_text().splitlines()]
    table = Table("gold", "answer", "expected", "ours", "from")
    for pair in pairs:
        ours = same_answer(pair["pred"], pair["gold"])
        if ours != pair["equal"]:
            table.add_row(Text(pair["gold"]), Text(pair["pred"]), str(pair["equal"]), str(ours), pair["source"])
    agreed = len(pairs) - table.row_count
    screen().print(table, f"{agreed} of {len(pairs)} agree ({agreed / len(pairs):.1%})", highlight=False)


if __name__ == "__main__":
    typer.run(main)
