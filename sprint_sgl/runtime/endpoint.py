"""Our connection to a running SGLang server, as a backend of SGLang's frontend.

The stock `RuntimeEndpoint` waits for ever and streams the beginnings of stop strings into the text. This one bounds
every request in time (`sprint_sgl/runtime/transport.py`) and reports the accounting and the times of each call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, RequestFailed, RuntimeUnavailable
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE
from sprint_sgl.runtime.executor import call_options, context_of, set_call_options
from sprint_sgl.runtime.frontend import (
    BaseBackend,
    ChatTemplate,
    SglSamplingParams,
    StreamExecutor,
    get_chat_template_by_model_path,
)
from sprint_sgl.runtime.gateway_client import GatewayWorker, reachable_workers, read_workers
from sprint_sgl.runtime.messages import GENERATE, Meta, check_generation, held_back, parse_object, request_body
from sprint_sgl.runtime.prefix_reuse import TokenizedContext, append_reply, tokenize
from sprint_sgl.runtime.resolved_args import NO_PREFIX_CACHE, NO_SEEDS, ignores_seeds, lacks_prefix_cache
from sprint_sgl.runtime.tokenizer import ModelTokenizer, matching_tokenizer
from sprint_sgl.runtime.transport import Transport, check_response
from sprint_sgl.storage.checkpoints import model_notes
from sprint_sgl.validation import REQUEST_LIMIT

ABORT_LIMIT = 5.0  # seconds
IDLE_LIMIT = 30.0  # seconds
WORKERS_LIMIT = 120.0  # seconds that other weights wait for all workers of a gateway


@dataclass
class _ServerFacts:
    """What all sessions of an endpoint know of the server, and what they have said of it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    info: Meta | None = None
    said: set[str] = field(default_factory=set)

    def say_once(self, line: str) -> None:
        with self.lock:
            if line in self.said:
                return
            self.said.add(line)
        say(line, "yellow")


