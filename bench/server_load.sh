#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The load tables of docs/server.md: builds, makes a Python environment with the peers in build/server-bench-env (from PyPI;
# BENCH_PYTHON=... uses one that is there), measures all servers in one run. Options go to bench/server_load.py.
set -eu -o pipefail
cd "$(dirname "$0")/.."
tools/build.sh release product
tools/build.sh release bench
python=${BENCH_PYTHON:-build/server-bench-env/bin/python}
if [ ! -x "$python" ]; then
    echo "== peers into build/server-bench-env (torch, sentence-transformers, fastapi, infinity-emb: about 6 GB)"
    python3 -m venv build/server-bench-env
    build/server-bench-env/bin/pip install --quiet "infinity-emb[torch,server]==0.0.77" "click<8.2"
fi
[ -d /usr/share/games/fortunes ] || { echo "bench/server_load.sh: the texts are missing: apt-get install fortunes" >&2; exit 1; }
exec python3 bench/server_load.py build/models/all-MiniLM-L6-v2 build/release/rkformer build/release/bench/http_load --python "$python" --docs docs/server.md "$@"
