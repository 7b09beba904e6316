# Two commands: `make run` does the main job on embedded servers, `make test` runs the tests. Both set up everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: setup run test test-long test-layouts deploy-check mutate-layouts bench rounds undo-rounds faults refreshes soak fuzz limits captures audit secrets layout-docs schema check lock clean help

help:            ## this list
	@awk -F'##' '/^[a-z-]+:.*##/ { split($$1, name, ":"); printf "make %-14s %s\n", name[1], $$2 }' Makefile

setup: $(STAMP)  ## .venv with everything in it

$(STAMP): pyproject.toml requirements/bootstrap.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: setup       ## three servers, sample data, both passes, report
	@$(BIN)/cleanup-pipeline demo

test: setup      ## the tests, on real servers
	@# Where PYTHONDONTWRITEBYTECODE is set, each program that a test starts would compile the package for itself.
	@$(BIN)/python -m compileall -q cleanup_pipeline
	@$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-long: setup  ## those that take half a minute each, which `make test` leaves out
	@CLEANUP_LONG=1 $(BIN)/python -m pytest -m long --numprocesses 2 --dist loadfile

LAYOUTS := .venv-layouts
NPM := tests/layouts/npm
test-layouts: setup $(LAYOUTS)/.stamp $(NPM)/node_modules/.stamp  ## layouts against their frameworks' own cleaners; downloads those
	@$(BIN)/uv pip list --quiet --python $(LAYOUTS)/bin/python | grep -iE '^(django|authlib|fastapi-users|flask)'
	@$(BIN)/uv pip list --quiet --target $(LAYOUTS)/older | grep -iE '^django' | sed 's/$$/  (older)/'
	@test ! -d $(NPM)/node_modules/pg || npm --prefix $(NPM) ls --depth 0 | sed 1d
	@CLEANUP_LAYOUTS=$(CURDIR)/$(LAYOUTS) $(BIN)/python -m pytest tests/layouts --numprocesses 2 --dist loadfile

$(LAYOUTS)/.stamp: requirements/layouts.txt requirements/layouts-older.txt
	@test -x $(LAYOUTS)/bin/python || $(PYTHON) -m venv $(LAYOUTS)
	@$(BIN)/uv pip install --quiet --python $(LAYOUTS)/bin/python --require-hashes -r requirements/layouts.txt
	@$(BIN)/uv pip install --quiet --python $(LAYOUTS)/bin/python --require-hashes --no-deps --target $(LAYOUTS)/older -r requirements/layouts-older.txt
	@touch $@

$(NPM)/node_modules/.stamp: $(NPM)/package-lock.json
	@if command -v npm >/dev/null; then npm --prefix $(NPM) ci --ignore-scripts --no-audit --no-fund && touch $@; \
		else echo "npm is not installed: the frameworks of Node.js are skipped"; fi

DEPLOY := .venv-deploy
deploy-check: setup $(DEPLOY)/.stamp  ## the files of deploy/, by Docker Compose, hadolint, Dagster's own classes and systemd-analyze
	@CLEANUP_DEPLOY=$(CURDIR)/$(DEPLOY) $(BIN)/python -m pytest -q -p no:cacheprovider tests/deploy

$(DEPLOY)/.stamp: requirements/deploy.txt
	@test -x $(DEPLOY)/bin/python || $(PYTHON) -m venv $(DEPLOY)
	@$(BIN)/uv pip install --quiet --python $(DEPLOY)/bin/python --require-hashes -r requirements/deploy.txt
	@touch $@

mutate-layouts: setup  ## take each guard out of each layout, and see that a test fails
	@$(BIN)/python -m tests.layouts.mutate
	@$(BIN)/python -m tests.layouts.mutate_keys

bench: setup     ## the measurements of docs/benchmarks.md; takes an hour and 20 GB
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "django>=5.2,<6"
	@$(BIN)/python -m benchmarks.postgres_sweep
	@$(BIN)/python -m benchmarks.postgres_sweep --rows 10000000 --expired 70 --ways one ours
	@$(BIN)/python -m benchmarks.postgres_sweep --rows 10000000 --expired 5 --order random --no-index --ways one seq ours
	@$(BIN)/python -m benchmarks.growth
	@$(BIN)/python -m benchmarks.redis_sweep
	@$(BIN)/python -m benchmarks.mongo_sweep --documents 1000 --index
	@$(BIN)/python -m benchmarks.postgres_felt
	@$(BIN)/python -m benchmarks.redis_felt
	@$(BIN)/python -m benchmarks.mongo_felt --records 1000
	@$(BIN)/python -m benchmarks.dagster_overhead
	@$(BIN)/python -m benchmarks.lease_cost
	@$(BIN)/python -m benchmarks.celery_sweep --rows 10000000 --workers 1 2
	@$(BIN)/python -m benchmarks.celery_sweep --rows 10000000 --workers 1 2 --pause 0s
	@$(BIN)/python -m benchmarks.ledger_year
	@$(BIN)/python -m benchmarks.undo_cost
	@$(BIN)/python -m benchmarks.simulate_check

