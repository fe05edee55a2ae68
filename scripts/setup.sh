#!/usr/bin/env bash
# Make .venv with the project in it, if it is not there yet.  Usage: scripts/setup.sh EXTRA (local or dev)
set -euo pipefail
cd "$(dirname "$0")/.."
extra=$1

if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
    echo "note: this needs no sudo; what it makes will belong to root" >&2
fi

find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3.14 python3; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "$name"
            return
        fi
    done
    echo "error: CIAB needs Python 3.11 or newer, and none is on the PATH" >&2
    return 1
}

if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python=$(find_python)
    echo "making .venv with $("$python" --version)"
    rm -rf .venv
    if ! message=$("$python" -m venv .venv 2>&1); then
        rm -rf .venv
        echo "$message" >&2
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "error: $python cannot make a virtual environment; on Debian and Ubuntu: sudo apt install python$version-venv" >&2
        exit 1
    fi
fi

echo "installing CIAB and what it needs (once; a minute or so)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --constraint constraints.txt --editable ".[$extra]"
