#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/test_python.sh [BUILD] [pytest options]   the Python package's tests: a wheel with the library of BUILD
# (build/release) is installed into build/python-venv (numpy and pytest come from PyPI) and tested there.
set -eu -o pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
[ $# = 0 ] || shift
venv=build/python-venv
if ! "$venv/bin/python" -c 'import numpy, pytest' 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy pytest
fi
echo "== test python"
RKF_LIBRARY_DIR="$(realpath "$build")" "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
cd python/tests # so that the installed package is what is imported
RKFORMER_TEST_INSTALLED=1 RKFORMER_BUILD="$(realpath "$OLDPWD/$build")" PYTHONDONTWRITEBYTECODE=1 \
    "$OLDPWD/$venv/bin/python" -m pytest -q -p no:cacheprovider "$@" .
