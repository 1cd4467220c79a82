# Everything a newcomer needs: run, test, check, bench. Each sets up what it needs by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup run test check lint types floors coverage bench bench-cohorts bench-crowd bench-streams hunt clients differential jvm fmt docs lock renders image sbom clean

help: ## Show what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## Create the virtual environment from the lock file.

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "Making a virtual environment in $(VENV): a minute or two, and only this once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY) ## Start the proxy against the embedded sandbox; Ctrl-C stops both.
	@$(BIN)/evaluation-proxy sandbox --with-proxy

TESTS := $(BIN)/pytest -q -n auto --maxprocesses 4 --dist worksteal
SOURCES := $(or $(wildcard $(shell git ls-files --cached --others --exclude-standard 2>/dev/null)),anyway)

# In CI the run that counts is also the one whose coverage `make check` looks at.
test: $(READY) $(if $(CI),.coverage) ## Run all tests; what needs a missing program is skipped by name.
	$(if $(CI),,$(TESTS))

.PHONY: anyway
.DELETE_ON_ERROR:
.coverage: $(READY) $(SOURCES)
	rm -f .coverage .coverage.*
	$(TESTS) --cov --cov-report=

hunt: $(READY) ## Try the laws with thousands of new random cases each.
	CASES=hunt $(TESTS) -m hypothesis
	CASES=hunt $(TESTS) tests/openapi

check: lint types floors coverage ## Lint, types, floors, tests and the coverage gate.

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

floors: $(READY)
	$(BIN)/lint-imports

coverage: .coverage
	$(BIN)/coverage report --fail-under=$(FLOOR)

FLOOR := 95

bench: $(READY) bench/node_modules ## Measure evaluation, compiling and the whole server against their yardsticks, and what reporting costs.
	$(BIN)/python -m bench.evaluation
	$(BIN)/python -m bench.compile
	$(BIN)/python -m bench.server
	$(BIN)/python -m bench.events
	$(BIN)/python -m bench.warm_start

bench-cohorts: $(READY) ## Measure cohorts of 1 M, 50 M and 1,000 of 10,000: building, look-up, memory, stalls.
	$(BIN)/python -m bench.cohorts 1_000_000 50_000_000 --many
	$(BIN)/python -m bench.cohorts_live 1_000_000 50_000_000 10_000x1000

bench-crowd: $(READY) ## Measure what well-behaved clients notice of 2,000 slow ones and of floods.
	$(BIN)/python -m bench.crowd

bench-streams: $(READY) ## Measure 10,000 streams: memory, how fast a change reaches all, evaluation meanwhile.
	$(BIN)/python -m bench.streams

clients: tests/clients/node_modules ## Install the official Node SDKs that some tests drive.

%/node_modules: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

differential: $(READY) ## Compare 20,000 random cases with the Kotlin reference (needs Java and Maven).
	DIFFERENTIAL_CASES=20000 $(BIN)/pytest -q -m kotlin tests/kotlin

jvm: $(READY) clients ## Point the official JVM SDK at a running proxy (needs Java and Maven).
	$(BIN)/pytest -q -m jvm tests/clients

fmt: $(READY) ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY) ## Write the generated tables of the README and the schema anew.
	$(BIN)/python -m tests.documents

renders: $(READY) ## Write anew what the Helm chart renders (needs helm).
	UPDATE_RENDERS=1 $(BIN)/pytest -q tests/deploy/test_chart.py

IMAGE ?= evaluation-proxy
BUILDER ?= $(firstword $(notdir $(shell command -v docker podman buildah)))

image: ## Build the container image with docker, podman or buildah (BUILDER=...), and say what it weighs.
	@test -n "$(BUILDER)" || { echo "docker, podman or buildah is needed to build an image"; exit 1; }
	$(BUILDER) $(if $(filter docker,$(BUILDER)),build,build --format docker) --build-arg REVISION="$$(git rev-parse HEAD)" -t $(IMAGE) $(IMAGE_OPTIONS) .
	$(BUILDER) images $(IMAGE)

sbom: $(READY) ## Write dist/sbom.cdx.json: what the image holds of Python, with hashes (CycloneDX).
	@mkdir -p dist
	$(BIN)/python -m tests.bill_of_materials > dist/sbom.cdx.json

lock: $(READY) ## Resolve the dependencies anew.
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra dev pyproject.toml -o requirements-dev.lock
	echo 'setuptools>=77' | $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate - -o requirements-build.lock

clean: ## Remove what was made.
	rm -rf $(VENV) build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
