# Without PYTHON, `make` keeps its own environment in .venv; with it (PYTHON=python)
# that environment is used as it is and nothing is installed.
PYTHON ?=
ARGS ?=
VENV := .venv
CONSTRAINTS := requirements/constraints.txt
# named by what is asked for, not by a time: archives and branches bring older files
REQUIREMENTS := $(shell cat pyproject.toml $(CONSTRAINTS) | cksum | cut -d ' ' -f 1)
LINTED := $(wildcard coavt_mm configs tools tests projects docs setup.py *.md)

export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

ifeq ($(strip $(PYTHON)),)
RUN := $(VENV)/bin/python
RUN_READY := $(VENV)/.ready-run-$(REQUIREMENTS)
TEST_READY := $(VENV)/.ready-test-$(REQUIREMENTS)
DOCS_READY := $(VENV)/.ready-docs-$(REQUIREMENTS)
else
RUN := $(PYTHON)
RUN_READY := check-run
TEST_READY := check-test
DOCS_READY := check-docs
endif

.DEFAULT_GOAL := help
.PHONY: help demo demo-all quick test soak lint docs clean check-run check-test check-docs

help:  ## show this text
	@echo 'make TARGET [PYTHON=python] [ARGS="..."]'
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  \1\t/'
	@echo 'PYTHON=python uses that environment instead of a new one in .venv.'

demo: $(RUN_READY)  ## render clips, pre-train, evaluate; ARGS go to tools/demo.py
	$(RUN) tools/demo.py $(ARGS)

demo-all: $(RUN_READY)  ## the demo, unless it was run, then every recipe in miniature
	@test -f work_dirs/demo/checkpoint.pth || $(MAKE) --no-print-directory demo ARGS=
	$(RUN) tools/demo.py --recipes $(ARGS)

quick: $(TEST_READY)  ## the tests that are not slow, on all cores; ARGS go to pytest
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --dist worksteal -m 'not slow' $(ARGS)

test: $(TEST_READY)  ## lint and run all tests; ARGS go to pytest
	@$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal \
	    --cov=coavt_mm --cov-report=term --cov-fail-under=85 $(ARGS)

soak: $(TEST_READY)  ## kill trainings, go on, compare; ARGS='--kills 25 --minutes 60 --inputs 3600 --calls 200'
	$(RUN) tests/soak.py $(ARGS)

lint: $(TEST_READY)  ## rules, format, spelling, types, and who may import whom
	$(RUN) -m ruff check $(LINTED)
	$(RUN) -m ruff format --check $(LINTED)
	$(RUN) -m codespell_lib $(LINTED)
	$(dir $(shell command -v $(RUN)))lint-imports
	$(RUN) -m mypy coavt_mm

docs: $(DOCS_READY)  ## build the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict $(ARGS)

clean:  ## remove .venv, builds and caches; data and work_dirs stay
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache .coverage
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# ---------------------------------------------------------------------- environment
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 13))

$(VENV)/bin/python:
	@set -e; for python in python3 python3.12 python3.11 python3.10 python; do \
	    if $$python -c '$(SUITABLE)' 2>/dev/null; then \
	        echo "Creating $(VENV) with $$python"; \
	        $$python -m venv $(VENV); exit 0; \
	    fi; \
	done; \
	echo 'No Python 3.10, 3.11 or 3.12 with the module venv was found' \
	     '(on Debian and Ubuntu: apt install python3-venv).' >&2; exit 1

INSTALL = $(RUN) -m pip install --disable-pip-version-check -q -c $(CONSTRAINTS)
# what was installed for other requirements is not there any more
READY = @rm -f $(filter-out %-$(REQUIREMENTS),$(wildcard $(VENV)/.ready-*)) && touch

$(VENV)/.ready-run-%: | $(VENV)/bin/python
	$(INSTALL) -e '.[lite,caption]'
	$(READY) $@

$(VENV)/.ready-test-%: | $(VENV)/bin/python
	$(INSTALL) -e '.[lite,caption,test]'
	$(READY) $(RUN_READY) $(DOCS_READY) $@

$(VENV)/.ready-docs-%: | $(VENV)/bin/python
	$(INSTALL) -e '.[docs]'
	$(READY) $@

define CHECK
	@$(RUN) -c 'import importlib.util, sys; \
	missing = [m for m in sys.argv[1:] if importlib.util.find_spec(m) is None]; \
	sys.exit(None if not missing else "$(RUN) lacks " + ", ".join(missing) + \
	": install with `$(RUN) -m pip install -c $(CONSTRAINTS) -e \".[lite,caption,test]\"`")' $(1)
endef
RUN_MODULES := av decord fsspec matplotlib mmaction mmcv mmengine mmpretrain numpy psutil sklearn \
    tensorboard torch torchaudio torchvision transformers

check-run:
	$(call CHECK,$(RUN_MODULES))

check-test:
	$(call CHECK,$(RUN_MODULES) codespell_lib importlinter mypy pytest pytest_cov \
	    pytest_timeout ruff sklearn timm xdist)

check-docs:
	$(call CHECK,material mkdocs mkdocstrings mkdocstrings_handlers)
