"""The parts of the soak test; benchmarks/soak.py runs it.

`load` holds the clients, `machine` the processes with their kills and samples, `claims` what must hold.
"""
