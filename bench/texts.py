#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""512 real texts from Debian's `fortunes` package, the same ones every time, and their token ids.

usage: texts.py TOKENIZER.JSON OUT.ids [MAX_LENGTH]     one line of ids per text, in the order of the corpus
"""
import glob
import os
import random
import sys

FORTUNES = "/usr/share/games/fortunes"
COUNT = 512


def fortunes(folder=FORTUNES, count=COUNT):
    texts = []
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        if path.endswith((".dat", ".u8")) or os.path.isdir(path):
            continue
        with open(path, encoding="utf-8", errors="replace") as f:
            texts += [t.strip() for t in f.read().split("\n%\n")]
    texts = sorted(set(t for t in texts if t))
    if len(texts) < count:
        sys.exit(f"only {len(texts)} texts in {folder}: install the package `fortunes`")
    return random.Random(0).sample(texts, count)


def main():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(sys.argv[1])
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(sys.argv[3]) if len(sys.argv) > 3 else 256)
    with open(sys.argv[2], "w") as out:
        for e in tokenizer.encode_batch(fortunes()):
            out.write(" ".join(map(str, e.ids)) + "\n")


if __name__ == "__main__":
    main()
