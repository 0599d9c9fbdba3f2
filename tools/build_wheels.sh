#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: tools/build_wheels.sh [ARCH...]   release wheels in dist/: py3-none-manylinux_2_28_ARCH for x86_64 and aarch64
#
# The compiler is clang as PyPI's `ziglang` carries it, which brings glibc 2.28's symbols for every architecture, so that the
# wheels run on Debian 11, Ubuntu 20.04 and later. Oniguruma is built from its source (pinned) and linked statically; yyjson
# is inside anyway. The command loads libmicrohttpd, libcurl and libyaml when `serve` and `pull` need them, from the machine
# it runs on: only their headers are taken from this one. Symbol versions and needed libraries are checked at the end.
set -eu -o pipefail
cd "$(dirname "$0")/.."
glibc=2.28
zig_version=0.15.2
onig_version=6.9.8
onig_sha256=26372720bab6733c869a9eb69377f73971138dc5e3eff4a81f5ba8aea5435fb2
arches=("$@")
[ $# != 0 ] || arches=(x86_64 aarch64)
top=$PWD
work=$top/build/wheels
mkdir -p "$work" dist

onig_url() { # the source in the archive that this machine's packages come from
    local archive
    archive=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    echo "${archive}pool/main/libo/libonig/libonig_$onig_version.orig.tar.gz"
}

if ! "$work/venv/bin/python" -c 'import ziglang' 2>/dev/null; then
    rm -rf "$work/venv"
    python3 -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "ziglang==$zig_version"
fi
onig_tar=$work/oniguruma-$onig_version.tar.gz
if ! echo "$onig_sha256  $onig_tar" | sha256sum --check --status 2>/dev/null; then
    echo "Fetching Oniguruma $onig_version"
    curl --fail --silent --show-error --location --output "$onig_tar" "${ONIG_URL:-$(onig_url)}" || {
        echo "cannot fetch it: Debian 12's archive has it; set ONIG_URL to where libonig_$onig_version.orig.tar.gz is" >&2
        exit 1
    }
    echo "$onig_sha256  $onig_tar" | sha256sum --check --status || { echo "the sha256 of $onig_tar is wrong" >&2; exit 1; }
fi
rm -rf "$work/oniguruma-$onig_version"
tar xzf "$onig_tar" -C "$work"

mkdir -p "$work/licenses"
cp "$work/oniguruma-$onig_version/COPYING" "$work/licenses/LICENSE.oniguruma"
cp build/third_party/yyjson-*/LICENSE "$work/licenses/LICENSE.yyjson" 2>/dev/null || true

headers() { # headers DIR: those of the libraries that the command loads, without the rest of /usr/include
    local module file
    rm -rf "$1"
    mkdir -p "$1/pkgconfig"
    for module in libcurl:curl/curl.h libmicrohttpd:microhttpd.h yaml-0.1:yaml.h; do
        file=${module#*:} module=${module%%:*}
        for dir in "$(pkg-config --variable=includedir "$module")" "/usr/include/$(gcc -print-multiarch)" /usr/include; do
            [ -f "$dir/$file" ] || continue
            case $file in */*) cp -r "$dir/${file%/*}" "$1" ;; *) cp "$dir/$file" "$1" ;; esac
            break
        done
        printf 'Name: %s\nDescription: headers\nVersion: %s\nCflags: -I%s\n' "$module" "$(pkg-config --modversion "$module")" "$1" \
            >"$1/pkgconfig/$module.pc"
    done
}
headers "$work/include"

tool() { # tool FILE WORDS...: a program that runs zig with these words first; zig has its own words for -march
    cat >"$1" <<EOF
#!/bin/sh
for word; do
    shift
    case \$word in
    -march=armv8.2-a+fp16) word=-mcpu=generic+v8_2a+fullfp16 ;;
    -march=armv8.2-a*) word=-mcpu=generic+v8_2a\${word#-march=armv8.2-a} ;;
    esac
    set -- "\$@" "\$word"
done
exec "$work/venv/bin/python" -m ziglang ${*:2} "\$@"
EOF
    chmod +x "$1"
}

check() { # check FILE: nothing newer than glibc's version, nothing needed but libc and its parts
    local file=$1 newest needed
    newest=$(objdump -T "$file" | grep -o 'GLIBC_[0-9.]*' | sort -u -V | tail -n 1)
    needed=$(objdump -p "$file" | awk '$1 == "NEEDED" { print $2 }' | grep -vE '^(libc|libm|libpthread|libdl|ld-linux.*)\.so' || true)
    if [ "$(printf '%s\nGLIBC_%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" != "GLIBC_$glibc" ] || [ -n "$needed" ]; then
        echo "$file needs $newest $needed: at most GLIBC_$glibc is allowed" >&2
        exit 1
    fi
    echo "$(basename "$file"): $newest at most, $(stat -L -c %s "$file") bytes"
}

for arch in "${arches[@]}"; do
    dir=$work/$arch
    mkdir -p "$dir"
    flags=()
    [ "$arch" != x86_64 ] || flags=(-mevex512) # zig switches it off, without which clang 20 takes no 512-bit arguments
    tool "$dir/cc" cc -target "$arch-linux-gnu.$glibc" -fno-sanitize=undefined "${flags[@]}"
    tool "$dir/ar" ar
    tool "$dir/ranlib" ranlib
    cat >"$dir/toolchain.cmake" <<EOF
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR $arch)
set(CMAKE_C_COMPILER $dir/cc)
set(CMAKE_AR $dir/ar CACHE FILEPATH "")
set(CMAKE_RANLIB $dir/ranlib CACHE FILEPATH "")
set(CMAKE_FIND_ROOT_PATH $dir/onig)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
EOF
    common=(-G Ninja -DCMAKE_TOOLCHAIN_FILE="$dir/toolchain.cmake" -DCMAKE_BUILD_TYPE=Release)
    echo "== wheel $arch"
    if [ ! -f "$dir/onig/lib/libonig.a" ]; then
        cmake -S "$work/oniguruma-$onig_version" -B "$dir/onig-build" "${common[@]}" -DBUILD_SHARED_LIBS=OFF -DBUILD_TEST=OFF \
            -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_C_FLAGS=-w -DCMAKE_INSTALL_PREFIX="$dir/onig" \
            -DCMAKE_INSTALL_LIBDIR=lib >"$dir/onig.log" 2>&1 &&
            cmake --build "$dir/onig-build" --target install >>"$dir/onig.log" 2>&1 || { tail -n 30 "$dir/onig.log" >&2; exit 1; }
    fi
    export PKG_CONFIG_LIBDIR=$dir/onig/lib/pkgconfig:$work/include/pkgconfig
    cmake -S . -B "$dir/build" "${common[@]}" -DRKF_TESTS=OFF -DRKF_COMMAND=ON -DRKF_WERROR=OFF \
        -DCMAKE_SHARED_LINKER_FLAGS=-s -DCMAKE_EXE_LINKER_FLAGS=-s >"$dir/build.log" 2>&1 &&
        cmake --build "$dir/build" --target librkformer.so rknnrt-sim rkformer_cli >>"$dir/build.log" 2>&1 ||
        { tail -n 40 "$dir/build.log" >&2; exit 1; }
    for file in "$dir/build/librkformer.so.0" "$dir/build/sim/librknnrt-sim.so" "$dir/build/rkformer"; do
        check "$file"
    done
    RKF_LIBRARY_DIR=$dir/build RKF_WHEEL_TAG=manylinux_2_28_$arch RKF_WHEEL_LICENSES=$work/licenses \
        "$work/venv/bin/python" -c "import sys; sys.path.insert(0, 'python'); import build_backend as b; print('dist/' + b.build_wheel('dist'))"
done
