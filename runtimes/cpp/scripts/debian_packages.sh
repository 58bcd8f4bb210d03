#!/usr/bin/env bash
# What the C++ library, its service example and their tests are built with: the one list of it.
#
#   debian_packages.sh                    install what is missing (Debian 12 or later, Ubuntu; as root or through sudo);
#                                         where there is no apt-get, as --check
#   debian_packages.sh --check            only say what is missing: exit code 1, and how to get it
#   debian_packages.sh --check --build    the same, without what only the tests need
set -euo pipefail

packages=(
    clang # the tests' sanitizers and fuzz targets, with libclang-rt-dev
    cmake
    debian-archive-keyring # its key vouches for ONNX Runtime's headers, which onnxruntime_root.sh downloads
    doctest-dev
    g++
    libboost-dev # the service's HTTP, as libbrotli-dev and zlib1g-dev
    libbrotli-dev
    libclang-rt-dev
    libssl-dev
    make
    nlohmann-json3-dev
    openssl # makes certificates for the tests
    pkg-config
    zlib1g-dev
)

# What is not there, by command and header rather than by package, so that it works on other systems too.
missing_to_build() {
    for command in cmake make g++ pkg-config; do
        command -v "$command" >/dev/null || echo "$command"
    done
    command -v g++ >/dev/null || return 0
    headers boost/version.hpp brotli/decode.h nlohmann/json.hpp openssl/ssl.h zlib.h
    if command -v apt-get >/dev/null && [ ! -f /usr/share/keyrings/debian-archive-keyring.gpg ]; then
        echo debian-archive-keyring
    fi
}

missing() {
    missing_to_build
    ! command -v python3 >/dev/null || python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    for command in nm clang++ openssl; do
        command -v "$command" >/dev/null || echo "$command"
    done
    ! command -v g++ >/dev/null || headers doctest/doctest.h
    command -v clang++ >/dev/null || return 0
    echo 'int main() {}' | clang++ -fsanitize=thread -x c++ - -o /dev/null 2>/dev/null || echo libclang-rt
}

headers() {
    for header in "$@"; do
        echo "#include <$header>" | g++ -std=c++17 -M -x c++ - >/dev/null 2>&1 || echo "$header"
    done
}

wanted=missing check=""
for word in "$@"; do
    case $word in
        --check) check=yes ;;
        --build) wanted=missing_to_build ;;
        *)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
            exit 2
            ;;
    esac
done
lacks=$("$wanted" | paste -sd ' ')
[ -n "$lacks" ] || exit 0
if [ -n "$check" ] || ! command -v apt-get >/dev/null; then
    echo "error: the C++ library cannot be built and tested here, there is no: $lacks" >&2
    echo "hint: bash runtimes/cpp/scripts/debian_packages.sh   (or install by other means: ${packages[*]})" >&2
    exit 1
fi
[[ $lacks != *python3-venv* ]] || packages+=(python3-venv) # Debian's own Python comes without
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
    command -v sudo >/dev/null || {
        echo "error: not root, and there is no sudo" >&2
        echo "hint: as root: apt-get install ${packages[*]}" >&2
        exit 1
    }
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
