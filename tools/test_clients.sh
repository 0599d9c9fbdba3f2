#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/test_clients.sh PROGRAM   the peers' own clients and a browser against `PROGRAM serve`. Installs the
# clients into build/clients (Python packages of tests/clients/requirements.txt) and Debian's chromium if it is missing.
set -eu -o pipefail
cd "$(dirname "$0")/.."
program=$(realpath "$1")
venv=build/clients
if [ ! -x $venv/bin/python ] || [ $venv/installed -ot tests/clients/requirements.txt ]; then
    python3 -m venv $venv
    $venv/bin/pip install --quiet --requirement tests/clients/requirements.txt
    touch $venv/installed
fi
command -v chromium >/dev/null || tools/packages.sh clients
RKFORMER=$program TEST_DATA=$PWD/tests/data $venv/bin/python -W ignore tests/clients/test_clients.py "${@:2}"
RKFORMER=$program TEST_DATA=$PWD/tests/data $venv/bin/python -W ignore tests/clients/run_schemathesis.py $venv/bin/schemathesis
