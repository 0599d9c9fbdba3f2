#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/packages.sh SET...   (make build test check)
# Installs the Debian or Ubuntu packages of these sets whose test below fails; does nothing if none is missing.
set -eu

# set | package | is it there?
table='
make  | make                    | command -v make
build | ca-certificates         | test -e /etc/ssl/certs/ca-certificates.crt
build | gcc                     | command -v gcc
build | libc6-dev               | test -e /usr/include/stdio.h
build | cmake                   | command -v cmake
build | ninja-build             | command -v ninja
build | pkg-config              | command -v pkg-config
build | libonig-dev             | pkg-config --exists oniguruma
build | libmicrohttpd-dev       | pkg-config --exists libmicrohttpd
build | libyaml-dev             | pkg-config --exists yaml-0.1
build | libcurl4-openssl-dev    | pkg-config --exists libcurl
build | python3                 | command -v python3
build | python3-pip             | python3 -m pip --version
test  | libcmocka-dev           | pkg-config --exists cmocka
test  | g++                     | command -v g++
test  | python3-venv            | python3 -m ensurepip --version
test  | curl                    | command -v curl
clients | chromium              | command -v chromium
check | clang                   | command -v clang
check | clang-format-14         | command -v clang-format-14
check | llvm                    | command -v llvm-symbolizer
check | valgrind                | command -v valgrind
check | libc6-dbg               | test -e /usr/share/doc/libc6-dbg
cross | qemu-user-static        | command -v qemu-aarch64-static
cross | gcc-aarch64-linux-gnu   | command -v aarch64-linux-gnu-gcc
'

missing() { # packages of the sets in "$@" that are not there
    local set package test
    while IFS='|' read -r set package test; do
        set=${set// /} package=${package// /}
        [ -n "$set" ] && [[ " $* " == *" $set "* ]] || continue
        eval "$test" >/dev/null 2>&1 || echo "$package"
    done <<<"$table"
}

sanitizers_missing() { # clang's run-time libraries are a package of their own on newer releases, named by version
    [[ " $* " == *" check "* ]] && command -v clang >/dev/null || return 0
    echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n); int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return !p + !n; }' |
        clang -x c - -fsanitize=fuzzer,address,undefined -o /dev/null 2>/dev/null ||
        echo "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
}

updated=false
install_packages() {
    local as_root=()
    if ! command -v apt-get >/dev/null; then
        echo "missing: $*: install what they contain with your package manager (these are Debian's names)" >&2
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "missing packages: as root, run: apt-get install --no-install-recommends $*" >&2
            exit 1
        fi
        as_root=(sudo)
        [ -t 0 ] || as_root=(sudo -n)
    fi
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    local apt=("${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
    echo "Installing packages: $*"
    if ! $updated; then
        "${apt[@]}" update | tail -n 1
        updated=true
    fi
    "${apt[@]}" install -y --no-install-recommends "$@" | grep -c '^Setting up' | sed 's/$/ packages installed/'
}

sets=("$@")
[[ " $* " == *" check "* ]] && [ "$(uname -m)" != aarch64 ] && sets+=(cross)
mapfile -t packages < <(missing "${sets[@]}")
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
mapfile -t packages < <(sanitizers_missing "${sets[@]}")
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
mapfile -t packages < <(missing "${sets[@]}")
if [ ${#packages[@]} != 0 ]; then
    echo "still missing after installing: ${packages[*]}: see the messages of apt-get above" >&2
    exit 1
fi
