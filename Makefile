# make test | make test-quick | make test-slow | make mechanisms | make demo | make lint     (each creates .venv and installs on first use)
# test-quick: under a minute on two cores; what it runs stands in tests/quick.py
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: install test test-quick test-slow mechanisms demo lint wheel clean

install: $(VENV)/.installed-test

# Two stamps: the demo needs less than the tests.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -q -e ".[test]"
	touch $@

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-quick: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quick -n 2

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

mechanisms: $(VENV)/.installed-test
	$(BIN)/python benchmarks/mechanisms.py

demo: $(VENV)/.installed
	$(BIN)/tokenzoo demo -o demo_out

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/python tests/lint_words.py
	$(BIN)/basedpyright --pythonpath $(BIN)/python

wheel: $(VENV)/.installed-test
	$(BIN)/python -m build --wheel -o dist .

clean:
	rm -rf build dist *.egg-info demo_out .pytest_cache .ruff_cache
