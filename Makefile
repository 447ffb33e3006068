# Two commands for everyone: `make serve` and `make test`. Each makes .venv first, from a lock file.
PYTHON ?= python3
PORT ?= 8080
ARGS ?=
DIST ?= dist
# uv believes the certificates that this machine believes, as pip does: a company's proxy may have its own.
export UV_SYSTEM_CERTS ?= true
VENV := .venv
BIN := $(VENV)/bin
SERVE := $(VENV)/.serve
STUDIO := $(VENV)/.studio
DEV := $(VENV)/.dev

PYTHON_CHECK = $(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Interlock needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
INSTALL = @$(PYTHON_CHECK) && $(PYTHON) scripts/install.py

.PHONY: serve studio test hostile check lint e2e pictures reference bench compat lock audit first-answer wheel clean

serve: $(SERVE)
	$(BIN)/interlock serve --port $(PORT) $(ARGS)

studio: $(STUDIO)
	$(BIN)/interlock studio $(ARGS)

# Two at once: most tests wait for programs. For a debugger or one file: make test ARGS="-n 0 …".
test: $(DEV)
	$(BIN)/python -m pytest -n 2 $(ARGS)

# A gateway under attack, measured: one test at a time, nothing beside it.
hostile: $(DEV)
	$(BIN)/python -m pytest tests/hostile $(ARGS)

# The whole road in a browser: Chromium, Open WebUI, Interlock, MCP. Installs Open WebUI the first time.
e2e: $(DEV)
	$(BIN)/python -m pytest tests/e2e $(ARGS)

# The picture of the README, from the same browser tests.
pictures: $(DEV)
	INTERLOCK_PICTURES=$(CURDIR)/docs/pictures $(BIN)/python -m pytest tests/e2e/test_picture.py $(ARGS)

# The pages of docs/reference, from what the program says of itself.
reference: $(DEV)
	$(BIN)/python -m scripts.reference

# CPU per request beside the floors, in one run. Shorter: make bench ARGS="--rounds 3 --only chat,tool".
bench: $(DEV)
	$(BIN)/python -m bench $(ARGS)

# Other people's MCP servers and clients, installed and run: docs/compatibility.md. Some: make compat ARGS="--only time,llm".
compat: $(DEV)
	PYTHONPATH=tests $(BIN)/python -m compat $(ARGS)

check: lint test hostile

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# What `uv tool install`, pipx and pip install: the wheel, with the shipped configs, in dist/.
wheel: $(SERVE)
	$(BIN)/python -m hatchling build -t wheel -d $(DIST)

# One mark a set. A larger set leaves the marks of the smaller ones too, so nothing is installed twice.
$(SERVE): requirements.lock pyproject.toml
	$(INSTALL) serve

$(STUDIO): requirements-studio.lock requirements.lock pyproject.toml
	$(INSTALL) studio

$(DEV): requirements-dev.lock requirements.lock pyproject.toml
	$(INSTALL) dev

# Every lock of the repository, with today's versions (CONTRIBUTING.md). Only what changed in pyproject.toml: ARGS=--keep
lock: $(DEV)
	$(BIN)/python -m scripts.lock $(ARGS)

# What is in the product (dist/interlock.cdx.json, CycloneDX), and whether any of it is known to be vulnerable.
audit: $(DEV)
	$(BIN)/python -m scripts.audit

# From a fresh clone to the first answer, in seconds.
first-answer:
	$(PYTHON) scripts/first_answer.py $(ARGS)

clean:
	rm -rf $(VENV) data dist
