# Two commands: `make quickstart` runs the main job end to end, `make test` checks everything.
# Both make the environment .venv first. TORCH may name another build, as
# TORCH="torch==2.13.0 --index-url URL" does.

PYTHON ?= python3.11
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: quickstart test down lock

quickstart: .venv/installed
	$(BIN)/finegate run configs/quickstart.yaml

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

down:
	$(BIN)/finegate down

# torch comes first: deepspeed asks for it while it is built.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/pip install --quiet --constraint constraints.txt setuptools wheel ninja py-cpuinfo hatchling editables
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

# Versions that were tested together; torch is left to TORCH, whose builds differ by machine.
lock: .venv/installed
	$(BIN)/pip freeze --all --exclude-editable --exclude torch --exclude pip > constraints.txt
