# Every target runs in .venv and builds it first if necessary: a minute or two and 10 GB of disk.

BIN := .venv/bin
# Three processes, since on two cores one of them is usually waiting. Each process takes whole files of tests, so that a
# file starts its runtime once. One OpenMP thread each: with more, the processes would compete for the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder
STAMP := .venv/.installed-$(firstword $(shell cksum < pyproject.toml))
IS_311 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'
# uv does not read pip's settings, so pip's index, if one is set, is passed on.
PIP_INDEX = $(BIN)/python -m pip config list | sed -n "s/^[^=]*\.index-url='\(.*\)'$$/\1/p" | head -n 1

# Some images set this variable; each start of a runtime would then compile thousands of Python files again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-all fast check docs bench

help:
	@echo "make demo      solve a question with a trained planner and its executors, on this machine's CPU"
	@echo "make test      run the checks and all tests but the longest"
	@echo "make test-all  run the checks and all tests, before a release"
	@echo "make fast      run the tests that start no runtime and train nothing"
	@echo "make check     check formatting, lint, types, and the documentation's build"
	@echo "make docs      the documentation as a site in work/site"
	@echo "make bench     measure speed-ups and overheads, as ratios, on a quiet machine"
	@echo "make setup     only build .venv; the other targets do so if necessary"

setup: $(STAMP)

demo: $(STAMP)
	@$(BIN)/sprint-sgl solve --temperature 0 "Use 60, 84, 8 and 96 to make 12" || [ $$? -eq 3 ] # a small model may be wrong

test: $(STAMP)
	@status=0; \
	$(MAKE) --no-print-directory check || status=1; \
	$(PYTEST) -m "not release" || status=1; \
	exit $$status

test-all: $(STAMP)
	@$(MAKE) --no-print-directory check
	@$(PYTEST)

fast: $(STAMP)
	@$(PYTEST) -m "not runtime and not training and not release"

# Prints ratios as medians with their range, in about an hour. Run it on an otherwise idle machine.
bench: $(STAMP)
	$(BIN)/python benchmarks/bench_realised.py --questions 6
	$(BIN)/python benchmarks/bench_fork.py
	$(BIN)/python benchmarks/bench_prefix.py --questions 4 --rounds 2
	rm -rf work/throughput
	$(BIN)/python benchmarks/bench_throughput.py --concurrency 1,4,16 --rounds 3 --questions 8 --max-stages 2 --out work/throughput
	$(BIN)/python benchmarks/bench_throughput.py --concurrency 64 --rounds 2 --max-stages 2 --out work/throughput
	$(BIN)/python benchmarks/bench_many_questions.py --width 2 --seconds 0.01
	$(BIN)/python benchmarks/bench_gateway.py --out work/gateway
	$(BIN)/python benchmarks/bench_serving.py

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	@$(MAKE) --no-print-directory docs

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(BIN)/uv:
	@for python in python3.11 python3 python; do \
		if $$python $(IS_311) 2>/dev/null; then break; fi; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11 was not found: neither python3.11 nor python3 on the PATH is one." >&2; exit 1; \
	fi; \
	echo "Creating .venv with $$($$python --version)"; \
	$$python -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv

# The stamp is named after the content of pyproject.toml and written last, so after a change or an interrupted install
# there is no stamp.
$(STAMP): | $(BIN)/uv
	@echo "Installing sprint-sgl and its dependencies into .venv: a minute or two, 10 GB of disk"
	@rm -f .venv/.installed-*
	@export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$$($(PIP_INDEX))}}"; \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[serve,train,dev]"
	@touch $@
