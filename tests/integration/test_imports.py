"""What is imported and what is not: placeholders, the frontend without the server, commands that stay light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from curation.countdown.rows import CountdownRowsConfig, Problems, make_rows
from sprint_sgl.runtime.cpu_server import clean_mappings
from sprint_sgl.runtime.trimmed_imports import leaving_out, placeholder, undecorated
from tests.fakes.runs import record, write_run

ROOT = Path(__file__).parents[2]
HEAVY = ("sglang", "torch", "transformers")
LOADED = f"""
import json, sys
from sprint_sgl.cli.app import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def loaded_by(*words: str) -> list[str]:
    """Of the heavy packages, those that a command has imported by its end."""
    code = LOADED.replace("import json, sys", f"import json, sys\nsys.argv = ['sprint-sgl', *{words!r}]")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [record(k, method, widths=(2, 1)) for method in ("sprint", "sequential") for k in range(4)]
    return write_run(tmp_path_factory.mktemp("runs") / "run", records)


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("list",), ("solve", "--help"), ("train", "--help")])
def test_help_and_names_load_no_heavy_package(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) == []


def test_reading_results_loads_no_heavy_package(run_folder: Path, tmp_path: Path) -> None:
    records = run_folder / "records.jsonl"
    assert loaded_by("report", str(run_folder), "--out", str(tmp_path / "report")) == []
    assert loaded_by("view", str(run_folder), "--out", str(tmp_path / "page.html"), "--no-open") == []
    assert loaded_by("fleet", f"path={records}", "workers=2", "questions=4", f"hydra.run.dir={tmp_path}") == []


def test_an_estimate_of_a_training_loads_no_heavy_package_once_a_step_was_simulated(tmp_path: Path) -> None:
    make_rows(CountdownRowsConfig(out=str(tmp_path / "rows"), problems=Problems(three=4, four=0), validation=1))
    words = (
        "train",
        "cost",
        "model=countdown-mini-sprint",
        f"dataset={tmp_path}/rows/rft",
        f"hydra.run.dir={tmp_path}",
    )
    assert "torch" in loaded_by(*words)
    assert loaded_by(*words) == []


@pytest.mark.parametrize(
    "module",
    [
        *(
            "sprint_sgl",
            "sprint_sgl.trajectory",
            "sprint_sgl.protocol",
            "sprint_sgl.cli.app",
            "programs",
            "sprint_sgl.capacity.simulator",
        ),
        *("sprint_sgl.bench.report.figures", "sprint_sgl.bench.report.profiles"),
    ],
)
def test_a_light_module_loads_no_heavy_package(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_package_offers_its_first_names_and_imports_them_on_use() -> None:
    code = """
import sys, sprint_sgl
assert not [name for name in sys.modules if name.startswith("sprint_sgl.")]
from sprint_sgl import Trajectory, __version__, connect, launch, parse, render
assert parse(render(Trajectory("1 + 1?", final_answer="2"))).final_answer == "2"
assert callable(launch) and callable(connect) and __version__[0].isdigit()
assert not {"torch", "transformers", "sglang"} & sys.modules.keys()
print(hasattr(sprint_sgl, "nothing"))
"""
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "False\n"


def test_programs_load_sglangs_frontend_and_neither_its_server_nor_torch() -> None:
    code = """
import sys
from programs import sprint_program
assert "sglang.lang.interpreter" in sys.modules
assert not {"torch", "transformers", "IPython", "sglang.srt.utils"} & sys.modules.keys()
from sglang import RuntimeEndpoint, function, gen  # the frontend is whole
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_threads_that_need_transformers_first_at_the_same_time_all_get_it() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
import sprint_sgl.runtime.frontend
from sprint_sgl.storage.checkpoints import load_tokenizer
with ThreadPoolExecutor(16) as pool:
    assert len(list(pool.map(load_tokenizer, ["countdown-mini-sprint"] * 16))) == 16
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.runtime
def test_transformers_is_patched_as_sglang_wants_it_once_its_server_is_imported_after_all() -> None:
    code = """
import sys
import sprint_sgl.runtime.frontend
import sglang.srt.server_args
assert sys.modules["sglang.srt.utils.hf_transformers_patches"]._applied
from sglang.srt import utils
assert utils.kill_process_tree.__module__ == "sglang.srt.utils.common"
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_placeholder_can_be_named_and_made_and_says_what_is_missing_when_it_is_used() -> None:
    kind = placeholder("some.package", "Kernel")
    assert issubclass(type("Own", (kind,), {}), kind)
    assert not isinstance(3, kind.Inner)
    with pytest.raises(ImportError, match=r"some\.package\.Kernel was left out of this process"):
        kind(1, size=2).run()


def test_what_is_left_out_for_a_while_is_found_afterwards() -> None:
    assert "tabnanny" not in sys.modules
    with leaving_out(["tabnanny"]):
        import tabnanny

        assert isinstance(tabnanny.check, type)
    import tabnanny

    assert not isinstance(tabnanny.check, type)


def test_decorators_that_compile_leave_functions_as_they_are() -> None:
    def double(x: int) -> int:
        return 2 * x

    assert undecorated(double) is double
    assert undecorated(dynamic=True)(double) is double


SMAPS = """\
7f00-7f10 r-xp 00000000 08:01 11    /lib/libclean.so
Rss:                  16 kB
Anonymous:             0 kB
7f10-7f20 r--p 00010000 08:01 11    /lib/relocated.so
Rss:                  16 kB
Anonymous:             8 kB
7f20-7f30 rw-p 00020000 08:01 11    /lib/libclean.so
Rss:                  16 kB
Anonymous:             0 kB
7f30-7f40 r--s 00000000 08:01 11    /lib/shared.so
Rss:                  16 kB
Anonymous:             0 kB
7f40-7f50 r--p 00000000 00:00 0
Rss:                  16 kB
Anonymous:             0 kB
7f50-7f60 r--p 00000000 08:01 12    /lib/with a blank.so
Rss:                  16 kB
Anonymous:             0 kB
"""


def test_only_private_read_only_pages_of_files_that_nobody_has_modified_are_unmapped() -> None:
    assert list(clean_mappings(SMAPS)) == [(0x7F00, 0x7F10), (0x7F50, 0x7F60)]
