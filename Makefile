# Every target installs what it needs; stamp files under .venv/.stamps make a repeated `make` cost nothing.
#   make demo          the whole platform on this machine, until Ctrl-C (ONCE=1: run through, stop, one JSON line)
#   make test          every check and test that fits in ten minutes; test-all adds the long drills
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
UV     := $(BIN)/uv
JUNIT  := build/junit.xml
# A build with an NVIDIA GPU: make install REQUIREMENTS=requirements/gpu.txt
REQUIREMENTS ?= requirements/dev.txt
PYTEST_ARGS  ?=
DEMO_ARGS    ?=

.PHONY: help install demo test test-all test-slow check lint format types imports secrets requirements snapshots clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environments -----------------------------------------------------------------------------------------------

install: $(STAMPS)/installed $(STAMPS)/triton ## .venv with pinned, hashed packages and the `spearhead` command

$(STAMPS)/venv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	  echo "Spearhead needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)." >&2; \
	  echo "Install one, or name one: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' lacks the venv module (Debian and Ubuntu: the package python3-venv)." >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@mkdir -p $(STAMPS) && touch $@

# Compiled now, once: where PYTHONDONTWRITEBYTECODE is set every process would compile its imports again.
$(STAMPS)/packages: $(STAMPS)/venv $(REQUIREMENTS)
	@echo "Installing packages from $(REQUIREMENTS)"
	@$(UV) pip install --compile-bytecode --python $(BIN)/python --require-hashes -r $(REQUIREMENTS) || { \
	  echo "uv could not install them; trying pip, which knows this machine's own settings for registries"; \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r $(REQUIREMENTS); }
	@touch $@

$(STAMPS)/installed: $(STAMPS)/packages pyproject.toml
	@$(UV) pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Triton's wheel wants numpy < 2 and a libpython 3.11 of its own, hence a second environment.
$(STAMPS)/triton: $(STAMPS)/venv requirements/triton.txt
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then \
	  echo "Triton has a wheel for Linux x86-64 only: scoring runs on ONNX Runtime in process."; \
	elif ! python=$$($(BIN)/python -c 'import sys, sysconfig; ok = sys.version_info[:2] == (3, 11); print(sys.executable if ok else "")'); [ -z "$$python" ] \
	     && ! python=$$(command -v python3.11) || ! "$$python" -c 'import venv' 2>/dev/null; then \
	  echo "Triton's wheel needs a Python 3.11 beside this one: scoring runs on ONNX Runtime in process."; \
	else \
	  echo "Installing Triton into .venv-triton"; \
	  { { test -x .venv-triton/bin/python || "$$python" -m venv --without-pip .venv-triton; } && { \
	    $(UV) pip install --python .venv-triton/bin/python --no-deps --require-hashes -r requirements/triton.txt \
	    || $(BIN)/python -m pip --python .venv-triton/bin/python install --no-deps --require-hashes -r requirements/triton.txt; }; } || { \
	  echo "Triton's wheel was not installed, as said above (it needs glibc 2.35 or newer, and a registry that has it):" >&2; \
	  echo "scoring runs on ONNX Runtime in process. To try again: spearhead triton install" >&2; }; \
	fi
	@touch $@

# --- running ----------------------------------------------------------------------------------------------------

demo: install ## start everything, show it working, run until Ctrl-C (ONCE=1: run through and stop)
	@exec $(BIN)/spearhead demo $(if $(filter-out 0,$(ONCE)),--once) $(DEMO_ARGS)

# --- checks -----------------------------------------------------------------------------------------------------

# A file of tests at a time: tests that follow one another stand in one file. Three processes, since tests wait for servers
# about half of their time: three keep two cores busy, and none so busy that what a test times would tell of the others.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder
# Drills compute more than they wait.
DRILLS_PARALLEL ?= -n 2 --dist loadfile

# What a test's process compiles, of Python and by numba, the next one finds; numba's takes half a minute of CPU.
test test-all test-slow: export PYTHONDONTWRITEBYTECODE =

test: check-and-compile ## every check, and the tests that are not slow
	@mkdir -p build
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow" --junitxml=$(JUNIT) $(PYTEST_ARGS)

test-all: check-and-compile ## every check and every test, the long drills included
	@mkdir -p build
	@$(BIN)/python -m pytest $(PARALLEL) --junitxml=$(JUNIT) $(PYTEST_ARGS)

test-slow: install ## only the long drills
	@mkdir -p build
	@$(BIN)/python -m pytest $(DRILLS_PARALLEL) --no-loadscope-reorder -m slow --junitxml=build/junit-slow.xml $(PYTEST_ARGS)

check: lint types imports secrets

.PHONY: check-and-compile compile
check-and-compile: install
	@$(MAKE) -j 2 check compile

# Once, and beside the checks: otherwise several of the tests' processes would compile the same at once. What fails here fails again below.
compile: install
	@$(BIN)/python -m pytest -q -m compiles -p no:cacheprovider >/dev/null 2>&1 || true

lint: install ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: install ## mypy: strict on fraud_core
	@$(BIN)/mypy

imports: install ## import-linter: the tiers stay apart
	@$(BIN)/lint-imports

secrets: install ## detect-secrets: nothing that looks like a credential, beyond the reviewed baseline
	@git ls-files -z -- ':!requirements/*.txt' 2>/dev/null | xargs -0 -r $(BIN)/detect-secrets-hook --baseline .secrets.baseline

format: install ## let ruff rewrite the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# --- upkeep -----------------------------------------------------------------------------------------------------

COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
TIERS   := --extra orchestration --extra serving --extra kafka

requirements: $(STAMPS)/venv ## recompile the pinned, hashed requirements (UPGRADE=1 moves the pins)
	@$(UV) pip compile --quiet --no-header --generate-hashes --no-emit-index-url --universal --python-version 3.11 \
	  $(if $(UPGRADE),--upgrade) -o requirements/bootstrap.txt requirements/bootstrap.in
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --extra cpu $(TIERS) --group editable -o requirements/cpu.txt pyproject.toml
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --extra gpu $(TIERS) --group editable -o requirements/gpu.txt pyproject.toml
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --extra cpu $(TIERS) --group dev -o requirements/dev.txt pyproject.toml
	@$(UV) pip compile --quiet --no-header --generate-hashes --no-emit-index-url --no-deps --python-version 3.11 --python-platform x86_64-manylinux_2_35 \
	  $(if $(UPGRADE),--upgrade) -o requirements/triton.txt requirements/triton.in

snapshots: install ## renew the committed snapshots of the public face (CLI help, asset graph, OpenAPI, settings)
	@$(BIN)/spearhead settings --env-example > .env.example
	@$(BIN)/python -m pytest -q -m snapshot --renew-snapshots

clean: ## remove what building and testing left (environments stay; `make clean ALL=1` removes them too)
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
	@$(if $(ALL),rm -rf .venv .venv-triton)
