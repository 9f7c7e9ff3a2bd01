# The few tasks. A bare machine needs Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test check integration proofs bench clean

demo: $(READY)  ## the main job on the embedded defaults: trains, bids, books, reports
	$(BIN)/clearbid demo

test: $(READY)  ## all tests but those of `integration`, on all cores
	$(BIN)/python -m pytest -m "not kafka and not postgres" -n auto --maxprocesses 8 --dist loadfile --benchmark-disable

check: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

integration: $(READY)  ## the tests against a real Apache Kafka and PostgreSQL, which must be there
	CLEARBID_REQUIRE_KAFKA=1 CLEARBID_REQUIRE_POSTGRES=1 $(BIN)/python -m pytest tests -m "kafka or postgres"

proofs: $(READY)  ## the long proofs, of which `test` plays samples: hours
	$(BIN)/python -m pytest -m slow -n auto --maxprocesses 8 --dist loadfile --benchmark-disable

bench: $(READY)  ## the committed benchmarks, with ratios against the named rivals
	$(BIN)/python -m pytest benchmarks -q -s
	$(BIN)/python -m benchmarks.saturation

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Clearbid needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) clearbid-demo clearbid-quality
