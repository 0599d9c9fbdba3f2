#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Cross build for aarch64, then its unit and golden tests under qemu-user.
set -eu -o pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -m)" = aarch64 ]; then
    echo "== this machine is aarch64: its own build and tests are the aarch64 ones"
    exit 0
fi
tools/sysroot.sh
tools/build.sh aarch64
tools/run_tests.sh aarch64 -L 'unit|golden|fuzz'
