"""A program: an SGLang function whose errors reach the caller.

SGLang's frontend turns an exception in a worker thread into a warning and lets `run()` return truncated text. A
`Program` is an `SglFunction` whose `run`, `run_batch` and stream raise instead, and whose state carries the trajectory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from inspect import Parameter, Signature, getdoc, signature
from itertools import islice
from typing import Any, Literal, overload

from sprint_sgl.errors import BadInput, ProgramFailed, RuntimeUnavailable, SprintError
from sprint_sgl.lang.arguments import check_arguments
from sprint_sgl.lang.calls import RESULTS, model_note
from sprint_sgl.lang.defaults import MAX_NEW_TOKENS, TEMPERATURE
from sprint_sgl.runtime.executor import end_executor
from sprint_sgl.runtime.frontend import (
    ProgramState,
    SglFunction,
    SglSamplingParams,
    StreamExecutor,
    get_chat_template,
    global_config,
)
from sprint_sgl.trajectory import Trajectory
from sprint_sgl.validation import checked_count, checked_temperature, suggestion

AHEAD = 4  # runs of a batch that have begun or wait to be read, for each thread
RowsKind = str  # the name of a format of sprint_sgl/protocol/formats.py, or "rft"
Row = Mapping[str, Any] | Sequence[Any] | str
RAW = get_chat_template("default")  # programs write chat turns as text; a model's own template would add stop strings


class Run(ProgramState):  # type: ignore[misc]
    """SGLang's state of a run, with its `trajectory`; reading the answer waits for the run's end, and raises."""

    def __init__(self, executor: StreamExecutor) -> None:
        super().__init__(executor)
        self._done = threading.Event()
        self._failure: BaseException | None = None

    @property
    def trajectory(self) -> Trajectory:
        """The whole run, as soon as it has ended. Raises what stopped the program."""
        return self["trajectory"]  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> Any:
        if name in RESULTS:
            self._done.wait()
            self.raise_failure()
        return super().__getitem__(name)

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """Yield the planner's text as SGLang streams it. Raises at its end what stopped the program."""
        yield from super().text_iter(var_name)
        if var_name is None:
            self._done.wait()
        self.raise_failure()

    def __repr__(self) -> str:
        if not self._done.is_set():
            return "<Run, not ended>"
        if self._failure is not None:
            return f"<Run, failed: {self._failure}>"
        run = self.trajectory
        cost = f"{run.sequential_tokens} sequential of {run.total_tokens} tokens"
        return f"<Run, {len(run.stages)} stages, {cost}, answer {self['answer']!r}>"

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def execute(self, program: Program, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Run the program's body to its end and keep what stops it for `raise_failure`."""
        try:
            self["trajectory"] = self.ret_value = program.func(self, *args, **kwargs)
        except SprintError as error:
            self._failure = error
        except BaseException as error:
            self._failure = ProgramFailed("program", error) if isinstance(error, Exception) else error
            self._failure.__cause__ = error if isinstance(error, Exception) else None
        finally:
            end_executor(self)
            self._done.set()


class Program(SglFunction):  # type: ignore[misc]
    """An SGLang function with the paper's defaults (appendix A.1) and errors that reach the caller.

    Its body sets `s["answer"]` and returns the trajectory. `answer_after` is the tag behind which the planner's text is
    the answer, so that a stream can send it as it is written; without a tag the answer is known once the run has ended.
    `needs` is the kind of rows, "sprint" or "rft", without which a model does not know how to write for the program.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        bind_arguments: dict[str, Any] | None = None,
        answer_after: str | None = None,
        needs: RowsKind | None = None,
    ) -> None:
        super().__init__(func, bind_arguments=bind_arguments)
        self.answer_after, self.needs = answer_after, needs
        self.run = _documented(self)  # type: ignore[method-assign]

    def bind(self, **kwargs: Any) -> Program:
        """Return the program with these arguments fixed. Raises BadInput for an argument or a value that it refuses."""
        self._check(kwargs, self.arg_names)
        return Program(self.func, {**self.bind_arguments, **kwargs}, self.answer_after, self.needs)

    def _check(self, arguments: Mapping[str, Any], known: Sequence[str]) -> None:
        if unknown := [key for key in arguments if key not in self.arg_names]:
            near = suggestion(unknown[0], known)
            has = f"{near} It has" if near else "; it has"
            raise BadInput(f"{self.func.__name__} has no argument {unknown[0]!r}{has} {', '.join(known)}")
        check_arguments(self.func, arguments)

    def run(
        self,
        *args: Any,
        temperature: float = TEMPERATURE,
        max_new_tokens: int | None = None,
        stream: bool = False,
        backend: Any = None,
        top_p: float = 1.0,
        top_k: int = -1,
        min_p: float = 0.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        **kwargs: Any,
    ) -> Run:
        """Run on the backend, or on the default one that `launch`, `connect` or `sgl.set_default_backend` set.

        temperature      sampling temperature of every call; top_p and the others are SGLang's, too
        max_new_tokens   limit of each call; by default the model's own, or the paper's
        stream           return at once; iterate `text_iter()`, then read `["answer"]` and `.trajectory`
        kwargs           the program's own arguments
        Raises ProgramFailed, which names the branch, RuntimeUnavailable if no backend is set, and BadInput.
        """
        arguments = {**self.bind_arguments, **kwargs}
        self._check({**dict(zip(self.arg_names, args, strict=False)), **arguments}, [*self.arg_names, *RUN_OPTIONS])
        backend = _backend(backend)
        if max_new_tokens is not None:
            checked_count("max_new_tokens", max_new_tokens)
        sampling = SglSamplingParams(
            max_new_tokens=max_new_tokens or model_note(backend, "max_new_tokens") or MAX_NEW_TOKENS,
            temperature=checked_temperature(temperature),
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            stop=[],
            stop_token_ids=[],
            stop_regex=[],
        )
        if temperature and arguments.get("seed") is not None and hasattr(backend, "warn_without_seeds"):
            backend.warn_without_seeds()
        run = Run(StreamExecutor(backend, arguments, sampling, chat_template=RAW, stream=stream))
        if stream:
            threading.Thread(target=run.execute, args=(self, args, arguments), daemon=True).start()
            return run
        run.execute(self, args, arguments)
        run.raise_failure()
        return run

    def _arguments(self, row: Row) -> dict[str, Any]:
        """Return a row of a batch by argument names; a text is the first. Raises BadInput for too many values."""
        if isinstance(row, Mapping):
            return dict(row)
        values = (row,) if isinstance(row, str) else tuple(row)
        if len(values) > len(self.arg_names):
            raise BadInput(
                f"{self.func.__name__} takes {', '.join(self.arg_names)}; a row of the batch has {len(values)}"
            )
        return dict(zip(self.arg_names, values, strict=False))

    @overload
    def run_batch(
        self, batch_kwargs: Iterable[Row], *, generator_style: Literal[True], **options: Any
    ) -> Iterator[Run]: ...

    @overload
    def run_batch(self, batch_kwargs: Iterable[Row], **more: Any) -> list[Run]: ...

    def run_batch(
        self,
        batch_kwargs: Iterable[Row],
        *,
        num_threads: int | Literal["auto"] = "auto",
        progress_bar: bool = False,
        generator_style: bool = False,
        **options: Any,
    ) -> list[Run] | Iterator[Run]:
        """Run all rows side by side and return their states in order; options as for `run`.

        Every run is carried to its end; then the first failure, if any, is raised. With `generator_style` the states
        come one by one, each as soon as it and all before it have ended; a failure, or leaving early, ends the rest.
        States that were handed over are then not kept, and rows of an iterator are read as they are needed.
        """
        if num_threads != "auto" and not (isinstance(num_threads, int) and num_threads > 0):
            raise BadInput(f"num_threads must be at least 1 or 'auto', got {num_threads!r}")
        threads = 96 if num_threads == "auto" else num_threads
        given = map(self._arguments, batch_kwargs)
        rows = iter(list(given)) if isinstance(batch_kwargs, Sequence) or not generator_style else given
        pool = ThreadPoolExecutor(threads)
        backend = _backend(options.pop("backend", None))
        session = backend.session() if generator_style and hasattr(backend, "session") else None
        options["backend"] = session or backend
        try:
            futures = _submit_ahead(rows, lambda row: pool.submit(self.run, **row, **options), AHEAD * threads)
        except BaseException:
            _abandon(pool, session)
            raise
        if progress_bar:
            futures = _with_progress(futures, len(batch_kwargs) if isinstance(batch_kwargs, Sized) else None)
        return _iterate_runs(pool, futures, session) if generator_style else _collect_runs(pool, futures)


RUN_OPTIONS = [
    name for name, option in signature(Program.run).parameters.items() if option.kind is Parameter.KEYWORD_ONLY
]


def _documented(program: Program) -> Callable[..., Run]:
    """Return `program.run` with the signature and the text that help() and editors show: its own arguments first."""

    def run(*args: Any, **kwargs: Any) -> Run:
        return Program.run(program, *args, **kwargs)

    own = list(signature(program.func).parameters.values())[1:]  # without the state
    options = signature(Program.run).parameters
    shown = [each.replace(kind=Parameter.POSITIONAL_OR_KEYWORD) for each in own]
    run.__signature__ = Signature([*shown, *(options[name] for name in RUN_OPTIONS)])  # type: ignore[attr-defined]
    run.__doc__ = f"{getdoc(program.func)}\n\n{getdoc(Program.run)}"
    run.__qualname__ = f"{program.func.__name__}.run"
    return run


@overload
def program(function: Callable[..., Any]) -> Program: ...


@overload
def program(
    *, answer_after: str | None = None, needs: RowsKind | None = None
) -> Callable[[Callable[..., Any]], Program]: ...


def program(
    function: Callable[..., Any] | None = None, *, answer_after: str | None = None, needs: RowsKind | None = None
) -> Program | Callable[[Callable[..., Any]], Program]:
    """Decorate a function: `@program` instead of `@sgl.function`, or `@program(answer_after=TAG)`; see `Program`."""
    if function is None:
        return lambda function: Program(function, answer_after=answer_after, needs=needs)
    return Program(function, answer_after=answer_after, needs=needs)


def _backend(backend: Any) -> Any:
    backend = backend or global_config.default_backend
    if backend is None:
        raise RuntimeUnavailable("no runtime is set: wrap the call in `with launch():` or `with connect(url):`")
    return getattr(backend, "endpoint", backend)  # an sgl.Runtime has its endpoint inside


def _submit_ahead(
    rows: Iterator[dict[str, Any]], begin: Callable[[dict[str, Any]], Future[Run]], ahead: int
) -> Iterator[Future[Run]]:
    """Yield the runs of the rows in order: `ahead` begin at once, one more whenever the next is asked for."""
    begun = deque(map(begin, islice(rows, ahead)))

    def futures() -> Iterator[Future[Run]]:
        while begun:
            yield begun.popleft()
            begun.extend(map(begin, islice(rows, 1)))

    return futures()


def _iterate_runs(pool: ThreadPoolExecutor, futures: Iterator[Future[Run]], session: Any) -> Iterator[Run]:
    """Yield the runs in order. If the caller leaves early, closing the session, if any, ends their requests alone."""
    try:
        for future in futures:
            yield future.result()
    except BaseException:
        _abandon(pool, session)
        raise
    pool.shutdown()


def _abandon(pool: ThreadPoolExecutor, session: Any) -> None:
    """Begin no more runs and, if they have a session, stop the requests of the runs under way."""
    pool.shutdown(wait=False, cancel_futures=True)
    if session:
        session.close()


def _collect_runs(pool: ThreadPoolExecutor, futures: Iterator[Future[Run]]) -> list[Run]:
    states: list[Run] = []
    failed: BaseException | None = None
    with pool:
        for future in futures:
            if error := future.exception():
                failed = failed or error
            else:
                states.append(future.result())
    if failed is not None:
        raise failed
    return states


def _with_progress(futures: Iterator[Future[Run]], total: int | None) -> Iterator[Future[Run]]:
    from rich.progress import track

    yield from track(futures, description="running", total=total)
