#!/usr/bin/env bash
# Make a folder with ONNX Runtime's headers and library, for `cmake -DONNXRUNTIME_ROOT=FOLDER`.
#
#   onnxruntime_root.sh FOLDER release DIR      an unpacked release archive of ONNX Runtime (include/ and lib/)
#   onnxruntime_root.sh FOLDER system           the installed packages (Debian 13 or later: libonnxruntime-dev)
#   onnxruntime_root.sh FOLDER wheel [PYTHON]   the library of the `onnxruntime` wheel that PYTHON imports, with the
#                                               headers of Debian's libonnxruntime-dev, which is downloaded and unpacked
#                                               here, not installed: the system stays as it is
#
# The wheel has no headers. ONNX Runtime's C interface only ever grows, so that Debian's headers, which are older, fit
# every wheel that is newer than they are; the script refuses one that is not. Environment:
#   ORT_HEADERS_MIRROR   Debian mirror (http://deb.debian.org/debian)
#   ORT_HEADERS_SUITE    Debian release to take the headers from (trixie)
#
# FOLDER gets include/ and lib/, whole or not at all. An existing FOLDER is replaced if it was made by this script.
set -euo pipefail

fail() {
    echo "onnxruntime_root.sh: $1" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

# Link the headers in the folder $1 and the library $2 into the new folder.
assemble() {
    local headers=$1 library=$2
    for header in onnxruntime_c_api.h onnxruntime_cxx_api.h onnxruntime_cxx_inline.h; do
        [ -f "$headers/$header" ] || fail "there is no $header in $headers: install or unpack ONNX Runtime's headers"
    done
    [ -f "$library" ] || fail "there is no library $library: install ONNX Runtime"
    mkdir -p "$new/lib"
    [ -e "$new/include" ] || ln -s "$(realpath "$headers")" "$new/include"
    # Programs look for the SONAME, linkers for the plain name.
    ln -s "$(realpath "$library")" "$new/lib/libonnxruntime.so.1"
    ln -s libonnxruntime.so.1 "$new/lib/libonnxruntime.so"
    # ONNX Runtime looks for these beside the name it was loaded by.
    find "$(dirname "$(realpath "$library")")" -maxdepth 1 -name 'libonnxruntime_providers_*.so' -exec ln -s {} "$new/lib/" ';'
}

from_release() {
    local release=${1:?}
    [ -d "$release" ] || fail "there is no folder $release"
    assemble "$release/include" "$release/lib/libonnxruntime.so"
}

from_system() {
    local headers="" library=""
    for folder in /usr/include/onnxruntime /usr/include/onnxruntime/core/session /usr/local/include/onnxruntime \
        /usr/local/include; do
        [ -n "$headers" ] || [ ! -f "$folder/onnxruntime_cxx_api.h" ] || headers=$folder
    done
    [ -n "$headers" ] || fail "no ONNX Runtime headers are installed: apt-get install libonnxruntime-dev (Debian 13 or later), or use 'wheel'"
    library=$(ldconfig -p | awk '/libonnxruntime\.so/ { print $NF; exit }')
    [ -n "$library" ] || fail "no libonnxruntime.so is installed: apt-get install libonnxruntime-dev, or use 'wheel'"
    assemble "$headers" "$library"
}

from_wheel() {
    local python=$1 capi library headers wanted given
    capi=$("$python" -c 'import onnxruntime, pathlib; print(pathlib.Path(onnxruntime.__file__).parent / "capi")') ||
        fail "$python has no onnxruntime: $python -m pip install onnxruntime"
    library=$(find "$capi" -maxdepth 1 -name 'libonnxruntime.so.*' | sort | head -n 1)
    [ -n "$library" ] || fail "there is no libonnxruntime.so in $capi"
    fetch_debian_headers
    headers=$new/include
    [ -f "$headers/onnxruntime_c_api.h" ] || fail "Debian's libonnxruntime-dev holds no onnxruntime_c_api.h"
    wanted=$(awk '$2 == "ORT_API_VERSION" { print $3 }' "$headers/onnxruntime_c_api.h")
    given=$("$python" -c 'import onnxruntime; print(onnxruntime.__version__.split(".")[1])')
    [ "$given" -ge "$wanted" ] || fail "the wheel is ONNX Runtime 1.$given, the headers are of 1.$wanted: $python -m pip install --upgrade onnxruntime"
    assemble "$headers" "$library"
}

# Download one package with lists and cache of our own, and unpack its headers into the new folder.
fetch_debian_headers() {
    local apt=$new/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    local mirror=${ORT_HEADERS_MIRROR:-http://deb.debian.org/debian} suite=${ORT_HEADERS_SUITE:-trixie}
    command -v apt-get >/dev/null || fail "there is no apt-get: use 'release' or 'system'"
    [ -f "$keyring" ] || fail "there is no $keyring: apt-get install debian-archive-keyring"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"
    local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$apt/lists"
        -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none)
    apt-get "${options[@]}" update >&2 || fail "the package list of $mirror $suite cannot be read"
    (cd "$apt" && apt-get "${options[@]}" download libonnxruntime-dev >&2) || fail "libonnxruntime-dev cannot be downloaded from $mirror $suite"
    dpkg -x "$apt"/libonnxruntime-dev_*.deb "$apt/unpacked"
    mv "$apt/unpacked/usr/include/onnxruntime" "$new/include"
    rm -r "$apt"
}

[ $# -ge 2 ] || usage
folder=$1 source=$2
shift 2
if [ -e "$folder" ] && [ ! -f "$folder/.onnxruntime_root" ]; then
    fail "$folder exists and was not made by this script: give another folder"
fi
mkdir -p "$(dirname "$folder")"
new=$(mktemp -d "$(realpath "$(dirname "$folder")")/.onnxruntime_root.XXXXXX")
trap 'rm -rf "$new"' EXIT
case $source in
    release) [ $# -eq 1 ] || usage; from_release "$1" ;;
    system) [ $# -eq 0 ] || usage; from_system ;;
    wheel) [ $# -le 1 ] || usage; from_wheel "${1:-python3}" ;;
    *) usage ;;
esac
touch "$new/.onnxruntime_root"
chmod 755 "$new"
rm -rf "$folder"
mv "$new" "$folder"
echo "$folder"
