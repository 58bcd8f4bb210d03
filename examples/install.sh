#!/usr/bin/env bash
# Install the project with the given extras into .venv, at the versions it was tested with.
#
#   bash examples/install.sh export,cpu
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1:?usage: examples/install.sh EXTRAS, e.g. export,cpu}

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $("$python" --version) is too old: Python 3.11 or later is needed" >&2
    echo "hint: PYTHON=/path/to/python3.11 bash $0 $extras" >&2
    exit 1
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt)
"${pip[@]}" --upgrade pip # a sixth less time than with the one that Python 3.11 brings
# PyTorch first: on Linux the plain wheel brings gigabytes of CUDA along, and only its own index has the CPU build.
if [[ ,$extras, =~ ,(torch|export|train|dev), ]] && ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    "${pip[@]}" --extra-index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 20 torch
fi
"${pip[@]}" --editable ".[$extras]"
