# Everything a developer or an operator of one machine types. `make setup` prepares a bare Debian or
# Ubuntu; the other targets call it, and it does nothing when nothing is missing.

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test lint format bench lock clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup:  ## Install PostgreSQL, PostGIS and the Python packages where they are missing
	@scripts/setup.sh $(VENV)

run: setup  ## Serve API and worker on http://127.0.0.1:8000 (ARGS="--port 9000" for more)
	@exec $(BIN)/bps up $(ARGS)

test: setup  ## Run every test (ARGS="tests/domain -k rfm" for fewer)
	$(BIN)/pytest -n 2 $(ARGS)

lint: setup  ## Check style, types, layers and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_migrations.py

format: setup  ## Rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## Measure against baselines of the same run
	$(BIN)/python -m tests.bench $(ARGS)

lock: setup  ## Pin the dependencies of pyproject.toml anew
	@scripts/lock.sh $(VENV)

clean:  ## Remove the environment and the caches, never the data in .bps
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
