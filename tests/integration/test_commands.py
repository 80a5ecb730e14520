"""The commands against a real runtime: solve, chat, bench, sweeps, serve."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from sprint_sgl import protocol
from sprint_sgl.bench.found_weights import FOUND_WEIGHTS
from sprint_sgl.runtime.endpoint import Endpoint
from sprint_sgl.runtime.launcher import connect
from sprint_sgl.runtime.server import DEFAULT_MODEL, resolve_model
from sprint_sgl.tasks.countdown.problem import draw_problems
from sprint_sgl.trajectory import Trajectory
from tests.fakes.commands import COMMAND, START_LIMIT, run_command, served
from tests.fakes.waiting import idle, wait_for

pytestmark = pytest.mark.runtime
QUESTION = "Use 80, 42 and 46 to make 84"  # three numbers: a thousand tokens


def test_solve_prints_the_trajectory_as_json(url: str) -> None:
    done = run_command("solve", "--url", url, "--prompt-style", "mini", "--json", QUESTION)
    assert done.returncode in (0, 3), done.stderr
    assert Trajectory.from_json(done.stdout).question == QUESTION


def test_a_conversation_in_a_pipe_is_answered_line_by_line(url: str) -> None:
    options = ("--prompt-style", "mini", "--temperature", "0")
    done = run_command("chat", "--url", url, *options, input=f"{QUESTION}\n/new\n{QUESTION}\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[answer]") == done.stdout.count("sequential of") == 2
    assert "forgotten" in done.stderr


def test_a_running_server_answers_with_the_prompt_style_that_is_asked_for(url: str) -> None:
    done = run_command(
        "solve", "--url", url, "--prompt-style", "sprint", "--max-new-tokens", "40", "--max-stages", "2", "What is 2+2?"
    )
    assert done.returncode == 0, done.stderr


def test_bench_goes_on_where_it_was_killed(url: str, tmp_path: Path) -> None:
    overrides = [
        f"url={url}",
        f"out={tmp_path}",
        "task=countdown",
        "task.problems=2",
        "task.numbers=[3]",
        "block=1",
        "temperature=0",
    ]
    overrides.append("against=[sequential]")
    first = subprocess.Popen([*COMMAND, "bench", *overrides], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = tmp_path / "records.jsonl"
    wait_for(lambda: records.exists() and records.read_text().count("\n") >= 2, START_LIMIT)
    first.kill()
    first.wait()
    done = records.read_text().count("\n")
    second = run_command("bench", *overrides)
    assert second.returncode == 0, second.stderr
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    assert done < len(rows) == 4
    assert len({(row["method"], row["id"]) for row in rows}) == 4
    assert "against" in second.stdout  # the two methods are compared
    with connect(url) as endpoint:  # the killed start has left the other model there
        assert endpoint.get_model_name() == resolve_model(DEFAULT_MODEL)
    assert not (tmp_path / FOUND_WEIGHTS).exists()


def test_a_served_model_that_was_trained_for_another_program_is_announced(url: str, tmp_path: Path) -> None:
    words = [f"url={url}", "model=served", "program=sequential", f"out={tmp_path}", "task=countdown"]
    done = run_command("bench", *words, "limit=1", "temperature=0")
    assert "was trained on sprint rows, and the program sequential needs a model trained on rft rows" in done.stderr


def test_a_sweep_keeps_each_job_in_a_folder_named_by_its_values(url: str, tmp_path: Path) -> None:
    words = [
        "--multirun",
        f"url={url}",
        f"out={tmp_path}",
        "task=countdown",
        "task.problems=2",
        "task.numbers=[3]",
        "limit=1",
    ]
    sweep = [*words, "program.max_stages=1,2", "temperature=0.0,0.6"]
    done = run_command("bench", *sweep)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.parent.name for path in tmp_path.glob("*/records.jsonl"))
    assert len(folders) == 4
    for folder in folders:
        settings = json.loads((tmp_path / folder / "run.json").read_text())["settings"]
        assert folder == f"program.max_stages={settings['program']['max_stages']},temperature={settings['temperature']}"
    more = run_command("bench", *[word.replace("limit=1", "limit=2") for word in sweep])
    assert more.returncode == 0, more.stderr
    assert {path.read_text().count("\n") for path in tmp_path.glob("*/records.jsonl")} == {2}
    report = tmp_path / "report"
    assert f"{report / 'report.html'}" in more.stderr
    assert (report / "report.csv").read_text().count("\n") == 5
    assert (report / "sweep.png").is_file()
    wrong = run_command("bench", *words, "program.max_stage=1,3")
    assert wrong.returncode == 1
    assert "'max_stage' is none of" in wrong.stderr


def test_a_server_that_others_use_is_measured_as_it_is(url: str, tmp_path: Path) -> None:
    """Its model is not known here, and its cache cannot be emptied while it runs their requests."""
    overrides = [
        f"url={url}",
        "model=served",
        f"out={tmp_path}",
        "task=countdown",
        "task.problems=2",
        "task.numbers=[3]",
    ]
    endless = {"text": "1", "sampling_params": {"max_new_tokens": 3000, "ignore_eos": True}, "rid": "others"}
    with ThreadPoolExecutor(1) as pool, httpx.Client(timeout=300) as client:
        others = pool.submit(client.post, f"{url}/generate", json=endless)
        done = run_command("bench", *overrides)
        client.post(f"{url}/abort_request", json={"rid": "others"})
        others.result()
    assert done.returncode == 0, done.stderr
    made_by = json.loads((tmp_path / "run.json").read_text())
    assert made_by["task"] == "countdown"
    assert made_by["methods"]["sprint"]["weights"] == {"url": url}
    assert (tmp_path / "records.jsonl").read_text().count("\n") == 2
    assert (tmp_path / "report" / "report.html").is_file()
    alone = run_command("bench", *overrides[1:])
    assert "'served' is the model of a running server: give url=..." in alone.stderr


def test_a_served_question_is_answered_and_one_whose_client_leaves_stops_on_the_runtime(
    url: str, endpoint: Endpoint
) -> None:
    with served("--url", url, "--name", "mini") as (_, address):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        asked = {"model": "mini:sprint", "messages": [{"role": "user", "content": QUESTION}]}
        reply = client.chat.completions.create(**asked, temperature=0)
        stages = protocol.parse(reply.choices[0].message.reasoning_content).stages
        assert len(stages) == reply.sprint["stages"] >= 1
        assert reply.usage.completion_tokens == reply.sprint["total_tokens"] > reply.sprint["sequential_tokens"]
        stream = client.chat.completions.create(**asked, stream=True, temperature=0)
        pieces = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert pieces == reply.choices[0].message.content
        leaving = client.chat.completions.create(**asked, stream=True)
        next(iter(leaving))
        wait_for(lambda: not idle(endpoint), 60)  # between two calls of a run it is idle for a moment
        leaving.close()
        wait_for(lambda: idle(endpoint), 60)


HARNESS_TASK = """
task: countdown_three
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: ""
generation_kwargs: {{until: [], max_gen_toks: 512, temperature: 0.0}}
process_results: !function graded.right
metric_list: [{{metric: right, aggregation: mean, higher_is_better: true}}]
"""
HARNESS_GRADER = """
from sprint_sgl.tasks.countdown.checker import check_countdown
from sprint_sgl.grading.extract import extract_answer

def right(doc, results):
    answer = extract_answer(results[0]) or ""
    return {"right": check_countdown(answer, doc["numbers"], doc["target"]).correct}
"""


def test_lm_eval_runs_a_task_against_the_server(url: str, tmp_path: Path) -> None:
    asked = list(draw_problems(3, 99, 4, held_out=True))
    data = tmp_path / "problems.jsonl"
    rows = [{"question": p.question, "numbers": p.numbers, "target": p.target} for p in asked]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "graded.py").write_text(HARNESS_GRADER)
    (tmp_path / "task.yaml").write_text(HARNESS_TASK.format(data=data))
    with served("--url", url, "--name", "mini") as (_, address):
        model = f"model=mini:sprint,base_url={address}/v1/chat/completions,num_concurrent=4"
        words = ["lm_eval", "--model", "local-chat-completions", "--model_args", model, "--tasks", "countdown_three"]
        words += ["--include_path", str(tmp_path), "--apply_chat_template", "--output_path", str(tmp_path / "out")]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, timeout=400, check=False, env=environment
        )
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(found.read_text())
    assert results["n-samples"]["countdown_three"]["effective"] == 4
    assert results["results"]["countdown_three"]["right,none"] >= 0.5
