# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: demo test lint zoo study clean

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: .venv/.installed
	$(BIN)/python benchmarks/demo.py

test: .venv/.installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not zoo" -n $(JOBS) -q

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

zoo: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[zoo]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m zoo -n $(JOBS) -q

study: .venv/.installed
	$(BIN)/edgeprune study --paper --out benchmarks/results/study

clean:
	rm -rf .venv .demo .pytest_cache .mypy_cache .ruff_cache
