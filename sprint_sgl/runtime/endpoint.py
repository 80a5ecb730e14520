"""Our connection to a running SGLang server, as a backend of SGLang's frontend.

The stock `RuntimeEndpoint` waits for ever and lets a stop string that is still being streamed slip into the text. This
one bounds every request in time (`sprint_sgl/runtime/transport.py`) and reports each call's accounting and times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from pathlib import Path

import httpx

from sprint_sgl.console import say
from sprint_sgl.errors import BadInput, RequestFailed, RuntimeUnavailable
from sprint_sgl.protocol.prompts import DEFAULT_PROMPT_STYLE
from sprint_sgl.runtime import gateway_client as behind
from sprint_sgl.runtime.context_tokens import Tokenized, replied, tokenized
from sprint_sgl.runtime.frontend import (
    BaseBackend,
    ChatTemplate,
    SglSamplingParams,
    StreamExecutor,
    get_chat_template_by_model_path,
)
from sprint_sgl.runtime.messages import GENERATE, Meta, generated, held_back, json_object, request_body
from sprint_sgl.runtime.resolved_args import NO_PREFIX_CACHE, lacks_prefix_cache
from sprint_sgl.runtime.tokenizer import Spelling, file_spelling, special_tokens, spelling
from sprint_sgl.runtime.transport import Transport, checked
from sprint_sgl.storage.checkpoints import model_notes

ABORT_LIMIT = 5.0  # seconds
IDLE_LIMIT = 30.0  # seconds
JOINING_TEST = "<prompt_1.1> Try 12 * 34 = 408 first.\n</prompt_1.1>\n\nBased on execution_1.1: ünïcode  \tand 字"
SPELLING_TEST = (
    f"{JOINING_TEST}, 12345678, don't DON'T,    \n\n\n  \\frac{{a}}{{b}}, e\u0301, \U0001f642, "
    "\u0928\u092e\u0938\u094d\u0924\u0947\r\n"
)
CREW_LIMIT = 120.0  # seconds that other weights wait for all workers of a gateway


class Endpoint(BaseBackend):  # type: ignore[misc]
    """A running SGLang server.

    url            its address, with or without a path such as a gateway's prefix
    time_limit     seconds that one request may take in all
    reconnects     how often a refused or reset connection is tried again, 0.2 s apart and doubling
    token_prompts  send contexts as token ids where the server's tokenizer is here too, else as text
    Raises RuntimeUnavailable where no SGLang server answers there, BadInput for a limit that is none.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        time_limit: float = 600.0,
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
        self._spellings: dict[str, Spelling | None] = {}
        self._asked_about_cache, self._asking_about_cache = threading.Event(), threading.Lock()
        self.token_prompts = token_prompts

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, model={self.get_model_name()!r})"

    def get_model_name(self) -> str:
        return str(self.model_info["model_path"])

    def get_chat_template(self) -> ChatTemplate:
        """By the model's name, as SGLang's own endpoint does."""
        return get_chat_template_by_model_path(self.get_model_name())

    def session(self, time_limit: float | None = None) -> Endpoint:
        """The same server over the same connections, for one run: closing it stops that run's requests alone."""
        session = copy(self)
        session._transport = self._transport.session(time_limit)
        return session

    def close(self) -> None:
        """Stops our requests on the server, which frees the threads that wait for them, and begins no others."""
        self._transport.shut()
        deadline = time.monotonic() + ABORT_LIMIT
        with suppress(RequestFailed, RuntimeUnavailable):
            while (running := self._transport.running()) and time.monotonic() < deadline:
                for request_id in running:
                    self.abort(request_id)
                time.sleep(0.02)  # one that is still on its way to the server is aborted in the next round
        self._transport.close()

    def get_server_info(self) -> Meta:
        return dict(self._transport.request("GET", "/get_server_info").json())  # gateways know no other path

    def note_missing_cache(self) -> None:
        """Say on the terminal, once, that this server keeps no prefixes where that is so: forks live on them."""
        if self._asked_about_cache.is_set():
            return
        with self._asking_about_cache, suppress(RuntimeUnavailable):
            if self._asked_about_cache.is_set():
                return
            with suppress(RequestFailed, ValueError):  # a gateway may not know
                if lacks_prefix_cache(self.get_server_info()):
                    say(f"{self.url} {NO_PREFIX_CACHE}", "yellow")
            self._asked_about_cache.set()

    def load_weights(self, model_path: str) -> None:
        """Swaps in another model of the same architecture and tokenizer; the server keeps running.

        Raises BadInput where the two tokenizers are files here and differ: the server would keep its first one.
        """
        ours, theirs = (Path(str(path)) / "tokenizer.json" for path in (self.model_info["tokenizer_path"], model_path))
        if ours.is_file() and theirs.is_file() and ours.read_bytes() != theirs.read_bytes():
            raise BadInput(f"{model_path} has another tokenizer than {ours.parent}, which the server was started with")
        for response in self._send_to_all("/update_weights_from_disk", {"model_path": model_path}):
            self._check_loaded(response, model_path)
        self.read_model()

    def _check_loaded(self, response: httpx.Response, model_path: str) -> None:
        answer = json_object(response)
        if "cache was not flushed" in str(answer.get("message")):  # a request that was given up still runs
            self._flush_once_idle()
        elif response.status_code != 200 or not answer.get("success"):
            said = answer.get("message") or response.text.strip()[:500]
            raise RequestFailed(f"{self.url} did not load {model_path}: {said}")

    def _send_to_all(self, path: str, body: Meta) -> list[httpx.Response]:
        """The answer of the server, or those of all workers where it is a gateway that has no such path.

        Raises RuntimeUnavailable where not all workers come up, RequestFailed where they cannot be reached.
        """
        response, deadline = self._transport.send("POST", path, body), time.monotonic() + CREW_LIMIT
        if response.status_code != 404 or not self.workers():
            return [response]
        while not all(worker.healthy for worker in self.workers()):
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"{self.url}: not all of its workers are up")
            time.sleep(0.5)
        out_of_reach = f"{self.url} has no {path}, and its workers cannot be reached from here"
        workers = self.workers()
        if behind.within_reach(workers, self.url) != workers:
            raise RequestFailed(out_of_reach)
        try:
            return [self._transport.send("POST", path, body, at=worker.url) for worker in workers]
        except RuntimeUnavailable as error:
            raise RequestFailed(out_of_reach) from error

    def workers(self) -> list[behind.Worker]:
        """Those of a gateway; none where it is a server itself."""
        return behind.workers(json_object(self._transport.send("GET", "/workers")))

    def _flush_once_idle(self) -> None:
        """Raises RequestFailed where requests still run after some seconds."""
        deadline = time.monotonic() + IDLE_LIMIT
        while self._transport.send("POST", "/flush_cache").status_code != 200:
            if time.monotonic() > deadline:
                raise RequestFailed(f"{self.url} cannot take other weights while it runs requests")
            time.sleep(0.1)

    def read_model(self) -> None:
        """Asks the server which model it serves, and what the model's notes say of its use."""
        self.model_info = self._read_model_info()
        self._read_notes()

    def flush_cache(self) -> None:
        response = self._transport.send("POST", "/flush_cache")
        if response.status_code == 206:  # a gateway that reached some of its workers; one that is gone has no cache
            for worker in behind.within_reach(self.workers(), self.url):
                if worker.healthy:
                    self._transport.request("POST", "/flush_cache", at=worker.url)
        else:
            checked(response)

    def cache_prefix(self, prefix_str: str) -> None:
        self._transport.request("POST", GENERATE, {"text": prefix_str, "sampling_params": {"max_new_tokens": 0}})

    def warm_up(self, tokens: int = 4) -> None:
        """Generates a few tokens for nothing: the first request pays for what the runtime sets up late."""
        self._transport.request("POST", GENERATE, {"text": "1 2 3", "sampling_params": {"max_new_tokens": tokens}})

    def abort(self, request_id: str) -> None:
        """Stops a request on the server, or on whichever worker of a gateway has it, if that can be reached from here.

        One that has ended is no error.
        """
        body, limit = {"rid": request_id}, ABORT_LIMIT
        response = self._transport.send("POST", "/abort_request", body, limit)
        if response.status_code == 404 and (workers := self.workers()):
            for worker in behind.within_reach(workers, self.url):
                with suppress(RuntimeUnavailable):  # one that is gone has stopped it
                    self._transport.send("POST", "/abort_request", body, limit, at=worker.url)
        else:
            checked(response)

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, Meta]:
        """The continuation of `s.text_` and its accounting, with `start` and `end` on the perf_counter clock."""
        start = time.perf_counter()
        context = self._context(s)
        response = self._transport.request("POST", GENERATE, request_body(s, context, sampling_params))
        answer = generated(json_object(response), self.url)
        self._remember(s, context, answer)
        times = {"start": start, "end": time.perf_counter(), "retries": response.extensions["retries"]}
        return answer["text"], answer["meta_info"] | times

    def generate_stream(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> Iterator[tuple[str, Meta]]:
        """The same in pieces; text that may turn out to be a stop string is held back until it is decided."""
        start = time.perf_counter()
        sent = 0
        answer: Meta = {"text": "", "meta_info": {}}
        context = self._context(s)
        for answer in self._transport.stream(request_body(s, context, sampling_params) | {"stream": True}):
            text, meta = answer["text"], answer["meta_info"]
            done = meta.get("finish_reason") is not None
            ready = len(text) if done else len(text) - held_back(text, sampling_params.stop)
            if ready > sent or done:
                yield text[sent:ready], meta | {"start": start, "end": time.perf_counter()}
                sent = max(sent, ready)
        if answer["meta_info"].get("finish_reason") is None:
            raise RuntimeUnavailable(f"{self.url} broke off a stream after {len(answer['text'])} characters")
        self._remember(s, context, answer)

    def _context(self, s: StreamExecutor) -> Tokenized | None:
        """The executor's text in the tokens of its earlier replies; None where it has to be sent as text."""
        spelt = self._spelling() if self.token_prompts else None
        if spelt is None:
            return None
        return tokenized(s.text_, getattr(s, "tokenized", Tokenized()), spelt.encode, spelt.encode_first)

    def _remember(self, s: StreamExecutor, context: Tokenized | None, answer: Meta) -> None:
        if context is not None and (spelt := self._spelling()):
            s.tokenized = replied(context, answer["text"], answer.get("output_ids") or (), spelt.decode)

    def _spelling(self) -> Spelling | None:
        """The server's tokenizer; None where it is not here, or where that of the same name spells differently."""
        name = str(self.model_info.get("tokenizer_path") or self.get_model_name())
        if name not in self._spellings:
            self._spellings[name] = self._found_spelling(name)
        return self._spellings[name]

    def _found_spelling(self, name: str) -> Spelling | None:
        """Its tokenizer.json where that spells as the server does, else what transformers makes of it, if anything.

        A server that cannot be asked, such as a gateway, is taken to spell as transformers does.
        """
        from_file = file_spelling(name)
        text = SPELLING_TEST + "".join(special_tokens(name))
        theirs = self._tokens_of(text) if from_file else None
        if from_file and theirs == from_file.encode_first(text) and from_file.joins(JOINING_TEST):
            return from_file
        if (ours := spelling(name)) is None or not ours.joins(JOINING_TEST):
            return None
        theirs = theirs or self._tokens_of(text)
        return ours if theirs in (None, ours.encode_first(text)) else None

    def _tokens_of(self, text: str) -> list[int] | None:
        """The server's tokens of a text, where it can be asked."""
        return json_object(self._transport.send("POST", "/tokenize", {"prompt": text})).get("tokens")

    def _read_model_info(self) -> Meta:
        for path in ("/model_info", "/get_model_info"):
            response = self._transport.send("GET", path)
            if response.status_code in (401, 403):
                raise RuntimeUnavailable(f"{self.url} refuses this API key (HTTP {response.status_code})")
            if response.status_code == 503:
                raise RuntimeUnavailable(f"{self.url} is not ready (HTTP 503): ask again once its model has loaded")
            info = json_object(response)
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
