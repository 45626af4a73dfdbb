# Every target makes .venv and installs into it when needed. Pip's own settings (its environment variables and
# configuration files) apply as they are, so a mirror or a CPU build of PyTorch is chosen there.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST_FLAGS ?=
TEST_PROCESSES ?= 3
# pytest ends with 5 where flags leave nothing to run
OR_NONE := $(if $(PYTEST_FLAGS),|| [ $$? -eq 5 ])
SEED ?= 1
SECONDS_EACH ?= 60
MINUTES ?= 10

.PHONY: install demo test check format bench chaos soak clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; PYTHON=... chooses one")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[all]' --group test --group lint --group build
	@touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/penstock demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not bound" --numprocesses $(TEST_PROCESSES) --dist worksteal --cov --cov-report= \
		$(PYTEST_FLAGS) $(OR_NONE)
	# without coverage, whose tracer makes some of what is timed take five times as long
	$(BIN)/python -m pytest -m bound $(PYTEST_FLAGS) $(OR_NONE)
	$(BIN)/coverage report --skip-covered

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
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
