#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/test_python_full.sh MODELS PYTHON...   python/tests/differential with every PYTHON that is given (each with torch,
# transformers, sentence-transformers of the versions to compare with), on MODELS (a folder with trained/ and random/); and the
# package's tests with 100,000 calls in the one on memory.
set -eu -o pipefail
cd "$(dirname "$0")/.."
if [ $# -lt 2 ] || [ ! -d "$1" ]; then
    echo "usage: make test-python-full MODELS=folder PYTHONS='a/bin/python b/bin/python'" >&2
    exit 2
fi
models=$(realpath "$1")
shift
failed=0
export RKFORMER_LIBRARY=$PWD/build/release/librkformer.so.0
for python in "$@"; do
    echo "== $python: pipelines"
    "$python" python/tests/differential/pipelines.py "$models" || failed=1
    if [ -f python/tests/differential/st_diff.py ]; then
        echo "== $python: sentence-transformers"
        "$python" python/tests/differential/st_diff.py "$models"/trained/*-embed "$models"/trained/bert-rerank || failed=1
    fi
done
unset RKFORMER_LIBRARY
RKFORMER_TEST_CALLS=100000 tools/test_python.sh build/release || failed=1
exit $failed
