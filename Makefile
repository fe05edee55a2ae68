# Each target makes what it needs: a virtual environment in .venv, with pinned versions. None needs root.

# Nothing of the user's AWS account, CIAB server, proxies or Python reaches what is run here.
SCRUBBED := env -i PATH="$(PATH)" HOME="$(HOME)" LANG=C.UTF-8 TERM="$${TERM:-dumb}" \
            TMPDIR="$${TMPDIR:-/tmp}" CI="$${CI:-}" PYTHONDONTWRITEBYTECODE=1
PYTHON := .venv/bin/python
RUN := @$(SCRUBBED) $(PYTHON)
PYTEST := $(RUN) -m pytest -q

PARALLEL := --numprocesses auto --dist loadfile

.PHONY: help demo test slow lint bench prove sample clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    a sandbox on this machine, from nothing to its end"
	@echo "make test    the tests; make slow: those that start servers and machines over and over"
	@echo "make lint    style, types, layers, sizes"
	@echo "make bench   the measurements"
	@echo "make prove   the long tests; make sample: a few rounds of each"
	@echo "make clean   remove what the others made"

demo: .venv/.local
	$(RUN) scripts/demo.py

test: .venv/.dev
	$(PYTEST) $(PARALLEL) -m "not slow" tests/unit tests/contract tests/integration

slow: .venv/.dev
	$(PYTEST) $(PARALLEL) -m slow tests/integration

lint: .venv/.dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	@$(SCRUBBED) .venv/bin/lint-imports
	$(RUN) scripts/check_sizes.py

bench: .venv/.dev
	$(RUN) -m benchmarks

prove: .venv/.dev
	$(PYTEST) --full tests/prove

sample: .venv/.dev
	$(PYTEST) tests/prove

clean:
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.local: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh local
	@touch $@

.venv/.dev: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh dev
	@touch $@ .venv/.local
