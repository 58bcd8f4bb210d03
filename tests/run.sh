#!/usr/bin/env bash
# Set everything up and run every check: lint, types, tests, in as many processes as there are cores, four at most.
# Further arguments go to pytest.
#
#   bash tests/run.sh            all but the slow tests
#   bash tests/run.sh -m slow    the slow ones
set -euo pipefail
cd "$(dirname "$0")/.."
bash runtimes/cpp/scripts/debian_packages.sh --check
bash examples/install.sh dev,cpu
.venv/bin/ruff check
.venv/bin/ruff format --check
.venv/bin/mypy
.venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 "$@"
