"""An hour of mixed load on a served model whose runtime is killed again and again; `benchmarks/soak.py` runs it.

`load` is what clients do, `machine` the processes, their kills and their samples, `claims` what must hold of both.
"""
