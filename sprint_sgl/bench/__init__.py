"""Benchmarks: methods on a task (`sprint-sgl bench`), their reports and where their time goes (`report`, `profile`).

The life of a record, file by file:

1. `run` reads the settings (`config`) and claims the output folder (`run_folder`).
2. `runner` asks the questions that have no record yet, on the runtime of `runtime`.
3. `records` and `failures` define the lines that are written; `judging` adds a judge's verdicts.
4. `report` compares the methods; `sweep` reports on all jobs of a sweep.

`replay` and `replay_backend` are a task of recorded trajectories.
"""
