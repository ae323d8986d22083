# `make demo` and `make test` are all that a fresh clone needs. Both use one virtual
# environment, made on the first run and again when pyproject.toml or constraints.txt change.
# Other versions of what skvae needs, and the distributions, get environments of their own.

PYTHON ?= $(shell python3.11 -V >/dev/null 2>&1 && echo python3.11 || echo python3)
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
DOCS_INSTALLED = $(VENV)/.installed-docs
CONSTRAINTS = constraints.txt
EXTRA = dev
TORCH ?= torch
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check $(CONSTRAINTS:%=-c %)

export MPLBACKEND = Agg
# Small networks gain nothing from more threads, and lose much beside a busy neighbour.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-roads test-faults fuzz soak mutants lint doctest format docs bench clean \
	test-oldest test-newest suite dist dist-tests

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED)  ## Run the quickstart example
	$(BIN)/python examples/plot_quickstart.py

test: lint doctest  ## Lint, run the doctests, then the whole suite
	$(BIN)/pytest --road autograd tests/core tests/test_closed_form.py
	$(BIN)/pytest --road torch tests/core tests/test_closed_form.py
	$(BIN)/pytest -m 'ray and not faults'
	$(BIN)/pytest -n 2 --dist loadfile -m 'not ray and not faults'

test-roads: $(INSTALLED)  ## Run the whole suite with the gradients of other roads
	$(BIN)/pytest --road autograd
	$(BIN)/pytest --road torch

test-faults: $(INSTALLED)  ## Kill a node of a cluster while it trains
	$(BIN)/pytest -m faults

fuzz: $(INSTALLED)  ## 10,000 random tables through every method: a table of outcomes
	$(BIN)/python tests/fuzz.py

soak: $(INSTALLED)  ## An hour of fits of random tables: does memory stay flat?
	$(BIN)/python tests/soak.py

test-oldest:  ## Run the suite with the oldest versions that pyproject.toml allows
	$(MAKE) suite VENV=$(VENV)-oldest CONSTRAINTS=constraints-oldest.txt EXTRA=test

test-newest:  ## Run the suite with the newest versions that there are
	rm -rf $(VENV)-newest
	$(MAKE) suite VENV=$(VENV)-newest CONSTRAINTS= EXTRA=dev,docs

suite: $(INSTALLED)
	$(BIN)/pytest

mutants: $(INSTALLED)  ## Break the package line by line: does a test fail each time?
	$(BIN)/python tests/mutation/mutants.py

lint: $(INSTALLED)  ## Check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

doctest: $(INSTALLED)  ## Run the examples in docstrings, README and docs
	$(BIN)/pytest --doctest-modules skvae
	$(BIN)/pytest --doctest-glob='*.md' README.md docs

format: $(INSTALLED)  ## Fix style and formatting in place
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(DOCS_INSTALLED)  ## Build the documentation in docs/_build/html, examples run
	$(BIN)/sphinx-build -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

bench: $(INSTALLED)  ## Time fits and scores against peers and the bare products
	$(BIN)/python benchmarks/speed.py

dist: $(INSTALLED)  ## Build the sdist and the wheel, and test what they install
	rm -rf dist $(VENV)-dist
	$(BIN)/python -m build
	$(BIN)/python tests/check_distribution.py dist
	$(MAKE) dist-tests VENV=$(VENV)-dist

# The sdist is installed with all it needs, then the wheel in its place. Tests that need
# no extra are run, from the sdist less its package: they meet the one installed.
dist-tests: $(BIN)/python
	$(INSTALL_TORCH)
	$(PIP_INSTALL) dist/*.tar.gz hypothesis pytest
	$(PIP_INSTALL) --force-reinstall --no-deps dist/*.whl
	tar -xzf dist/*.tar.gz -C $(VENV) --exclude='skvae-*/skvae'
	cd $(VENV)/skvae-* && $(abspath $(BIN))/pytest -k 'not array_api' \
		tests/core tests/test_architecture.py tests/test_common.py \
		tests/test_kept.py tests/test_sparse.py tests/test_transformer.py

clean:  ## Remove builds, caches and pictures; keep the environment
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache examples/pictures
	rm -rf docs/_build docs/auto_examples docs/api/generated docs/api/backreferences
	find . -name __pycache__ -not -path './$(VENV)*/*' -prune -exec rm -rf {} +

# PyTorch goes first and alone, so that its build can be chosen: on Linux,
# TORCH_INDEX=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA.
INSTALL_TORCH = $(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
$(INSTALLED): pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(INSTALL_TORCH)
	$(PIP_INSTALL) -e '.[$(EXTRA)]'
	touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(PIP_INSTALL) -e '.[docs]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
