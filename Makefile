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

.PHONY: down
down: setup ## Stop what `make up` runs here; its data stays
	@$(BIN)/threadkeep down

.PHONY: demo
demo: setup-all ## Carry 258,145 real messages through all tiers and compare every byte
	@$(BIN)/python -m benchmarks.demo

# Parts run side by side, for most tests wait more than they compute; the longest begin first.
# What breaks servers under load and minds the clock has the machine to itself.
LATER := $(addprefix tests/tiers/,archive consistency erase recover replicate transfer)
DRILL := tests/faults/test_recovery_drill.py
test-flow: TESTS = $(filter-out %__pycache__,$(wildcard tests/flow/*/))
test-tiers: TESTS = $(filter-out $(LATER) %__pycache__,$(patsubst %/,%,$(wildcard tests/tiers/*/)))
test-outages: TESTS = $(wildcard tests/flow/test_*.py)
test-later: TESTS = $(LATER)
test-drill: TESTS = $(DRILL)
PARTS := $(addprefix test-,flow tiers outages later clients embedded model browser deploy selftest drill unit)
$(PARTS): TESTS ?= $(@:test-%=tests/%)

# Servers write every commit to the disk. Where memory has room their data is there, which saves
# the waiting, and is deleted at the end.
ROOM_KB := 6000000
free_kb = $$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)
scratch = test "$(free_kb)" -gt $(ROOM_KB) 2>/dev/null \
	&& test "$$(awk '/^MemAvailable/ {print $$2}' /proc/meminfo)" -gt $(ROOM_KB) \
	&& mktemp -d /dev/shm/threadkeep-tests-XXXXXX || mktemp -d

.PHONY: test
test: setup-all $(VENV)/.deploy chromium typescript ## Run every check: style, types, structure, tests on real servers
	@scratch=$$($(scratch)); trap 'rm -rf "$$scratch"' EXIT; \
		trap 'exit 130' INT TERM; status=0; \
		$(MAKE) --no-print-directory --jobs 3 --keep-going PYTEST_DEBUG_TEMPROOT="$$scratch" \
			lint $(PARTS) || status=1; \
		$(MAKE) --no-print-directory test-faults || status=1; exit $$status

# Each says everything at its end.
.PHONY: $(PARTS) test-faults
$(PARTS):
	@said=$$($(BIN)/python -m pytest $(TESTS) 2>&1); \
		status=$$?; printf '%s\n' "$$said"; exit $$status
test-faults:
	@$(BIN)/python -m pytest tests/faults --ignore $(DRILL)

.PHONY: faults
faults: setup-all ## Break everything, row by row, and see that nothing acknowledged is lost
	@$(BIN)/python -m pytest tests/faults tests/model \
		-m "extensive or not extensive" -v

.PHONY: clients
clients: setup-all typescript ## Only the tests of clients, with the long faults
	@$(BIN)/python -m pytest tests/clients -m "extensive or not extensive" -v

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

# Likewise for our JavaScript client and the generated one, whose packages stay in folders that git
# ignores.
TYPESCRIPT := clients/js tests/clients/typescript
.PHONY: typescript
typescript:
	@for folder in $(TYPESCRIPT); do (cd $$folder && { \
		test node_modules/.installed -nt package-lock.json \
		|| { command -v npm >/dev/null && npm ci --silent --no-audit --no-fund --ignore-scripts \
			&& touch node_modules/.installed; } \
		|| echo "no npm here: the tests of $$folder are skipped"; }); done

.PHONY: deploy
deploy: setup-all $(VENV)/.deploy ## Only the tests of the files in deploy/: image, compose, chart, units
	@$(BIN)/python -m pytest tests/deploy

$(VENV)/.deploy: requirements-deploy.lock $(VENV)/.installed-all
	@$(PIP) install --require-hashes --no-deps --requirement requirements-deploy.lock
	@touch $@

.PHONY: fuzz
fuzz: setup-all ## Send the API whatever its description allows, and what it does not
	@FUZZ_SECONDS=600 FUZZ_SEED=$$(date +%s) $(BIN)/python -m pytest tests/clients/test_fuzzing.py --verbose

.PHONY: lint
lint: setup-all ## Check style, types and structure only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd clients/python && $(CURDIR)/$(BIN)/lint-imports

# Tools that work on the locks, in an environment of their own: they need other versions than ours.
TOOLS := build/tools
$(TOOLS)/.installed: Makefile
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install uv==0.13.9 pip-audit==2.10.1 2>$(TOOLS)/log
	@touch $@

# A lock leaves out what the ones before it have. Pins stay as they are unless setup.cfg rules them
# out, or UPGRADE names packages, or `all`.
.PHONY: lock
lock: upgrade = $(if $(filter all,$(UPGRADE)),--upgrade,$(UPGRADE:%=--upgrade-package %))
lock: pin = $(TOOLS)/bin/uv pip compile --quiet $(upgrade) setup.cfg --extra embedded
lock: names = $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' $(1)) $(1:%=--constraints %)
lock: $(TOOLS)/.installed ## Pin what setup.cfg asks for, with hashes; UPGRADE="package…" or all renews
	@grep -o 'setuptools==[0-9.]*' pyproject.toml | $(pin) - --output-file requirements.lock
	@$(pin) $(call names,requirements.lock) --extra otel --extra dev --output-file requirements-dev.lock
	@for part in bench deploy; do \
		$(pin) $(call names,requirements.lock requirements-dev.lock) --extra $$part \
			--output-file requirements-$$part.lock || exit 1; done

# Not a part of `lint`: the service's answer changes while the code does not, and takes a network.
LOCKS := $(wildcard requirements*.lock)
.PHONY: audit
audit: $(TOOLS)/.installed ## Ask whether anything that is pinned has a known weakness
	@$(TOOLS)/bin/pip-audit --disable-pip --require-hashes --progress-spinner off \
		$(LOCKS:%=--requirement %) >$(TOOLS)/audit.txt 2>&1; status=$$?; \
		if grep -q 'could not be audited' $(TOOLS)/audit.txt \
			|| ! grep -qi 'known vulnerabilit' $(TOOLS)/audit.txt; then \
			echo "the advisories cannot be reached, so this says nothing; see $(TOOLS)/audit.txt" >&2; \
			exit 2; \
		fi; cat $(TOOLS)/audit.txt; exit $$status

.PHONY: bench
bench: setup-all $(VENV)/.bench ## Measure everything, beside its peers, in a quarter of an hour
	@$(BIN)/python -m benchmarks.bench

$(VENV)/.bench: requirements-bench.lock $(VENV)/.installed-all
	@$(PIP) install --require-hashes --no-deps --requirement requirements-bench.lock
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
	@$(PIP) install --require-hashes --no-deps --requirement requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-all: $(VENV)/.installed requirements-dev.lock
	@$(PIP) install --require-hashes --no-deps --requirement requirements-dev.lock
	@touch $@

.PHONY: clean
clean: ## Remove the virtual environment and caches; data stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
