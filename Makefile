# Two commands matter to a newcomer: `make demo` and `make test`. Both set up everything they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready

.PHONY: setup demo test test-full lint lock tools bench bench-detection clean

setup: $(STAMP)

# The lock has every version and hash; the project itself is installed last, without touching its dependencies.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("haltline needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m stream.local_kafka --fetch
	@$(BIN)/python -m stream.warm_up
	@touch $@
	@echo "haltline is ready: $(BIN)/haltline --help"

demo: setup
	@$(BIN)/haltline demo

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: setup lint
	@$(BIN)/python -m pytest -m "not slow"

# All tests, and other examples of the properties than last time.
test-full: setup lint
	@HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest

# Optional real parts that Debian has; without them their tests are skipped with one line each.
tools:
	@.ci/tools

# Every goal of speed beside what is measured, in under a quarter of an hour on two cores; `python -m bench` lists all.
bench: setup
	@$(BIN)/python -m bench speed

# Every goal of detection beside what is measured: one table, under half an hour on two cores.
bench-detection: setup
	@$(BIN)/python -m bench detection

lock:
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	  --group plots --group dev --group build pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) .haltline demo-out bench/out
