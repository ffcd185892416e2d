# Two commands: `make quickstart` runs the main job end to end, `make test` checks everything.
# Both make the environment .venv first. TORCH may name another build, as
# TORCH="torch==2.13.0 --index-url URL" does.

PYTHON ?= python3.11
TORCH ?= torch==2.13.0
BIN := .venv/bin

DOCKER ?= docker
BASE ?= finegate/debian:bookworm
ACCELERATOR ?= cpu
VERSION := 0.1.0
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct -- constraints.txt pyproject.toml docker)

.PHONY: quickstart test down lock base images images-test

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

# Images need Docker with BuildKit. BASE is Debian 12 by digest; `make base` makes one where no
# registry is reachable. TORCH decides the build of torch: a CPU build for the predictor, and with
# ACCELERATOR=cuda one for the trainer and predictor-gpu. CA is the bundle of a proxy that opens TLS.
CA_SECRET = id=ca,src=$(CA)
BUILD = DOCKER_BUILDKIT=1 $(DOCKER) build --network=host $(if $(CA),--secret $(CA_SECRET)) \
	--build-arg BASE=$(BASE) --build-arg TORCH=$(TORCH) --build-arg ACCELERATOR=$(ACCELERATOR) \
	--build-arg PIP_EXTRA_INDEX_URL=$(PIP_EXTRA_INDEX_URL) \
	--build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
	--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD)
PREDICTOR := predictor$(if $(filter cuda,$(ACCELERATOR)),-gpu)

base:
	DOCKER=$(DOCKER) docker/base $(BASE)

images:
	$(BUILD) -f docker/predictor.Dockerfile -t finegate/$(PREDICTOR):$(VERSION) .
	$(BUILD) -f docker/steps.Dockerfile --build-arg EXTRA=data -t finegate/data:$(VERSION) .
	$(BUILD) -f docker/steps.Dockerfile --build-arg EXTRA=train -t finegate/trainer:$(VERSION) .
	$(DOCKER) images --filter label=org.opencontainers.image.revision

# The predictor as a restricted pod would run it, and the whole pipeline, each task in its image.
images-test: .venv/installed
	FINEGATE_IMAGES=1 DOCKER=$(DOCKER) $(BIN)/pytest -v -s tests/docker/test_images.py
