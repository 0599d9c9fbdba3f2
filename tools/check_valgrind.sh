#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `rkformer embed` of the release build under valgrind: no leak, no invalid access. A tiny model: valgrind is slow.
set -eu -o pipefail
cd "$(dirname "$0")/.."
echo "== valgrind"
model=tests/data/models/trained/bert-embed
for threads in 1 2; do
    valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect,possible \
        --errors-for-leak-kinds=definite,indirect,possible \
        build/release/rkformer embed -m $model --threads $threads "a short text" "a second, longer text, with some more words" "" \
        >build/valgrind.out || { echo "valgrind found something with --threads $threads (above)"; exit 1; }
    [ "$(grep -c '"embedding"' build/valgrind.out)" = 3 ] || { echo "embed did not print three embeddings"; exit 1; }
done
echo "valgrind: nothing found"
