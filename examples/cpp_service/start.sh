#!/usr/bin/env bash
# Build the service and serve a bundle.
#
#   examples/cpp_service/start.sh BUNDLE [options of trbert-service]
#
# ONNX Runtime: the folder that ONNXRUNTIME_ROOT names, or that of the wheel that .venv/bin/python (or PYTHON) imports.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
build=$root/build/cpp_service
[ $# -ge 1 ] || {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}
bash "$root/runtimes/cpp/scripts/debian_packages.sh" --check --build
mkdir -p "$build"
{
    if [ -z "${ONNXRUNTIME_ROOT:-}" ]; then
        ONNXRUNTIME_ROOT=$build/onnxruntime
        python=${PYTHON:-$root/.venv/bin/python}
        [ -x "$python" ] || python=$(command -v python3)
        [ -d "$ONNXRUNTIME_ROOT" ] || "$root/runtimes/cpp/scripts/onnxruntime_root.sh" "$ONNXRUNTIME_ROOT" wheel "$python"
    fi
    cmake -S "$here" -B "$build" -DONNXRUNTIME_ROOT="$ONNXRUNTIME_ROOT"
    cmake --build "$build" --target trbert-service
} >&2
exec "$build/trbert-service" "$@"
