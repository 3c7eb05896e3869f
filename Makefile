# What people and CI run. The two commands of a fresh machine are `make demo` and `make test`:
# each makes .venv first, if it is not there.

VENV := .venv
PYTHON_OF_VENV := $(VENV)/bin/python
BIN := $(VENV)/bin

.PHONY: demo test test-all lint format docs site configs evidence evidence-real build clean help

demo: $(VENV)/.ready  ## Merge small models and publish them to a Hub on this machine
	$(BIN)/slack-ties demo

PYTEST := $(PYTHON_OF_VENV) -m pytest -n 3 --dist loadfile
test: $(VENV)/.ready  ## Run the tests, except the slow ones
	$(PYTEST) -m 'not slow'

test-all: $(VENV)/.ready  ## Run all tests
	$(PYTEST)

lint: $(VENV)/.ready  ## Check style, types and docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/slack-ties plan --offline-lint merge_configs/*.yml
	$(BIN)/interrogate src tests tools benchmarks experiments hatch_build.py
	$(BIN)/cog --check $(COG)
	$(PYTHON_OF_VENV) tools/language_pages.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

format: $(VENV)/.ready  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pages with parts that are made: --help, and tables of data.
COG := docs/cli.md docs/evidence.md docs/gallery.md docs/index.md docs/licenses.md docs/methods.md \
	docs/tasks.md merge_configs/README.md
docs: $(VENV)/.ready  ## Write --help, the tables of data and the pages of languages
	$(BIN)/cog -r $(COG)
	$(PYTHON_OF_VENV) tools/language_pages.py

site: $(VENV)/.ready  ## Build the site of docs/ and README.md into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

configs: $(VENV)/.ready  ## Write merge_configs/ and model_cards/ from the catalogue
	$(BIN)/slack-ties config --all --overwrite --quiet
	for config in merge_configs/*.yml; do \
		$(BIN)/slack-ties card --offline $$config > model_cards/$$(basename $$config .yml).md; done

MODE := quick
evidence: $(VENV)/.ready  ## Repeat the experiment of docs/evidence.md: minutes; all of it with MODE=full
	$(PYTHON_OF_VENV) experiments/saturation/run.py $(MODE)
	$(PYTHON_OF_VENV) experiments/saturation/tables.py $(MODE)

SIZE := quick
evidence-real: $(VENV)/.ready  ## Repeat the experiment with a real model (needs network): SIZE=quick, full or gpu
	$(PYTHON_OF_VENV) experiments/real/run.py $(SIZE)
	$(PYTHON_OF_VENV) experiments/real/tables.py $(SIZE)

build: $(VENV)/.ready  ## Build the wheel and the source distribution
	$(PYTHON_OF_VENV) -m hatchling build

clean:  ## Remove what the other commands made
	rm -rf $(VENV) dist site src/slack_ties/rule/_kernel.so .mypy_cache .ruff_cache .pytest_cache .hypothesis

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/.ready: pyproject.toml constraints.txt tools/setup.sh
	sh tools/setup.sh $(VENV)
	touch $@
