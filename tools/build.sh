#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/build.sh PRESET [product]   configures (if needed) and builds build/PRESET; `product` is only what is
# installed, without the tests and what they need
set -eu
cd "$(dirname "$0")/.."
preset=$1 what=${2:-all}
dir=build/$preset
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9
echo "== build $preset"
configure=()
if [ ! -f "$dir/build.ninja" ]; then
    configure=(-DRKF_TESTS=$([ "$what" = product ] && echo OFF || echo ON))
elif [ "$what" = all ] && grep -q '^RKF_TESTS:BOOL=OFF' "$dir/CMakeCache.txt"; then
    configure=(-DRKF_TESTS=ON)
fi
if [ ${#configure[@]} != 0 ]; then
    cmake --preset "$preset" "${configure[@]}" >"$dir/configure.log" 2>&1 || { cat "$dir/configure.log" >&2; exit 1; }
fi
cmake --build "$dir" --parallel "${JOBS:-$(nproc)}" --target "$what"
