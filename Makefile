.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The environment is the same whatever the shell around has set.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help
help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: up
up: setup ## Start everything and serve until Ctrl-C
	@$(BIN)/threadkeep up

.PHONY: demo
demo: setup ## Carry 258,145 real messages through all tiers and compare every byte
	@$(BIN)/python -m benchmarks.demo

.PHONY: test
test: setup lint ## Run every check: style, types, structure, tests on real servers
	@$(BIN)/python -m pytest

.PHONY: faults
faults: setup ## Break everything, row by row, and see that nothing acknowledged is lost
	@$(BIN)/python -m pytest tests/faults -m "extensive or not extensive" -v

.PHONY: browser
browser: setup ## Open the sockets from pages of a real browser; needs Chromium
	@$(BIN)/python -m pytest tests/browser -m browser

.PHONY: lint
lint: setup ## Check style, types and structure only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: setup ## Measure acknowledgements beside their peers
	@$(BIN)/python -m benchmarks.ack

.PHONY: setup
setup: $(VENV)/.installed ## Make the virtual environment

$(VENV)/.installed: requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it with PYTHON=…" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	@$(PIP) install --requirement requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

.PHONY: clean
clean: ## Remove the virtual environment and caches; data stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
