# `make` prints this help. Each target creates its own environment.
.DEFAULT_GOAL := help
SHELL := /bin/bash
bin := .venv/bin
export PYTHON ?= python3
# Bytecode is cached outside of the source tree: otherwise each of the hundreds of processes that tests start compiles its imports.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.devkit/pycache
unexport PYTHONDONTWRITEBYTECODE

help:  ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

bootstrap:  ## create .venv from the locked requirements
	@scripts/bootstrap

demo: bootstrap  ## run the whole system here   DURATION=60 REPORT=report.json KILL=recorder CAMERAS=cameras.yaml
	@$(bin)/districam-demo $(if $(DURATION),--duration $(DURATION)) $(if $(REPORT),--report $(REPORT)) \
	  $(if $(KILL),--kill $(KILL)) $(if $(CAMERAS),--cameras $(CAMERAS)) $(if $(BROKER),--broker $(BROKER))

test: bootstrap  ## unit, contract and integration tests on real servers   WORKERS=3
	@WORKERS=$(WORKERS) scripts/test quick

test-slow: bootstrap  ## the longest scenarios, and short runs of the benchmarks
	@WORKERS=$(WORKERS) scripts/test slow

test-mutants: bootstrap  ## break one rule at a time; a named test must fail   GROUP=integration
	@PYTHONPATH=tests $(bin)/python -m mutants $(GROUP)

bench-clip: bootstrap  ## an hour-long clip compared with reading the store directly; writes docs/results/clip.*
	@PYTHONPATH=tests $(bin)/python -m bench.clip --results docs/results

bench-ingest: bootstrap  ## CPU and memory for a camera: ffmpeg and ingest   CAMERAS=50 ROUNDS=3
	@PYTHONPATH=tests $(bin)/python -m bench.ingest --results docs/results $(if $(CAMERAS),--cameras $(CAMERAS)) \
	  $(if $(ROUNDS),--rounds $(ROUNDS))

bench-ingest-scale: bootstrap  ## cost of an additional camera, at 10, 100 and 400
	@PYTHONPATH=tests $(bin)/python -m bench.ingest_scale --results docs/results

bench-index: bootstrap  ## an index of 30 days of 102 cameras, queried through the api   SEGMENTS=881280
	@PYTHONPATH=tests $(bin)/python -m bench.index --results docs/results

bench-rebuild: bootstrap  ## rebuild of the index from 200,000 objects, compared with a bare LIST   SEGMENTS=20000
	@PYTHONPATH=tests $(bin)/python -m bench.rebuild --results docs/results

bench-retention: bootstrap  ## 100,000 objects expire while cameras record   SEGMENTS=10000
	@PYTHONPATH=tests $(bin)/python -m bench.retention --results docs/results

bench-recorder: bootstrap  ## a recorder's memory for a camera, at segments of 10 s and of 60 s   CAMERAS=20
	@PYTHONPATH=tests $(bin)/python -m bench.recorder --results docs/results

bench-scale: bootstrap  ## indexer and api over an index of 30 days of 1,000 and 10,000 cameras   CAMERAS=1000
	@PYTHONPATH=tests $(bin)/python -m bench.scale --results docs/results $(if $(CAMERAS),--cameras $(CAMERAS))

bench-find: bootstrap  ## the three requests of a search for a moment; writes docs/results/find.*
	@PYTHONPATH=tests $(bin)/python -m bench.find --results docs/results

test-fault: bootstrap  ## one fault after another on a running district, half an hour   ROWS="recorder Kafka"
	@compiled=$$(scripts/compiled) && PYTHONPATH=tests:$$compiled $(bin)/python -m fault $(ROWS)

fuzz: bootstrap  ## hostile bytes at every parser, and Schemathesis at the api; continues from tests/fuzz/corpus   MINUTES=5 TARGET=rtsp REPLAY=file
	@scripts/fuzz $(if $(REPLAY),replay $(REPLAY),$(or $(MINUTES),5) $(TARGET))

soak: bootstrap  ## a district under random kills   DURATION=1800 CAMERAS=20 SEED=1
	@compiled=$$(scripts/compiled) && PYTHONPATH=tests:$$compiled $(bin)/python -m fault.soak $(if $(DURATION),--duration $(DURATION)) \
	  $(if $(CAMERAS),--cameras $(CAMERAS)) $(if $(SEED),--seed $(SEED))

test-deploy: bootstrap  ## Prometheus on running services, CRDs' schemas, the policy check; ten minutes
	@$(bin)/pytest -q -s tests/deploy/live_prometheus.py tests/deploy/against_crds.py

test-compose: bootstrap  ## deploy/docker-compose.yml itself on a Docker Engine (root; docker.io, debootstrap); writes docs/results/compose.json
	@PYTHONPATH=tests $(bin)/python -m compose --results docs/results/compose.json $(ROWS)

audit: bootstrap  ## known vulnerabilities of the locked packages; needs osv.dev, or the package index   SERVICE=pypi
	@SERVICE=$(or $(SERVICE),osv) scripts/audit

sbom: bootstrap  ## a bill of materials of each image and of the client, CycloneDX   FOLDER=.devkit/sbom
	@scripts/audit sbom $(or $(FOLDER),.devkit/sbom)

monitoring: bootstrap  ## write docs/metrics.md, dashboards, PrometheusRule and KafkaTopics
	@PYTHONPATH=tests $(bin)/python -m monitoring

cov: bootstrap  ## unit tests with coverage: full branch coverage for cores and pure modules
	@scripts/coverage

check: bootstrap  ## format, lint, types, architecture, budgets, unit tests: under two minutes
	@scripts/check

fmt: bootstrap  ## format the code
	@$(bin)/ruff format -q . && $(bin)/ruff check -q --fix . || true

lock: bootstrap  ## resolve requirements/ again
	@scripts/lock

settings: bootstrap  ## write the list of all programs' variables, by which each detects unknown ones
	@PYTHONPATH=tests $(bin)/python -m support.known_variables

api-docs: bootstrap  ## write docs/api/ from the code: AsyncAPI document and JSON Schemas
	@$(bin)/python -m districam_devkit.published docs/api

screenshots: bootstrap  ## take docs/images/ again: the page in Chromium on a running demo, both languages
	@PYTHONPATH=tests $(bin)/python -m screenshots docs/images

clean:  ## remove what the devkit created (data, logs, caches)
	@rm -rf .devkit .pytest_cache .ruff_cache .hypothesis .import_linter_cache

bench-district: bootstrap  ## 102 cameras and everything they need on this machine   CAMERAS=102 DURATION=300
	@compiled=$$(scripts/compiled) && PYTHONPATH=tests:$$compiled $(bin)/python -m bench.district --results docs/results $(if $(CAMERAS),--cameras $(CAMERAS)) $(if $(DURATION),--duration $(DURATION))

bench-catch-up: bootstrap  ## the store is away for two minutes, then the recorder catches up   CAMERAS=40
	@compiled=$$(scripts/compiled) && PYTHONPATH=tests:$$compiled $(bin)/python -m bench.catch_up --results docs/results $(if $(CAMERAS),--cameras $(CAMERAS))

.PHONY: help bootstrap demo test test-slow test-deploy test-compose monitoring test-mutants test-fault fuzz audit sbom soak bench-district bench-catch-up bench-clip bench-find bench-index bench-ingest bench-ingest-scale bench-rebuild bench-recorder bench-retention bench-scale cov check fmt lock api-docs screenshots clean
