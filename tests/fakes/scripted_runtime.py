"""A scripted server with the part of SGLang's HTTP API that our endpoint needs, on a real socket.

    python tests/fakes/scripted_runtime.py --port 30000 --seconds 0.02 --width 6

Serves until it is interrupted. Every question gets the same trajectory: a stage of `width` prompts and the answer. Each
call takes `--seconds`, whatever the concurrency, so any other cost is the client's.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import typer
from aiohttp import web

from sprint_sgl.trajectory import Execution, Prompt, Stage, Trajectory
from tests.fakes.scripted import count_tokens, cut, replay

WORDS = " ".join(f"word{n}" for n in range(40))


def trajectory(width: int) -> Trajectory:
    prompts = tuple(Prompt(f"Try the sum of number {j} and what is left of it.", f"Way {j}.") for j in range(width))
    return Trajectory("q", (Stage(prompts, tuple(Execution(WORDS) for _ in prompts)),), r"So \boxed{12}.")


def application(width: int, seconds: float) -> web.Application:
    script = replay(trajectory(width))

    async def generate(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        params = body["sampling_params"]
        forced = params.get("ignore_eos", False)
        text = WORDS * 50 if forced else script(body["text"])
        written, reason = cut(text, params.get("stop", ()), params["max_new_tokens"])
        await asyncio.sleep(seconds)
        return web.json_response({"text": written, "meta_info": meta(body["text"], written, reason)})

    async def information(request: web.Request) -> web.Response:
        return web.json_response({"model_path": "scripted", "tokenizer_path": "scripted"})

    async def done(request: web.Request) -> web.Response:
        return web.json_response({"success": True})

    app = web.Application(client_max_size=2**30)
    app.router.add_post("/generate", generate)
    app.router.add_get("/model_info", information)
    app.router.add_post("/{name:flush_cache|abort_request}", done)
    return app


def meta(prompt: str, written: str, reason: dict[str, Any]) -> dict[str, Any]:
    stopped = reason["type"] == "stop"
    return {
        "prompt_tokens": count_tokens(prompt),
        "cached_tokens": 0,
        "completion_tokens": count_tokens(written) + stopped,
        "finish_reason": reason,
    }


def main(port: int = 30000, seconds: float = 0.02, width: int = 3) -> None:
    web.run_app(application(width, seconds), host="127.0.0.1", port=port, backlog=4096, print=None)


if __name__ == "__main__":
    typer.run(main)
