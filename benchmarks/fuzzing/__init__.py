"""The fuzz's targets; benchmarks/fuzz.py runs them.

`texts` and `request_bodies` make the input. `model_output`, `server_requests`, `files` and `display` hold the claims
that are checked.
"""
