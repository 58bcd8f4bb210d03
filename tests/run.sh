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
export PIP_COMPILE=0 # half the time: what is imported is compiled then
# C++ is compiled while the rest is installed; what goes wrong there is said by the tests that ask for it.
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --constraint constraints.txt filelock onnxruntime
.venv/bin/python tests/support/cpp_builds.py >/dev/null 2>&1 &
bash examples/install.sh dev,cpu
PATH=$PWD/.venv/bin:$PATH
# One core each: types are checked while the tests begin, and what they import is compiled, once, beside the rest.
types=$(mktemp)
mypy >"$types" 2>&1 &
checking=$!
python -c 'import trbert_deploy.export.exporter, trbert_deploy.training.run, datasets' &
compiling=$!
ruff check
ruff format --check
git ls-files '*.c' '*.cpp' '*.h' '*.hpp' | xargs clang-format --dry-run --Werror
lint-imports
wait "$compiling"
python -m pytest --cov --numprocesses auto --maxprocesses 4 "$@" || failed=$?
wait "$checking" || {
    cat "$types" >&2
    exit 1
}
exit "${failed:-0}"
