# make demo   the whole evening in the sandbox: fetch a small data set, train, bring the results home
# make test   every gate: lint, types, tests (test-all: the whole of every sweep too; test-oldest: the trainer with
#             the oldest torch, the last one with kernels for the K80, on Python 3.10 or 3.11; test-gpu: the trainer
#             on this computer's GPU)

PYTHON ?= python3
BIN := .venv/bin
INPUTS := setup.cfg pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test test-all test-oldest test-gpu lint system clean
.DEFAULT_GOAL := test

demo: system .venv/installed-demo
	.ci/demo

test: lint
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal --timeout 1800

test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest -n 2 --dist worksteal -m "not slow" tests/trainer

test-gpu: .venv/installed-test
	TEST_DEVICE=cuda $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests/trainer

lint: system .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What Python cannot install for itself. Changes nothing where all of it is there.
system:
	@.ci/system "$(PYTHON)"

.venv/bin/python: | system
	"$(PYTHON)" -m venv .venv

.venv/installed-demo: $(INPUTS) | .venv/bin/python
	@echo "installing into .venv (PyTorch is large: a minute or more)"
	$(PIP) --editable ".[trainer,sandbox]"
	@touch $@

.venv/installed-test: $(INPUTS) | .venv/bin/python
	@echo "installing into .venv (PyTorch is large: a minute or more)"
	$(PIP) --editable ".[trainer,sandbox,test]"
	@touch $@ .venv/installed-demo

.venv-oldest/installed: setup.cfg | system
	"$(PYTHON)" -m venv .venv-oldest
	.venv-oldest/bin/python -m pip --disable-pip-version-check install --quiet --editable ".[trainer]" \
	  torch==2.0.1 torchvision==0.15.2 "numpy<2" hypothesis pytest pytest-timeout pytest-xdist
	@touch $@

clean:
	rm -rf .venv .venv-oldest .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