rounds: setup    ## fifty meetings of two cleaners, a hundred that are killed; takes twenty minutes
	@CLEANUP_WINDOWS=48 $(BIN)/python -m pytest -q -p no:cacheprovider tests/cli/test_backfill.py -k side_by_side
	@CLEANUP_ROUNDS=50 $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/faults -k same_time
	@CLEANUP_ROUNDS=100 $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/faults -k killed

fuzz: setup      ## 10,000 hostile settings files and 100,000 hostile records; CLEANUP_FUZZ_SEED repeats a run
	@seed=$${CLEANUP_FUZZ_SEED:-$$(date +%s)}; echo "CLEANUP_FUZZ_SEED=$$seed"; CLEANUP_FUZZ_SEED=$$seed \
		CLEANUP_FUZZ_FILES=$${CLEANUP_FUZZ_FILES:-10000} CLEANUP_FUZZ_RECORDS=$${CLEANUP_FUZZ_RECORDS:-100000} \
		$(BIN)/python -m pytest -q -p no:cacheprovider --timeout 7200 --durations 0 tests/security/test_fuzz.py

captures: setup  ## the outputs and pictures of docs/first-hour.md; needs tmux and chromium
	@$(BIN)/python -m benchmarks.captures

limits: setup    ## one set of ten million members, one value of 500 MB, five million tiny keys; takes 8 GB
	@$(BIN)/python -m benchmarks.limits

audit: setup     ## known vulnerabilities of what is locked, where PyPI's advisories can be reached
	@$(BIN)/python .ci/audit

secrets: setup   ## passwords, keys and tokens in files that git knows
	@git ls-files -z | grep -zvE '^(tests|requirements|docs/layouts)/' \
		| xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

faults: setup    ## five hundred rounds of faults a store, judged by an oracle; takes hours
	@$(BIN)/python -m tests.faults.bench postgres
	@$(BIN)/python -m tests.faults.bench redis
	@$(BIN)/python -m tests.faults.bench mongo
	@CLEANUP_ROUNDS=150 $(BIN)/python -m tests.faults.bench cluster
	@CLEANUP_ROUNDS=50 $(BIN)/python -m tests.faults.bench sentinel

refreshes: setup  ## ten million refreshes against sweeps; takes half an hour
	@$(BIN)/python -m tests.faults.bench.refreshes

soak: setup      ## an hour of passes with faults: what grows?
	@$(BIN)/python -m tests.faults.bench.soak

undo-rounds: setup  ## a hundred cleaners killed between keeping and deleting, for each store; takes five minutes
	@CLEANUP_ROUNDS=100 $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/faults/test_undo_rounds.py

layout-docs: setup  ## docs/layouts and the table of docs/settings.md, from the presets
	@$(BIN)/python -m cleanup_pipeline.layouts.pages docs

schema: setup    ## docs/*.schema.json: of cleanup.yaml and of scenario files
	@$(BIN)/cleanup-pipeline schema > docs/cleanup.schema.json
	@$(BIN)/cleanup-pipeline simulate --schema > docs/scenario.schema.json

check: setup     ## style, types, who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lock: setup      ## requirements/*.txt from pyproject.toml
	@for set in "runtime:" "k8s:--extra k8s" "dev:--extra embedded --group dev"; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
			$${set#*:} pyproject.toml --output-file requirements/$${set%%:*}.txt; done
	@for set in layouts layouts-older deploy; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
			--group pyproject.toml:$$set --output-file requirements/$$set.txt; done
	@for set in bootstrap build; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
			requirements/$$set.in --output-file requirements/$$set.txt; done

clean:           ## everything that setup and runs made
	@rm -rf $(VENV) $(LAYOUTS) $(DEPLOY) $(NPM)/node_modules .cleanup .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
