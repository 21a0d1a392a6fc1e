# The two commands: 'make demo' and 'make test'. Both make the virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: demo test test-all test-floor lint bench setup clean

demo: setup
	$(BIN)/locomotion demo

test: lint $(VENV)/warp
	$(BIN)/python -m pytest

test-all: lint $(VENV)/warp
	$(BIN)/python -m pytest -m "slow or not slow"

# the oldest admitted versions, in an environment of their own
test-floor:
	$(PYTHON) -m venv .venv-floor
	.venv-floor/bin/pip install -q -c constraints-floor.txt -e ".[pybullet,warp,unitree,offline,neighbours]" pytest hypothesis mcap mcap-ros2-support minari
	.venv-floor/bin/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

bench: setup
	$(BIN)/pip install -q -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.run

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[pybullet,unitree,dev]"
	@touch $@

# MuJoCo Warp is 149 MB to download: tests run it on the CPU, the demo goes without
$(VENV)/warp: $(VENV)/ready
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[warp]"
	@touch $@

clean:
	rm -rf $(VENV) .venv-floor
