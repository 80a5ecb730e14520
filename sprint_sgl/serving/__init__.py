"""Programs behind OpenAI's HTTP interface, on any SGLang runtime.

    sprint-sgl serve --port 8000

The life of a request, file by file:

1. `middleware` and `keys`: the size of the body and the API key are checked.
2. `app` reads the body as one of the models in `requests`, which are built from `fields`.
3. `service` runs the program in a thread on one of the `backends`, once `admission` has a free place.
4. `stream` sorts what the branches write into pieces of reasoning and of the answer.
5. `chat_replies` and `responses_replies` format the pieces or the whole answer in OpenAI's shapes.
6. `errors` maps what went wrong to a status and a code; `metrics` counts.

`server` starts the runtimes and stops everything; `live` is the page at `/`.
"""