class Endpoint(BaseBackend):  # type: ignore[misc]
    """A running SGLang server.

    url            its address, with or without a path such as a gateway's prefix
    time_limit     seconds that one request may take in all
    reconnects     how often a refused or reset connection is tried again, 0.2 s apart and doubling
    token_prompts  send contexts as token ids if the server's tokenizer is on this machine; else as text
    Raises RuntimeUnavailable if no SGLang server answers there, BadInput for a limit out of range.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        time_limit: float = REQUEST_LIMIT,
        reconnects: int = 2,
        connect_limit: float = 5.0,
        token_prompts: bool = True,
    ) -> None:
        super().__init__()
        self._transport = Transport(url, api_key, time_limit, reconnects, connect_limit)
        self.url = self._transport.url
        try:
            self.model_info = self._read_model_info()
        except BaseException:
            self.close()
            raise
        self._read_notes()
        self._tokenizers: dict[str, ModelTokenizer | None] = {}
        self._facts = _ServerFacts()
        self.token_prompts = token_prompts

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, model={self.get_model_name()!r})"

    def get_model_name(self) -> str:
        return str(self.model_info["model_path"])

    def get_chat_template(self) -> ChatTemplate:
        """Return the template for the model's name, as SGLang's own endpoint does."""
        return get_chat_template_by_model_path(self.get_model_name())

    def session(self, time_limit: float | None = None) -> Endpoint:
        """Return an endpoint for one run over the same connections: closing it stops the requests of that run alone."""
        session = copy(self)
        session._transport = self._transport.session(time_limit)
        return session

    def close(self) -> None:
        """Stop our requests on the server, which frees the threads that wait for them, and begin no others."""
        self._transport.shut()
        deadline = time.monotonic() + ABORT_LIMIT
        with suppress(RequestFailed, RuntimeUnavailable):
            while (running := self._transport.running()) and time.monotonic() < deadline:
                for request_id in running:
                    self.abort(request_id)
                time.sleep(0.02)  # a request on its way to the server is aborted in the next round
        self._transport.close()

    def on_close(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `close` call this, at once if it has been; return what takes it back."""
        return self._transport.on_shut(callback)

    def get_server_info(self) -> Meta:
        response = self._transport.send("GET", "/get_server_info")  # gateways know no other path
        return dict(check_response(response).json())

    def warn_without_cache(self) -> None:
        """Say on the terminal, once, if this server keeps no prefixes: forks depend on them."""
        if lacks_prefix_cache(self._info_once()):
            self._facts.say_once(f"{self.url} {NO_PREFIX_CACHE}")

    def warn_without_seeds(self) -> None:
        """Say on the terminal, once, if this server ignores seeds."""
        if warning := self.seed_warning():
            self._facts.say_once(warning)

    def seed_warning(self) -> str | None:
        """Return a line if this server ignores seeds; None if it honours them or does not say."""
        return NO_SEEDS if ignores_seeds(self._info_once()) else None

    def _info_once(self) -> Meta:
        """Return what the server said of itself when it was asked first; {} if it does not say, as a gateway may."""
        with self._facts.lock:
            if self._facts.info is None:
                try:
                    self._facts.info = self.get_server_info()
                except RuntimeUnavailable:
                    return {}
                except (RequestFailed, ValueError):
                    self._facts.info = {}
            return self._facts.info

    def load_weights(self, model_path: str) -> None:
        """Load another model of the same architecture and tokenizer into the running server.

        Raises BadInput if the two tokenizers are files here and differ: the server would keep its first one.
        """
        ours, theirs = (Path(str(path)) / "tokenizer.json" for path in (self.model_info["tokenizer_path"], model_path))
        if ours.is_file() and theirs.is_file() and ours.read_bytes() != theirs.read_bytes():
            raise BadInput(f"{model_path} has another tokenizer than {ours.parent}, which the server was started with")
        for response in self._post_to_all("/update_weights_from_disk", {"model_path": model_path}):
            self._check_loaded(response, model_path)
        self.read_model()

    def _check_loaded(self, response: httpx.Response, model_path: str) -> None:
        reply = parse_object(response.content)
        if "cache was not flushed" in str(reply.get("message")):  # a request that was given up still runs
            self._flush_once_idle()
        elif response.status_code != 200 or not reply.get("success"):
            reason = reply.get("message") or response.text.strip()[:500]
            raise RequestFailed(f"{self.url} did not load {model_path}: {reason}")

    def _post_to_all(self, path: str, body: Meta) -> list[httpx.Response]:
        """Return the server's response, or those of all workers if the server is a gateway without this path.

        Raises RuntimeUnavailable if not all workers come up, RequestFailed if they cannot be reached.
        """
        response, deadline = self._transport.send("POST", path, body), time.monotonic() + WORKERS_LIMIT
        if response.status_code != 404 or not self.workers():
            return [response]
        while not all(worker.healthy for worker in self.workers()):
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"{self.url}: not all of its workers are up")
            time.sleep(0.5)
        out_of_reach = f"{self.url} has no {path}, and its workers cannot be reached from here"
        workers = self.workers()
        if reachable_workers(workers, self.url) != workers:
            raise RequestFailed(out_of_reach)
        try:
            with ThreadPoolExecutor(max(len(workers), 1)) as pool:
                return list(pool.map(lambda worker: self._transport.send("POST", path, body, at=worker.url), workers))
        except RuntimeUnavailable as error:
            raise RequestFailed(out_of_reach) from error

    def workers(self) -> list[GatewayWorker]:
        """Return a gateway's workers; none if the server is not a gateway."""
        return read_workers(self._transport.send("GET", "/workers"))

    def _flush_once_idle(self) -> None:
        """Raise RequestFailed if requests still run after IDLE_LIMIT."""
        try:
            self.flush_cache(IDLE_LIMIT)
        except RequestFailed as error:
            raise RequestFailed(f"{self.url} cannot take other weights while it runs requests") from error

    def read_model(self) -> None:
        """Ask the server which model it serves, and read what the model's notes say of its use."""
        self.model_info = self._read_model_info()
        self._read_notes()

    def flush_cache(self, limit: float = 0.0) -> None:
        """Empty the prefix cache; try again for `limit` seconds while requests run, such as those of a lost client.

        Raises RequestFailed.
        """
        deadline = time.monotonic() + limit
        while True:
            try:
                return self._flush()
            except RequestFailed:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    def _flush(self) -> None:
        response = self._transport.send("POST", "/flush_cache")
        if response.status_code == 206:  # a gateway that reached some of its workers; a dead worker has no cache
            for worker in reachable_workers(self.workers(), self.url):
                if worker.healthy:
                    check_response(self._transport.send("POST", "/flush_cache", at=worker.url))
        else:
            check_response(response)

    def cache_prefix(self, prefix_str: str) -> None:
        self._generate_plain(prefix_str, 0)

    def warm_up(self, tokens: int = 4) -> None:
        """Generate a few tokens for nothing: the first request pays for what the runtime sets up late."""
        self._generate_plain("1 2 3", tokens)

    def _generate_plain(self, text: str, tokens: int) -> None:
        body = {"text": text, "sampling_params": {"max_new_tokens": tokens}}
        check_response(self._transport.send("POST", GENERATE, body))

    def abort(self, request_id: str) -> None:
        """Stop a request on the server, or on the worker of a gateway that has it if this machine can reach it.

        A request that has ended is not an error.
        """
        body, limit = {"rid": request_id}, ABORT_LIMIT
        response = self._transport.send("POST", "/abort_request", body, limit)
        if response.status_code == 404 and (workers := self.workers()):
            for worker in reachable_workers(workers, self.url):
                with suppress(RuntimeUnavailable):  # a dead worker has stopped the request
                    self._transport.send("POST", "/abort_request", body, limit, at=worker.url)
        else:
            check_response(response)

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, Meta]:
        """Return the continuation and its accounting, with `start` and `end` on the perf_counter clock."""
        start = time.perf_counter()
        context = self._context(s)
        response = check_response(self._transport.send("POST", GENERATE, request_body(s, context, sampling_params)))
        reply = check_generation(parse_object(response.content), self.url)
        self._keep_tokens(s, context, reply)
        times = {"start": start, "end": time.perf_counter(), "retries": response.extensions["retries"]}
        return reply["text"], reply["meta_info"] | times

    def generate_stream(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> Iterator[tuple[str, Meta]]:
        """Yield the continuation in pieces; text that may be the beginning of a stop string is held back."""
        start = time.perf_counter()
        sent = 0
        reply: Meta = {"text": "", "meta_info": {}}
        context = self._context(s)
        for reply in self._transport.stream(request_body(s, context, sampling_params) | {"stream": True}):
            text, meta = reply["text"], reply["meta_info"]
            done = meta.get("finish_reason") is not None
            ready = len(text) if done else len(text) - held_back(text, sampling_params.stop)
            if ready > sent or done:
                yield text[sent:ready], meta | {"start": start, "end": time.perf_counter()}
                sent = max(sent, ready)
        if reply["meta_info"].get("finish_reason") is None:
            raise RuntimeUnavailable(f"{self.url} broke off a stream after {len(reply['text'])} characters")
        self._keep_tokens(s, context, reply)

    def _context(self, s: StreamExecutor) -> TokenizedContext | None:
        """Return the executor's text in the tokens of its earlier replies; None if it has to be sent as text."""
        tokenizer = self._tokenizer() if self.token_prompts else None
        if tokenizer is None:
            return None
        return tokenize(context_of(s), call_options(s).tokenized, tokenizer.encode, tokenizer.encode_first)

    def _keep_tokens(self, s: StreamExecutor, context: TokenizedContext | None, reply: Meta) -> None:
        """Keep the tokens of the context and its reply for the executor's next call."""
        if context is not None and (tokenizer := self._tokenizer()):
            ids = reply.get("output_ids") or ()
            set_call_options(s, tokenized=append_reply(context, reply["text"], ids, tokenizer.decode))

    def _tokenizer(self) -> ModelTokenizer | None:
        """Return the server's tokenizer; None if this machine has none that encodes as the server does."""
        name = str(self.model_info.get("tokenizer_path") or self.get_model_name())
        if name not in self._tokenizers:
            self._tokenizers[name] = matching_tokenizer(name, self._server_tokens)
        return self._tokenizers[name]

    def _server_tokens(self, text: str) -> list[int] | None:
        """Return the server's tokens of a text; None if it cannot be asked."""
        return parse_object(self._transport.send("POST", "/tokenize", {"prompt": text}).content).get("tokens")

    def _read_model_info(self) -> Meta:
        for path in ("/model_info", "/get_model_info"):
            response = self._transport.send("GET", path)
            if response.status_code in (401, 403):
                raise RuntimeUnavailable(f"{self.url} refuses this API key (HTTP {response.status_code})")
            if response.status_code == 503:
                raise RuntimeUnavailable(f"{self.url} is not ready (HTTP 503): ask again once its model has loaded")
            info = parse_object(response.content)
            if response.status_code == 200 and info.get("model_path"):
                return info
        raise RuntimeUnavailable(
            f"{self.url} answers, but not as an SGLang server does "
            f"(HTTP {response.status_code} for {path}): give the address of one"
        )

    def _read_notes(self) -> None:
        notes = model_notes(self.get_model_name())
        self.trained_style: str | None = notes.get("prompt_style")
        self.prompt_style = self.trained_style or DEFAULT_PROMPT_STYLE
        self.max_new_tokens: int | None = notes.get("max_new_tokens")
        self.max_sequential_tokens: int | None = notes.get("max_sequential_tokens")
        self.trained_on: str | None = notes.get("trained_on")
        self.scope: str | None = notes.get("scope")
        self.single_questions: bool = bool(notes.get("single_questions"))
        self.notation: str | None = notes.get("notation")
