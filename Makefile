# `make demo` and `make test` work on a fresh clone: both create .venv and install into it first.
PYTHON ?= python3
VENV ?= .venv
UPSTREAM ?= .venv-upstream
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-all test-upstream lint clean

help:
	@echo "make demo           train a small detector on the embedded data set and show what it found"
	@echo "make test           lint and the test suite (what CI runs)"
	@echo "make test-all       the slow tests too"
	@echo "make test-upstream  the same tests on upstream OpenMMLab packages, in a virtual environment of its own"
	@echo "make install        only create $(VENV) and install"

install: $(STAMP)

$(STAMP): setup.py
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --upgrade --quiet pip
	$(PY) -m pip install --quiet -e '.[mm,dev]'
	touch $@

demo: $(STAMP)
	$(PY) tools/demo.py

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --durations=15

test-all: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --durations=15 -m ''

test-upstream:
	test -x $(UPSTREAM)/bin/python || $(PYTHON) -m venv $(UPSTREAM)
	$(UPSTREAM)/bin/python -m pip install --upgrade --quiet pip
	$(UPSTREAM)/bin/python -m pip install --quiet -e '.[dev]' -r requirements/upstream.txt
	OMP_NUM_THREADS=1 $(UPSTREAM)/bin/python -m pytest -n 2 --dist loadfile --durations=15

clean:
	rm -rf $(VENV) $(UPSTREAM) work_dirs data/demo
