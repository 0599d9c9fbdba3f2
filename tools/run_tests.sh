#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/run_tests.sh PRESET [ctest options]   runs the tests of build/PRESET; the log stays in build/PRESET/ctest.log
set -eu -o pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
run=()
# The thread sanitizer's fixed map meets the kernel's address randomisation on newer kernels: switch that off if we may.
if [ "$preset" = tsan ] && setarch -R true 2>/dev/null; then
    run=(setarch -R)
fi
echo "== test $preset"
rm -f "build/$preset/ctest.log"
"${run[@]}" ctest --test-dir "build/$preset" --parallel "${JOBS:-$(nproc)}" --output-on-failure --no-tests=error "$@" 2>&1 | tee "build/$preset/ctest.log"
