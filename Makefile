# `make demo` and `make test` work on a fresh clone: both create .venv and install into it first.
PYTHON ?= python3
VENV ?= .venv
# the versions to install; empty for the newest that fit together
LOCK ?= requirements/lock.txt
EXTRAS ?= mm,dev
# where torch's CPU builds are looked for on a machine without an NVIDIA GPU; empty for never
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed$(if $(LOCK),,-newest)
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --durations=15

IMAGE ?= mmvssm/demo/nuclei-images/validation/nuclei_1001.png

.PHONY: help install demo site lint unit test test-all test-browser test-oldest test-newest test-upstream lock clean

help:
	@echo "make demo           train a small detector on embedded images and show what it found"
	@echo "make test           lint and the test suite (what CI runs)"
	@echo "make test-all       the slow tests too"
	@echo "make test-oldest    the test suite on the lowest versions that setup.py promises, in an environment of its own"
	@echo "make test-newest    the same on the newest versions that fit together"
	@echo "make test-upstream  the same on the upstream OpenMMLab packages"
	@echo "make site           the documentation, in site/"
	@echo "make test-browser   an image dropped on the page of MODEL= in a headless chromium (apt-get install chromium)"
	@echo "make install        only create $(VENV) and install the versions of $(LOCK); LOCK= for the newest that fit"
	@echo "make lock           write the lock files anew (needs uv)"
	@echo "make clean          remove the environments; trained checkpoints, in work_dirs, stay"

install: $(STAMP)

$(STAMP): $(LOCK) setup.py pyproject.toml $(wildcard requirements/*.py requirements/build.in)
	@rm -f $(VENV)/.installed*
	$(PYTHON) requirements/install.py $(VENV) --lock '$(LOCK)' --extras '$(EXTRAS)' --torch-index '$(TORCH_INDEX)'
	@echo '$(LOCK)' > $@

demo: $(STAMP)
	$(VENV)/bin/mmvssm demo

site: $(STAMP)
	$(PY) -m mkdocs build --strict --quiet

test-browser: $(STAMP)
	$(PY) -m pip install --quiet playwright
	$(PY) tests/browser/drop_an_image.py $(MODEL) $(IMAGE)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

unit: $(STAMP)
	$(PYTEST)

test: lint unit

test-all: lint
	$(PYTEST) -m ''

test-oldest:
	$(MAKE) unit VENV=.venv-oldest LOCK=requirements/oldest.txt

test-newest:
	$(MAKE) unit VENV=.venv-newest LOCK=

test-upstream:
	$(MAKE) unit VENV=.venv-upstream LOCK=requirements/upstream.txt

# for Python 3.10 to 3.13 on every platform
COMPILE = uv pip compile --quiet --universal --python-version 3.10 --no-annotate --custom-compile-command 'make lock' \
	--excludes requirements/excluded.txt --upgrade setup.py requirements/build.in --extra dev

lock:
	$(COMPILE) --extra mm --constraints requirements/caps.txt -o requirements/lock.txt
	$(COMPILE) --extra mm --resolution lowest-direct -o requirements/oldest.txt
	$(COMPILE) requirements/upstream.in --constraints requirements/caps.txt -o requirements/upstream.txt

clean:
	rm -rf .venv .venv-oldest .venv-newest .venv-upstream data/demo
