# Two commands for everyone: `make serve` and `make test`. Each makes .venv first, from the lock file.
PYTHON ?= python3
PORT ?= 8080
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: serve test hostile check lint e2e bench lock clean

serve: $(READY)
	$(BIN)/interlock serve --port $(PORT) $(ARGS)

# Two at once: most tests wait for programs. For a debugger or one file: make test ARGS="-n 0 …".
test: $(READY)
	$(BIN)/python -m pytest -n 2 $(ARGS)

# A gateway under attack, measured: one test at a time, nothing beside it.
hostile: $(READY)
	$(BIN)/python -m pytest tests/hostile $(ARGS)

# The whole road in a browser: Chromium, Open WebUI, Interlock, MCP. Installs Open WebUI the first time.
e2e: $(READY)
	$(BIN)/python -m pytest tests/e2e $(ARGS)

# CPU per request beside the floors, in one run. Shorter: make bench ARGS="--rounds 3 --only chat,tool".
bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

check: lint test hostile

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The build backend comes from the lock too, so nothing is fetched that the lock does not name.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Interlock needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

# Needs uv (it is in the lock): writes hashes, no addresses.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 \
		--group studio --group build --group dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) data
