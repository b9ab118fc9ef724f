# The front door. `make test` runs the checks, `make demo` shows the service at work.
# Needs Python >= 3.11 and make; everything else goes into .venv.  Another Python: make test PYTHON=/path/to/python

PYTHON ?= python3
VENV ?= .venv
PACKAGES := packages/exec-core packages/exec-broker-mock packages/exec-service
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: help test demo clean

help:
	@echo "make test   run the checks (nox: lint, tests, packages, conformance, ibkr_async, examples)"
	@echo "make demo   install the service here and run it with the mock broker"
	@echo "make clean  remove what these two have made"

test: $(VENV)/.tools
	$(VENV)/bin/nox

demo: $(VENV)/.demo
	$(VENV)/bin/exec-service demo

# The stamps: a second run starts at once.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.tools: $(VENV)/.python
	$(PIP) nox uv
	@touch $@

$(VENV)/.demo: $(VENV)/.python $(PACKAGES:%=%/pyproject.toml)
	$(PIP) $(PACKAGES:%=--editable %)
	@touch $@

clean:
	rm -rf $(VENV) .nox dist
