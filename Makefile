# Every target sets up what it needs: a virtual environment in the checkout, with the package in it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Both lines of Datasette, each with what it needs in a folder of its own: the tests run them.
DATASETTE := .venv-datasette
# Other libraries, to measure beside: kept away from the environment that is tested.
BENCH_VENV := .venv-bench
BENCH := $(BENCH_VENV)/bin/python -m benchmarks.run

.PHONY: demo test faults check format docs bench bench-quick clean

demo: $(VENV)/.installed
	$(BIN)/foldlog demo

# In four processes: tests that kill, race and crash processes mostly wait.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n 4 --dist worksteal

# The same tests of faults as in `test`, at full size; figures at the end. FAULTS="--faults-seed=7" repeats a run.
faults: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q tests/faults --faults=full $(FAULTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/make_reference.py --check

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pages that are made from the code: the schema, the API.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/make_reference.py

# Without them, their tests are skipped.
datasette: $(DATASETTE)/0.65/.installed $(DATASETTE)/1.0/.installed

$(DATASETTE)/0.65/.installed: VERSION := 0.65.5
$(DATASETTE)/1.0/.installed: VERSION := 1.0a41
$(DATASETTE)/%/.installed: Makefile $(VENV)/bin/python
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(@D) datasette==$(VERSION)
	touch $@

# About ten minutes, and two; see benchmarks/README.md.
bench: $(BENCH_VENV)/.installed $(BENCH_VENV)/.installed-peers
	$(BENCH)

bench-quick: $(BENCH_VENV)/.installed $(BENCH_VENV)/.installed-peers
	$(BENCH) --quick

$(VENV)/bin/python $(BENCH_VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "foldlog needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.installed-test $(VENV)/.installed

$(BENCH_VENV)/.installed: $(BENCH_VENV)/bin/python pyproject.toml
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# What cannot be installed is not measured; the next run tries again.
$(BENCH_VENV)/.installed-peers: $(BENCH_VENV)/.installed benchmarks/requirements-peers.txt
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --requirement benchmarks/requirements-peers.txt && touch $@ || \
	  echo "the other libraries could not be installed: measuring without them" >&2

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(DATASETTE) .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
