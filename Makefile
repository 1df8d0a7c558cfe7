# The lines that a person and CI both use. `make` lists them.

# Where pip looks for torch's CPU build when its own configuration does not know one. Named only here.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# A Python >= 3.11 to make .venv with. Empty: python3.11 where there is one, else the newest that is found.
PYTHON ?=
ARGS ?=

VENV := .venv/bin
READY := .venv/.ready
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench audit certs clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(READY) ## make .venv with everything pinned (about two minutes; again: at once)

$(READY): requirements/cpu.lock requirements/setup.sh pyproject.toml
	@PYTHON="$(PYTHON)" TORCH_CPU_INDEX="$(TORCH_CPU_INDEX)" bash requirements/setup.sh
	@touch $@

demo: $(READY) ## teach a live model to heed a direction, from nothing (ARGS="--seed 3")
	@$(VENV)/python run.py demo $(ARGS)

test: $(READY) ## run every test but the slow ones, two files at a time (ARGS="-n 0 -k bus" for some, one at a time)
	@$(VENV)/python -m pytest -p tests.skips -m "not slow" -n 2 --dist loadfile $(ARGS)

lint: $(READY) ## check style, types and the direction of imports
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

BENCHMARKS := step labels ingest prefix_cache pacing serving learner learning demo poisoning guard forgetting versions vectors steering ui
bench: $(READY) ## run every benchmark, which takes hours (one of them: NAME=ui ARGS="--quick")
	@failed=; for name in $(or $(NAME),$(BENCHMARKS)); do \
		printf '\n== %s\n' "$$name"; \
		$(VENV)/python -m "benchmarks.$$name" $(ARGS) || failed="$$failed $$name"; \
	done; [ -z "$$failed" ] || { printf '\nfailed:%s\n' "$$failed"; exit 1; }

audit: $(READY) ## compare with the lock file, and ask for known vulnerabilities (needs pip-audit and the network)
	@bash requirements/audit.sh $(VENV)/python $(ARGS)

certs: ## make certificates and passwords for mosquitto (ARGS="FOLDER BROKER-NAME CLIENT...")
	@bash deploy/credentials.sh $(ARGS)

clean: ## remove .venv and all caches; the state folder stays
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
