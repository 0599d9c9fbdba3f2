#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/test_python_full.sh MODELS PYTHON...   python/tests/differential with every PYTHON that is given (each with torch,
# transformers, sentence-transformers of the versions to compare with), on MODELS (a folder with trained/ and random/) and on
# models with other modules, made by each sentence-transformers itself; and the package's tests with 100,000 calls in the one on
# memory. About a quarter of an hour with two of them.
set -eu -o pipefail
cd "$(dirname "$0")/.."
if [ $# -lt 2 ] || [ ! -d "$1" ]; then
    echo "usage: make test-python-full MODELS=folder PYTHONS='a/bin/python b/bin/python'" >&2
    exit 2
fi
models=$(realpath "$1")
shift
failed=0
differential=python/tests/differential
export RKFORMER_LIBRARY=$PWD/build/release/librkformer.so.0 HF_HUB_OFFLINE=1
for python in "$@"; do
    echo "== $python: pipelines"
    "$python" $differential/pipelines.py "$models" || failed=1
    "$python" $differential/odd_pipelines.py "$models" || failed=1
    echo "== $python: sentence-transformers"
    "$python" $differential/st_diff.py --pool "$models"/trained/*-embed || failed=1
    "$python" $differential/st_diff.py "$models"/trained/*-[!e]* "$models"/random/* || failed=1
    echo "== $python: other modules"
    made=$(mktemp -d build/st-models-XXXXXX)
    "$python" $differential/make_st_models.py "$models/trained/bert-embed" "$made" >"$made.log" 2>&1 ||
        { tail -n 5 "$made.log"; failed=1; }
    "$python" $differential/st_diff.py "$made"/* || failed=1
    rm -rf "$made" "$made.log"
done
unset RKFORMER_LIBRARY HF_HUB_OFFLINE
RKFORMER_TEST_CALLS=100000 tools/test_python.sh build/release || failed=1
exit $failed
