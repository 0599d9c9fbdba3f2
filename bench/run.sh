#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The speed tables of docs/performance.md: builds bench_model, makes a Python environment with the peers in build/bench-env
# (from PyPI; BENCH_PYTHON=... uses one that is there), measures both sides in one run. Options go to bench/compare.py.
set -eu -o pipefail
cd "$(dirname "$0")/.."
tools/build.sh release bench
python=${BENCH_PYTHON:-build/bench-env/bin/python}
if [ ! -x "$python" ]; then
    echo "== peers into build/bench-env (torch, transformers, onnxruntime, openvino, ctranslate2: about 3 GB)"
    python3 -m venv build/bench-env
    build/bench-env/bin/pip install --quiet torch "transformers==5.*" tokenizers onnx onnxruntime openvino nncf ctranslate2
fi
[ -d /usr/share/games/fortunes ] || { echo "bench/run.sh: the texts are missing: apt-get install fortunes" >&2; exit 1; }
exec "$python" bench/compare.py build/models/all-MiniLM-L6-v2 build/release/bench/bench_model --base \
    --roofline build/release/bench/roofline --docs docs/performance.md "$@"
