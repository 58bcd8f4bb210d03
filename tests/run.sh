#!/usr/bin/env bash
# The one command that every change has to pass: installs what it needs (Debian packages, .venv), then format, lint,
# types, import contracts and tests, in as many processes as there are cores, four at most. Arguments go to pytest.
#
#   bash tests/run.sh            all but the slow tests, with the coverage of the Python code
#   bash tests/run.sh -m slow    the slow ones
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # some containers set it; then each of a thousand processes compiles what it imports anew
bash runtimes/cpp/scripts/debian_packages.sh
PIP_COMPILE=0 bash examples/install.sh dev,cpu # half the time: what is imported is compiled then
PATH=$PWD/.venv/bin:$PATH
# One core each: types are checked while the tests begin, and what they import is compiled, once, beside the rest.
types=$(mktemp)
mypy >"$types" 2>&1 &
checking=$!
python -c 'import trbert_deploy.export.exporter, trbert_deploy.training.run, datasets' &
ruff check
ruff format --check
git ls-files '*.c' '*.cpp' '*.h' '*.hpp' | xargs clang-format --dry-run --Werror
lint-imports
wait $!
python -m pytest --cov --numprocesses auto --maxprocesses 4 "$@" || failed=$?
wait "$checking" || {
    cat "$types" >&2
    exit 1
}
exit "${failed:-0}"
