# `make` prints this help. Each target bootstraps its own environment.
.DEFAULT_GOAL := help
SHELL := /bin/bash
bin := .venv/bin
export PYTHON ?= python3

help:  ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

bootstrap:  ## make .venv from the locked requirements
	@scripts/bootstrap

demo: bootstrap  ## run the whole system here   DURATION=60 REPORT=report.json KILL=recorder CAMERAS=cameras.yaml
	@$(bin)/districam-demo $(if $(DURATION),--duration $(DURATION)) $(if $(REPORT),--report $(REPORT)) \
	  $(if $(KILL),--kill $(KILL)) $(if $(CAMERAS),--cameras $(CAMERAS)) $(if $(BROKER),--broker $(BROKER))

test: bootstrap  ## unit, contract and integration tests on real servers
	@$(bin)/pytest -q

test-mutants: bootstrap  ## break one rule at a time; a named test must notice   GROUP=integration
	@PYTHONPATH=tests $(bin)/python -m mutants $(GROUP)

cov: bootstrap  ## unit tests under coverage: cores and pure modules to the last branch
	@scripts/coverage

check: bootstrap  ## format, lint, types, architecture, budgets, unit tests: under a minute
	@scripts/check

fmt: bootstrap  ## format the code
	@$(bin)/ruff format -q . && $(bin)/ruff check -q --fix . || true

lock: bootstrap  ## resolve requirements/ anew
	@scripts/lock

api-docs: bootstrap  ## write docs/api/ from the code: AsyncAPI document and JSON Schemas
	@$(bin)/python -m districam_devkit.published docs/api

clean:  ## remove what the devkit made (data, logs, caches)
	@rm -rf .devkit .pytest_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help bootstrap demo test test-mutants cov check fmt lock api-docs clean
