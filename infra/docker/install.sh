#!/bin/sh
# `install.sh --extra ingestor`: the packages that uv.lock has for it, compiled, in /app/.venv.
set -eu
/uv/bin/uv sync --quiet --locked --no-install-project --compile-bytecode \
    --python "$(command -v python3)" "$@"
/app/.venv/bin/python prune.py /app/.venv
