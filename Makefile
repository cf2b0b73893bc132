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
demo: setup-all ## Carry 258,145 real messages through all tiers and compare every byte
	@$(BIN)/python -m benchmarks.demo

.PHONY: test
test: setup-all lint chromium ## Run every check: style, types, structure, tests on real servers
	@status=0; \
		$(MAKE) --no-print-directory --jobs 3 --keep-going test-units test-tiers test-flow || status=1; \
		$(MAKE) --no-print-directory test-alone || status=1; exit $$status

# Most tests wait more than they compute, so three parts run side by side; two say everything at
# their ends. What breaks servers or minds the clock has the machine to itself.
.PHONY: test-units test-tiers test-flow test-alone
test-units:
	@said=$$($(BIN)/python -m pytest tests/unit tests/embedded tests/browser 2>&1); \
		status=$$?; printf '%s\n' "$$said"; exit $$status
test-tiers:
	@said=$$($(BIN)/python -m pytest tests/tiers 2>&1); \
		status=$$?; printf '%s\n' "$$said"; exit $$status
test-flow:
	@$(BIN)/python -m pytest tests/flow
test-alone:
	@$(BIN)/python -m pytest tests/selftest tests/faults tests/model

.PHONY: faults
faults: setup-all ## Break everything, row by row, and see that nothing acknowledged is lost
	@$(BIN)/python -m pytest tests/faults tests/model \
		-m "extensive or not extensive" -v

.PHONY: browser
browser: setup-all chromium ## Only the tests in a real browser: console and sockets
	@$(BIN)/python -m pytest tests/browser -m browser

# What is there is taken, and where Debian's packages may be installed it is installed. Without it
# the tests in a browser are skipped, and say so.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& echo "installing Chromium for the tests in a browser" \
		&& timeout 300 sh -c 'apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
			apt-get -qq install --yes --no-install-recommends chromium' >/dev/null 2>&1; } \
		|| echo "no Chromium here: the tests in a browser are skipped"

.PHONY: lint
lint: setup-all ## Check style, types and structure only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: setup-all $(VENV)/.bench ## Measure everything, beside its peers, in a quarter of an hour
	@$(BIN)/python -m benchmarks.bench

$(VENV)/.bench: requirements-bench.lock $(VENV)/.installed-all
	@$(PIP) install --requirement requirements-bench.lock
	@touch $@

.PHONY: setup
setup: $(VENV)/.installed ## Make the virtual environment, with what serving needs

.PHONY: setup-all
setup-all: $(VENV)/.installed-all ## Add what tests, measurements and traces need

$(VENV)/.installed: requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it with PYTHON=…" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	@$(PIP) install --no-deps --requirement requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-all: $(VENV)/.installed requirements-dev.lock
	@$(PIP) install --no-deps --requirement requirements-dev.lock
	@touch $@

.PHONY: clean
clean: ## Remove the virtual environment and caches; data stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
