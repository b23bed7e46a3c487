# Everything below needs python3 (with venv) and make; the first run of each target installs what it needs into .venv.
#
#   make demo    score the embedded reads; installs the runtime only
#   make test    all tests, the slow ones too
#   make check   lint, format, types
#   make bench   speed and memory beside minimap2 and Kraken2
#   make wheel   build the wheel and run the main job with it in a clean environment
#
# PYTHON=python3.11 chooses the interpreter, TEST="-k bundle" passes options to pytest, TORCH=... another build of torch.

PYTHON ?= python3
VENV ?= .venv
TEST ?=
TORCH ?= torch==2.13.0

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# The pins were made on Python 3.11; older interpreters take what the lower bounds allow.
PINS := $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" if sys.version_info >= (3, 11) else "")')

.PHONY: help demo test test-fast check bench wheel clean
.DELETE_ON_ERROR:

help:
	@sed -n '3,9p' Makefile | cut -c3-

demo: $(VENV)/.runtime
	$(VENV)/bin/edgeseq demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadscope $(TEST)

test-fast: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist loadscope -m "not slow and not arm" $(TEST)

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.dev
	$(PY) benchmarks/score.py

wheel: $(VENV)/.dev
	rm -rf dist
	$(PY) -m build --wheel --outdir dist .
	$(PY) tests/clean_wheel.py dist/*.whl --python $(PYTHON)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(PY):
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(PY)
	@echo "Installing the runtime into $(VENV) ..."
	$(PIP) install -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	@echo "Installing the runtime, the exporters and the test tools into $(VENV) ..."
	$(PIP) install $(PINS) "$(TORCH)" -e ".[dev,bpe,export]"
	@touch $@ $(VENV)/.runtime
