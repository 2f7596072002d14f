# Every command that a person types. Needs Python 3.11 or newer, make and a C compiler; the rest comes from requirements.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
# Processes that share the tests; two suit a small machine.
WORKERS ?= 2
# For instance PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA.
PIP_FLAGS ?=
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)
RANDOM_KEY = $(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))'

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint bench dev clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(STAMP)  ## build a simulated shop, train on it, print the board and serve it at http://127.0.0.1:8000
	$(BIN)/python manage.py demo $(DEMO_FLAGS)

test: $(STAMP)  ## all tests, with throwaway servers and a browser where this machine has them
	$(PYTEST)

soak: $(STAMP)  ## the same tests, with races, crashes and properties at their full counts
	SOAK=1 $(PYTEST)

lint: $(STAMP)  ## style, types, architecture, migrations and settings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy personalization worker shop tests
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check
	DEBUG=0 SECRET_KEY="$$($(RANDOM_KEY))" PERSONALIZATION_SECRET_KEYS="$$($(RANDOM_KEY))" ALLOWED_HOSTS=example.com \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(STAMP)  ## measure, each beside a peer
	$(BIN)/python -m tests.benchmarks $(BENCH_FLAGS)

dev: $(STAMP)  ## the shop with autoreload and a worker beside it
	$(BIN)/python manage.py migrate
	@trap 'kill 0' EXIT; $(BIN)/celery -A worker worker --beat --queues default,gpu --concurrency 2 & $(BIN)/python manage.py runserver

clean:  ## forget everything that was built: the environment, the demo's data, caches
	rm -rf .venv var dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -r requirements.txt
	@touch $@
