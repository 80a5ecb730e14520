# Every target runs from .venv, which the first one builds: about a minute and 10 GB of disk.

BIN := .venv/bin
# In three processes, each of which takes one file of tests after another, so that a file starts its runtime once: on two
# cores one of them waits for something most of the time. They and what they start share the cores and do not know it:
# with more threads they would wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder
STAMP := .venv/.installed-$(firstword $(shell cksum < pyproject.toml))
IS_311 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'
# uv reads no pip settings, so the index that pip is set to, if any, is handed over.
PIP_INDEX = $(BIN)/python -m pip config list | sed -n "s/^[^=]*\.index-url='\(.*\)'$$/\1/p" | head -n 1

# Some images switch compiled Python files off; each start of a runtime would then compile thousands of them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-all fast check docs bench

help:
	@echo "make demo      a question solved by a trained planner and its executors, on this machine's CPU"
	@echo "make test      the checks and every test"
	@echo "make test-all  also the tests that repeat at length what others show, before a release"
	@echo "make fast      the tests that start no runtime and train nothing"
	@echo "make check     formatting, lint, types, and the documentation's build"
	@echo "make docs      the documentation as a site in work/site"
	@echo "make bench     what speed-ups and overheads are here, as ratios, on a quiet machine"
	@echo "make setup     only the set-up, which the others do by themselves"

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

# Ratios, medians and what they lie between, in about an hour; measure on a machine that does nothing else.
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

# The stamp is named after the content of pyproject.toml and written last: a change or an interrupted install leaves none.
$(STAMP): | $(BIN)/uv
	@echo "Installing sprint-sgl and what it needs into .venv: about a minute, 10 GB of disk"
	@rm -f .venv/.installed-*
	@export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$$($(PIP_INDEX))}}"; \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[serve,train,dev]"
	@touch $@
