"""Programs behind OpenAI's HTTP interface, on any SGLang runtime.

    sprint-sgl serve --port 8000

A request's way through the files: `middleware` and `keys` stand before `app`, which reads it (`wire`, of `fields`);
`service` runs its program in a thread, on one of the `backends`, when the `gate` lets it in; `stream` sorts what the
branches write; `replies` says it in OpenAI's words, `faults` what went wrong.
"""
