#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/check_source.sh [--fix]   the checks that need no build; --fix lets clang-format change the files
set -eu -o pipefail
cd "$(dirname "$0")/.."
format=clang-format-14 # versions differ in what they do: one is ours
mapfile -t files < <(find include src tests sim fuzz bench docs python -name '*.[ch]' 2>/dev/null | sort)
if [ "${1-}" = --fix ]; then
    exec "$format" -i "${files[@]}"
fi
failed=0
echo "== check source"
python3 tools/check_includes.py || failed=1
python3 tools/check_files.py || failed=1
"$format" --dry-run --Werror "${files[@]}" || { failed=1; echo "clang-format: run 'make format'"; }
[ $failed = 0 ] && echo "source checks passed: ${#files[@]} C files"
exit $failed
