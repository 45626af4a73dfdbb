# Every target makes .venv and installs into it when needed. Pip's own settings (its environment variables and
# configuration files) apply as they are, so a mirror or a CPU build of PyTorch is chosen there.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST_FLAGS ?=
TEST_PROCESSES ?= 3
# pytest ends with 5 where flags leave nothing to run
OR_NONE := $(if $(PYTEST_FLAGS),|| [ $$? -eq 5 ])
IN_PROCESSES = --numprocesses $(TEST_PROCESSES)
SEED ?= 1
SECONDS_EACH ?= 60
MINUTES ?= 10

# The tests start some hundred processes, each of which would compile again what it imports. Pip compiles nothing,
# as most of it is never imported.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test coverage check format bench chaos soak clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; PYTHON=... chooses one")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt \
		--editable '.[all,real]' --group test --group clients --group lint --group build
	@touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/penstock demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not bound" $(IN_PROCESSES) $(PYTEST_FLAGS) $(OR_NONE)
	$(BIN)/python -m pytest -m bound $(PYTEST_FLAGS) $(OR_NONE)

# its tracer takes a third of the time of all tests, and makes some of what bounds are set for take five times as long
coverage: $(INSTALLED)
	$(BIN)/python -m pytest -m "not bound" $(IN_PROCESSES) --cov $(PYTEST_FLAGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers auto
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python bench/echo.py
	$(BIN)/python bench/embedding.py
	$(BIN)/python bench/gateway.py

chaos: $(INSTALLED)
	$(BIN)/python -m tests.chaos --seed $(SEED) --seconds $(SECONDS_EACH)

soak: $(INSTALLED)
	$(BIN)/python -m tests.chaos.soak --seed $(SEED) --minutes $(MINUTES)

clean:
	rm -rf .venv build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
