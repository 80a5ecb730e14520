"""The `sprint-sgl` command in this process: what bad input and a call for help get, before any runtime is started."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from sprint_sgl.cli.app import main
from sprint_sgl.runtime.server import has_accelerator
from sprint_sgl.storage.package_files import CONF


class Done(NamedTuple):
    status: object
    out: str
    err: str


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # which an entry point sets: put back afterwards
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sprint-sgl", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "--url", "http://127.0.0.1:9", "q"], "nothing answers at http://127.0.0.1:9"),
        (["solve", "--url", "", "q"], "--url is empty"),
        (["solve", "--url", "http://", "q"], "is not an address"),
        (["solve", "--url", "ftp://x", "q"], "ftp://x is not an address"),
        (["solve", ""], "the question is empty"),
        (["launch", "--host", "1.2.3.4", "--port", "31777"], "cannot listen on 1.2.3.4, port 31777"),
        (["solve", "x" * 100_001], "the question has 100,001 characters"),
        (["solve", "--model", "no-such-model", "q"], "unknown model 'no-such-model'"),
        (["solve", "--runtime", "h1000", "q"], "unknown runtime 'h1000'"),
        (["solve", "--prompt-style", "nobody", "q"], "unknown prompt style 'nobody'"),
        (["launch", "--runtime", "endpoint"], "use connect"),
        (["train", "chek", "rows.jsonl"], "no command train chek, did you mean check?"),
        (
            ["train", "model=x", "dataset=x", "out=work/nothing"],
            "model='x' does not exist, and is not a hub id such as org/name",
        ),
        (["experiment"], "no experiment is chosen: experiment=countdown_mini or countdown_rl or formats"),
        (["experiment", "experiment=formats", "experiment.values.nonsense=3"], "'nonsense' is none of "),
        (["bench", "--multirun", "task=countdown", "limit=1,2", "--cfg", "job"], "Only one of --run, --multirun"),
        pytest.param(
            ["solve", "--runtime", "a100", "q"],
            "this runtime needs a GPU, and this machine has none",
            marks=pytest.mark.skipif(has_accelerator(), reason="this machine has a GPU"),
        ),
        (["bench"], "You must specify 'task', e.g, task=<OPTION>. Available options: aime2024, "),
        (["bench", "task=countdown", "task.problems=0"], "task.problems must be at least 1, got 0"),
        (
            ["bench", "task=countdown", "url=http://127.0.0.1:9", "runtime=gateway"],
            "leave one of them out",
        ),
        (
            ["bench", "task=nope"],
            "Could not find 'task/nope'. Available options in 'task': aime2024, ",
        ),
        (["bench", "task=countdown", "program.max_stage=4"], "'max_stage' is none of _target_, launch, max_stages, "),
        (["bench", "task=countdown", "against=[tree]"], "unknown program 'tree'; known: apr, base, best_of_n, "),
        (["bench", "task=countdown", "weights.sprint=nope", "out=work/nothing"], "unknown model 'nope'"),
        (["serve", "--host", "0.0.0.0"], "0.0.0.0 can be reached by others: set SPRINT_SERVE_KEYS"),
        (["serve", "--allow-origin", "example.org"], "'example.org' is not an origin: give scheme, host and port"),
        (["serve", "--program", "tree"], "unknown program 'tree'; known: apr, base, best_of_n, "),
        (["serve", "--url", "http://127.0.0.1:9"], "nothing answers at http://127.0.0.1:9"),
        (["view", "work/nothing.json"], "work/nothing.json cannot be read"),
        (["bench", "task=countdown", "out=", "task.problems=1"], "out= is empty"),
        (["bench", "task=countdown", "--multirun", "out=", "limit=1,2"], "out= is empty"),
        (["bench", "task=countdown", "--multirun", "out=.", "limit=1,2"], "out=. holds "),
        (["curate", "source.path=x.jsonl", "out="], "out= is empty"),
        (["curate", "source.path=x.jsonl", "out=."], "and no run of sprint-sgl curate: give a new or an empty folder"),
        (["curate", "source.path=x.jsonl", "out=.", "shards=2"], "and no run of sprint-sgl curate"),
        (["curate", "--multirun", "source.path=x.jsonl", "out=.", "shards=2", "shard=0,1"], "out=. holds "),
        (
            ["curate", "source.path=x", "teacher=sglang", "models.extract=m", "models.dag=m", "teacher.cache="],
            "is empty",
        ),
        (
            ["curate", "source.path=x", "teacher=sglang", "models.extract=m", "models.dag=m", "teacher.cache=."],
            "holds ",
        ),
        (["train", "model=countdown-mini-rft", "dataset=x", "out=."], "and no run of sprint-sgl train"),
        (["experiment", "experiment=formats", "out=."], "and no run of sprint-sgl experiment"),
    ],
)
def test_bad_input_is_one_line_and_a_failing_exit_status(
    run_command: Callable[..., Done], arguments: list[str], message: str
) -> None:
    done = run_command(*arguments)
    assert done.status == 1
    assert message in done.err
    said = [line for line in done.err.strip().splitlines() if not line.startswith("waiting for")]  # on a busy machine
    assert len(said) == 1
    assert done.out == ""


SECONDS, COUNT, WHOLE = (
    ("inf", "1e400", "nan", "-1", "0", "2000000", "soon"),
    ("0", "-1", "9" * 20, "1.5", "true"),
    "9" * 30,
)


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *[(command, "--time-limit", value) for command in ("solve", "chat", "serve") for value in SECONDS],
        *[(command, "--max-new-tokens", value) for command in ("solve", "chat") for value in COUNT],
        *[(command, "--max-stages", value) for command in ("solve", "chat") for value in COUNT],
        *[("serve", "--concurrency", value) for value in COUNT],
        *[("serve", "--shutdown-limit", value) for value in ("inf", "nan", "-1", "1e400")],
        ("serve", "--queue", WHOLE),
        ("solve", "--seed", WHOLE),
        ("solve", "--temperature", "inf"),
    ],
)
def test_a_number_that_no_runtime_takes_is_one_clear_error(
    run_command: Callable[..., Done], command: str, option: str, value: str
) -> None:
    done = run_command(command, "--url", "http://127.0.0.1:9", f"{option}={value}", *["q"][: command == "solve"])
    assert done.status == 2
    assert f"Invalid value for '{option}'" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "command", ["solve", "chat", "launch", "serve", "bench", "report", "view", "train", "curate", "experiment"]
)
def test_every_commands_help_shows_an_example(run_command: Callable[..., Done], command: str) -> None:
    done = run_command(command, "--help")
    assert done.status == 0
    assert f"sprint-sgl {command} " in done.out


@pytest.mark.parametrize("words", [("bench",), ("train",), ("train", "cost"), ("curate",), ("fleet",), ("experiment",)])
def test_help_lists_the_groups_and_keys_of_that_command_with_their_meaning(
    run_command: Callable[..., Done], words: tuple[str, ...]
) -> None:
    done = run_command(*words, "--help")
    examples, _, rest = done.out.partition("Groups, each a folder of conf/")
    groups, _, keys = rest.partition("Keys, as KEY=VALUE, with their defaults")
    assert examples.count(f"sprint-sgl {' '.join(words)} ") >= 3
    names = [line.split("=")[0] for line in groups.splitlines() if line[:1].islower()]
    assert names
    assert all((CONF / name).is_dir() for name in names)
    assert all(line.partition("=")[2].strip().endswith(":") for line in groups.splitlines() if line[:1].islower())
    lines = [line for line in keys.splitlines() if line[:1].islower()]
    assert len(lines) > 2
    assert all(len(line.partition(" ")[2].partition("  [")[0].strip()) > 1 for line in lines), lines


def test_help_beside_a_chosen_file_shows_its_keys(run_command: Callable[..., Done]) -> None:
    done = run_command("bench", "task=countdown", "program=sprint", "--help")
    assert re.search(r"task\.split +held_out, or train .*\[held_out\]", done.out)
    assert re.search(r"program\.max_stages +\[12\]", done.out)
    assert "recipe=papr: conf/recipe has no such file" in run_command("train", "recipe=papr", "--help").err


def test_multirun_may_stand_behind_other_words(run_command: Callable[..., Done]) -> None:
    done = run_command("bench", "task=countdown", "--multirun", "limit=1,2", "out=")
    assert "out= is empty" in done.err
