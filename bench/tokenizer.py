#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of our tokenizer against the `tokenizers` library: one thread, the same 512 real texts, both in turns.

usage: bench/tokenizer.py [--passes N] [--load] [--model DIR ...]

Texts are Debian's fortunes (package fortunes). Ours is tool_tokenize of $RKF_BUILD (default build/release, else build/dev);
theirs is encode_batch_fast (no offsets) and encode_batch (offsets), without threads. Processor time; each side's best pass counts.
--load also measures loading: each model, and a synthetic Unigram vocabulary of 250,000 tokens.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "differential"))
if "RKF_BUILD" not in os.environ:
    builds = [os.path.join(HERE, "..", "build", b) for b in ("release", "land", "dev")]
    os.environ["RKF_BUILD"] = next((b for b in builds if os.path.exists(os.path.join(b, "tests", "tool_tokenize"))), builds[0])

from tokenizers import Tokenizer  # noqa: E402

import kinds  # noqa: E402
from texts import fortunes  # noqa: E402
from toolproc import BUILD, request  # noqa: E402

TOOL = os.path.join(BUILD, "tests", "tool_tokenize")


def ours(path, texts, offsets, passes):
    data = b"".join(request(t, offsets=offsets) for t in texts)
    out = subprocess.run([TOOL, path, "--time", str(passes)], input=data, capture_output=True, check=True).stdout.split()
    return int(out[0]) / 1e9, int(out[1])


def theirs(t, texts, offsets, passes):
    best, tokens = 1e9, 0
    for _ in range(passes):
        begin = time.process_time()
        e = t.encode_batch(texts) if offsets else t.encode_batch_fast(texts)
        best = min(best, time.process_time() - begin)
        tokens = sum(len(x.ids) for x in e)
    return best, tokens


def file_of(path):
    return path if path.endswith(".json") else os.path.join(path, "tokenizer.json")


def speed(name, path, texts, passes):
    t = Tokenizer.from_file(file_of(path))
    t.no_padding()
    t.no_truncation()
    size = sum(len(x.encode()) for x in texts)
    row = [name]
    for offsets in (False, True):
        a = b = (1e9, 0)
        for _ in range(3):  # in turns: whatever else the machine does hits both
            a, b = min(a, ours(path, texts, offsets, passes)), min(b, theirs(t, texts, offsets, passes))
        assert a[1] == b[1], f"{name}: {a[1]} tokens against {b[1]}"
        row += [f"{size / a[0] / 1e6:.1f}", f"{size / b[0] / 1e6:.1f}", f"{b[0] / a[0]:.1f}"]
    print("| " + " | ".join(row) + " |", flush=True)


def synthetic(path, n=250000):
    r = random.Random(1)
    vocab, seen = [["<s>", 0.0], ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]], set()
    alphabets = ["abcdefghijklmnopqrstuvwxyz", "абвгдежзийклмнопрст", "日本語漢字仮名学生", "אבגדהוזחט"]
    while len(vocab) < n:
        a = r.choice(alphabets)
        w = r.choice(["", "\u2581"]) + "".join(r.choice(a) for _ in range(r.randrange(1, 9)))
        if w not in seen:
            seen.add(w)
            vocab.append([w, -r.random() * 15])
    j = kinds.base("trained/xlmr-embed")
    j["model"]["vocab"] = vocab
    with open(path, "w", encoding="utf-8") as f:
        json.dump(j, f, ensure_ascii=False, indent=1)


def load(name, path):
    mine = min(int(subprocess.run([TOOL, path, "--load"], capture_output=True, check=True).stdout) for _ in range(5)) / 1e6
    begin = time.process_time()
    Tokenizer.from_file(file_of(path))
    print(f"| {name} | {os.path.getsize(file_of(path)) / 1e6:.1f} | {mine:.1f} | {(time.process_time() - begin) * 1e3:.1f} |", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--passes", type=int, default=5)
    p.add_argument("--load", action="store_true")
    p.add_argument("--model", action="append", default=[])
    a = p.parse_args()
    texts = fortunes()
    if len(texts) < 512:
        sys.exit("fortunes are missing: apt install fortunes")
    texts = random.Random(512).sample(texts, 512)
    with tempfile.TemporaryDirectory() as tmp:
        v = kinds.variations(tmp)
        todo = {**kinds.models(), **{k: v[k] for k in ("roberta-llama3", "roberta-o200k", "roberta-nfc", "bpe-fallback", "xlmr-albert",
                                                       "xlmr-deberta", "xlmr-first", "bert-nfkc")}, **{m: m for m in a.model}}
        print("512 texts, MB/s of processor time, one thread\n\n| tokenizer | ids: ours | theirs | times | with offsets: ours | theirs | times |\n|---|---|---|---|---|---|---|")
        for name, path in todo.items():
            speed(name, path, texts, a.passes)
        if a.load:
            big = os.path.join(tmp, "unigram-250000.json")
            synthetic(big)
            print("\n| loading | MB | ours, ms | theirs, ms |\n|---|---|---|---|")
            for name, path in {**kinds.models(), "unigram, 250,000 tokens": big}.items():
                load(name, path)


if __name__ == "__main__":
    main()
