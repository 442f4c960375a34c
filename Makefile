# Two commands do all the set-up: `make demo` runs the main job, `make test` runs every check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow lint proto docs install lock clean

demo: $(VENV)/.installed
	@$(BIN)/comity demo

test: $(VENV)/.installed lint
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/.installed
	$(BIN)/pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

proto: $(VENV)/.installed   ## make the wire code from proto/ anew
	$(BIN)/python -m parties.wire.generate

docs: $(VENV)/.installed   ## write docs/spec.md anew
	$(BIN)/python -m parties.cli.reference

install: $(VENV)/.installed

# What is locked stays as long as it fits; UPGRADE=--upgrade takes the newest of all, UPGRADE='--upgrade-package NAME' of one.
lock:   ## write requirements.lock anew, after a change of dependencies in pyproject.toml
	@test -x $(BIN)/uv || $(MAKE) install
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --extra dev $(UPGRADE) pyproject.toml --output-file requirements.lock

# The venv is made anew when pyproject.toml or the lock changes. Debian keeps venv in a package of its own.
$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Comity needs Python 3.11 or later; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@echo "Making $(VENV) and installing Comity into it (one to two minutes) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --require-hashes --only-binary :all: --requirement requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) out build dist
