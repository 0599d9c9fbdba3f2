#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# arm64 libraries and headers for the cross build, unpacked into build/sysroot. The machine's own package database is not
# touched and no foreign architecture is added: apt runs with a configuration of its own below build/sysroot.apt.
set -eu -o pipefail
cd "$(dirname "$0")/.."
top=$PWD
packages=(libc6-dev libonig-dev libmicrohttpd-dev libyaml-dev libcurl4-openssl-dev libcmocka-dev)
# libgcc_s, libstdc++ and the sanitizers' libraries come with the compiler; programs under qemu need the first one.
packages+=(libgcc-s1)

mkdir -p build
exec 9>build/.sysroot.lock
flock 9
. /etc/os-release
recipe="$ID $VERSION_CODENAME ${packages[*]}"
if [ "$(cat build/sysroot/.recipe 2>/dev/null)" = "$recipe" ]; then
    exit 0
fi
echo "== arm64 libraries for $ID $VERSION_CODENAME into build/sysroot"

apt=$top/build/sysroot.apt
rm -rf build/sysroot build/sysroot.tmp
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
cat >"$apt/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "1";
END

# The sources of this machine that belong to the distribution. Ubuntu keeps arm64 on a server of its own.
keyring=/usr/share/keyrings/$ID-archive-keyring.gpg
signed=
if [ -f "$keyring" ]; then
    signed="[signed-by=$keyring]"
fi
apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | sort -u |
    awk -v id="$ID" -v code="$VERSION_CODENAME" -v signed="$signed" '
        $2 != code && $2 != code "-updates" && $2 != code "-security" { next }
        $3 != "main" && $3 != "universe" { next }
        id == "ubuntu" { $1 = "http://ports.ubuntu.com/ubuntu-ports/" }
        { print "deb", signed, $1, $2, $3 }' | sort -u >"$apt/sources.list"
if [ ! -s "$apt/sources.list" ]; then
    echo "no package source of $ID $VERSION_CODENAME found in /etc/apt: the cross build needs them" >&2
    exit 1
fi

export APT_CONFIG=$apt/apt.conf
apt-get -q update | tail -n 1
apt-get -q -y --no-install-recommends --download-only install "${packages[@]}" | tail -n 2
mkdir build/sysroot.tmp
for folder in bin lib sbin; do # one tree, as on the machines themselves
    mkdir -p build/sysroot.tmp/usr/$folder
    ln -s usr/$folder build/sysroot.tmp/$folder
done
for deb in "$apt"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C build/sysroot.tmp \
        --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' --exclude='./etc'
done
# Links to absolute places point out of the tree: make them relative.
find build/sysroot.tmp -type l -lname '/*' | while read -r link; do
    ln -sfn --relative "build/sysroot.tmp$(readlink "$link")" "$link"
done
echo "$recipe" >build/sysroot.tmp/.recipe
mv build/sysroot.tmp build/sysroot
rm -rf "$apt"
