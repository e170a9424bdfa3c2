# make test | make test-quick | make test-slow | make mechanisms | make demo | make lint | make docs    (each creates .venv on first use)
# test-quick: under a minute on two cores; what it runs stands in tests/quick.py
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: install test test-quick test-slow mechanisms demo lint docs wheel release clean

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

# the site, into build/site; any warning is an error. To look: python -m http.server -d build/site
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(VENV)/.installed-test
	$(BIN)/python -m build --wheel -o dist .

# checks version, changelog and citation, builds and checks both distributions, sets the tag; `make release DRY=--dry-run` sets none
release: $(VENV)/.installed-test
	$(BIN)/python -m pip install -q -e ".[release]"
	$(BIN)/python docs/release.py $(DRY)

clean:
	rm -rf build dist *.egg-info demo_out .pytest_cache .ruff_cache
