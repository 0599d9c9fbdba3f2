#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/build.sh PRESET   configures (once) and builds build/PRESET
set -eu
cd "$(dirname "$0")/.."
preset=$1
mkdir -p "build/$preset"
exec 9>"build/$preset/.lock"
flock 9
echo "== build $preset"
if [ ! -f "build/$preset/build.ninja" ]; then
    cmake --preset "$preset" >"build/$preset/configure.log" 2>&1 || { cat "build/$preset/configure.log" >&2; exit 1; }
fi
cmake --build "build/$preset" --parallel "${JOBS:-$(nproc)}"
