# Each command sets up what it needs by itself: an environment in .venv, made from pinned versions, once.
# PYTHON=python3.13 chooses the interpreter (its environment is then .venv-3.13), ARGS="…" adds to a command.

CONFIG ?= configs/gru.yaml
# Minutes of training of `make fit`.
MINUTES ?= 2
WORKERS ?= 2

# The path of the environment's Python, after it was made where it was missing or out of date.
RUN = python=$$(requirements/environment run) && exec "$$python"
DEV = python=$$(requirements/environment dev) && exec "$$python"

PACKAGES = $(patsubst %/__init__.py,%,$(wildcard sonicrnn/__init__.py tuner/__init__.py serving/__init__.py))
# stderr is kept for words to the user; TensorFlow's own start-up lines say nothing to them.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help fit ear test slow browser bench lint types lock clean

help: ## show the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s  %s\n", $$1, $$2 }' Makefile
	@echo '  python = .venv/bin/python, for all other commands of the README'

fit: ## train on the built-in song and make a page to listen to (own song: ARGS="song.path=my.ogg")
	@$(RUN) -m sonicrnn.fit $(CONFIG) train.minutes=$(MINUTES) $(ARGS)

ear: ## add the pretrained network by which evaluate judges, too
	@requirements/environment eval >/dev/null && echo 'evaluate now also judges by a pretrained network'

test: ## run the fast tests
	@$(DEV) -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

slow: ## run the slow tests: whole runs, kills, the memory that long songs take
	@$(DEV) -m pytest -q -m 'slow and not alone and not browser' -n $(WORKERS) --dist worksteal $(ARGS)
	@$(DEV) -m pytest -q -m 'slow and alone and not browser' $(ARGS)

browser: ## open the pages in a real Chromium
	@$(DEV) -m pytest -q -m browser $(ARGS)

bench: ## measure speed and memory (prints Markdown)
	@$(DEV) -m benchmarks.pipeline
	@$(DEV) -m benchmarks.recurrent
	@$(DEV) -m benchmarks.generation
	@$(DEV) -m benchmarks.curves

lint: ## check the style
	@$(DEV) -m ruff check --quiet . $(ARGS)

types: ## check the types
	@$(DEV) -m mypy --no-error-summary $(PACKAGES) $(ARGS)

lock: ## pin the newest versions that pyproject.toml allows (needs Python 3.10 to 3.13)
	@$(DEV) requirements/lock.py

clean: ## remove environments and caches; runs stay
	@rm -rf .venv .venv-* .venv*.lock .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
