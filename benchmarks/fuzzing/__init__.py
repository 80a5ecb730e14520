"""Cases by the million for whatever reads model output or user input; `benchmarks/fuzz.py` runs them.

`texts` and `bodies` make what is read, the modules named `read_...` and `shown`, `asked`, `files` say what must hold.
"""
