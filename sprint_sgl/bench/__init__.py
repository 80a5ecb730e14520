"""Benchmarks: methods on a task (`sprint-sgl bench`), their reports and where their time goes (`report`, `profile`).

The life of a record, file by file:

1. `run` reads the settings (`config`) and claims the output folder (`resume`).
2. `runner` asks the questions that have no record yet, on the runtime of `runtime`.
3. `records` and `failures` define the lines that are written; `judging` adds a judge's verdicts.
4. `report` compares the methods; `sweep` reports on all jobs of a sweep.

`replay` is a task of recorded trajectories, `tool_replay` one of recorded plans with a tool; each has a backend that
plays them.
"""
