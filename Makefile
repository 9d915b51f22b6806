# Premia: `make help` lists every target. Only Python 3.11+ and make are needed beforehand.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ONLY ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast check format bench serve notebooks client lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## build .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Premia needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Hint: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv --clear $(VENV)
	@grep -A40 '^uv==' requirements.lock | awk 'NR == 1 || /--hash/ { print; next } { exit }' > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@# pip reads mirrors that uv does not know of, so it is the second try
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements.lock \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --offline --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## the whole path: simulate, train, compare, quote, recommend, reprice
	$(BIN)/premia demo

test: $(READY) ## every test, the notebooks included
	$(BIN)/python -m pytest -n 2 --dist loadgroup
	@$(MAKE) --no-print-directory notebooks

test-fast: $(READY) ## the tests that need less than two seconds each
	$(BIN)/python -m pytest -n 2 -m "not slow and not shared" -q

check: $(READY) ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## all benchmarks, or one: make bench ONLY=accuracy
	$(BIN)/python -m benchmarks $(ONLY)

serve: $(READY) ## the HTTP service on 127.0.0.1:8000 over what the demo made
	$(BIN)/premia serve --lake data/lake/demo --clock 2026-01-01T00:00:00

notebooks: $(READY) ## execute every notebook
	$(BIN)/python notebooks/execute.py

client: $(READY) ## write the models of clients/python from the OpenAPI document
	$(BIN)/premia openapi | $(BIN)/python clients/python/generate.py

lock: $(READY) ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra postgres --extra reserving --extra spark --extra telemetry --universal --generate-hashes --python-version 3.11 --no-header --upgrade -o requirements.lock

clean: ## remove the environment and everything the demo made
	rm -rf $(VENV) data/lake demo-output
