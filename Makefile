# Python and make are all this needs. `make serve` runs Skein, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := skein flight_server control_api schemas flight_core
ARGS ?=
# Of the tests: three keep two cores busy, since they wait for servers half of their time. Each has a third
# of the modules, so that few start the same server (worksteal). What is compiled is kept, whatever the
# environment says: hundreds of processes start.
WORKERS ?= 3
# Real data for the tests, where it is next to this clone.
export SKEIN_TEST_DATA ?= $(abspath $(firstword $(wildcard ../shared/data ../../shared/data)))

.DEFAULT_GOAL := help
.PHONY: help install serve test lint format types imports browser check bench bench-quick bench-peers bench-ingest bench-memory constraints clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## create .venv with everything

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Skein needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

serve: install  ## run Skein with its demo catalog (ARGS="--demo-rows 3000000" and other flags)
	exec $(BIN)/skein serve --demo $(ARGS)

BROWSER := examples/browser/site/page.js

$(BROWSER): $(wildcard examples/browser/src/*.ts) examples/browser/package.json
	cd examples/browser && npm install --silent --no-audit --no-fund && npm run --silent check && npm run --silent build

browser: $(BROWSER)  ## the example for browsers; needs Node

test: install $(if $(shell command -v npm),$(BROWSER))  ## every test (ARGS="-k name" for some)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -P -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: install  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install  ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install  ## mypy --strict
	$(BIN)/mypy

imports: install  ## the architecture's import rules
	$(BIN)/lint-imports

check: lint types imports test  ## all that CI runs

bench: install  ## speed, as ratios measured side by side
	$(BIN)/python -P -m benchmarks.stream $(ARGS)
	$(BIN)/python -P -m benchmarks.endpoints $(ARGS)

bench-quick: install  ## has Skein become slower? Under two minutes, against benchmarks/baseline.json
	$(BIN)/python -P -m benchmarks.quick $(ARGS)

bench-peers: install  ## Skein next to quack, Mosaic, roapi, PostgreSQL and naive servers
	$(BIN)/python -P -m benchmarks.compare $(ARGS)
	$(BIN)/python -P -m benchmarks.small
	$(BIN)/python -P -m benchmarks.scaling

bench-memory: install  ## the server's memory: up to 200 open results, large ones, slow clients
	$(BIN)/python -P -m benchmarks.memory $(ARGS)

bench-ingest: install  ## ingestion next to bare Polars (ARGS="--rows 80000000 --lineitem 0 --contract --upsert 60000000")
	$(BIN)/python -P -m benchmarks.ingest $(ARGS)

constraints: install  ## refresh constraints.txt within the ranges of pyproject.toml
	$(BIN)/pip-compile --quiet --extra otel --extra postgresql --extra dev --allow-unsafe --generate-hashes --strip-extras \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --upgrade \
	    --output-file constraints.txt pyproject.toml

clean:  ## remove the environment and caches
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
