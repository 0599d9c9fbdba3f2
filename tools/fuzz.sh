#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/fuzz.sh BUILD_DIR SECONDS   runs every fuzz target of a clang build for SECONDS from its corpus; what it
# learns stays in BUILD_DIR/fuzz-corpus, inputs that break something in BUILD_DIR/fuzz-found.
set -eu -o pipefail
cd "$(dirname "$0")/.."
build=$1 seconds=$2
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
mkdir -p "$build/fuzz-found"
run_one() {
    local target=$1 name
    name=$(basename "$target")
    name=${name#fuzz_}
    local learned=$build/fuzz-corpus/$name
    mkdir -p "$learned"
    if "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$build/fuzz-found/$name-" "$learned" "fuzz/corpus/$name" >"$build/fuzz-$name.log" 2>&1; then
        echo "fuzz $name: $(awk '/number_of_executed_units/ { print $2 }' "$build/fuzz-$name.log") runs, nothing found"
    else
        tail -n 60 "$build/fuzz-$name.log"
        echo "fuzz $name: FAILED, the input is in $build/fuzz-found"
        return 1
    fi
}
export -f run_one
export build seconds
echo "== fuzz, $seconds s each"
find "$build/fuzz" -maxdepth 1 -type f -executable -name 'fuzz_*' | sort |
    xargs -r -P "${JOBS:-$(nproc)}" -I{} bash -c 'set -eu; run_one {}'
